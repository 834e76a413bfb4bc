"""Reading what W&B wrote."""

import json
import struct
from pathlib import Path
from typing import Any


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """The rows of W&B's own file of an offline run: a LevelDB log of protocol buffers behind 7 bytes of its own.

    Such a log is blocks of 32 KiB with records of a checksum (4 bytes), a length (2), a kind (1) and the data; of a
    longer message each record is a part. W&B's package has no reader for it.
    """
    from wandb.proto.wandb_internal_pb2 import Record

    [path] = folder.glob("run-*.wandb")
    data, place, message, rows = path.read_bytes(), 7, b"", []
    while place + 7 <= len(data):
        if (left := 2**15 - place % 2**15) < 7:  # padding
            place += left
        length, kind = struct.unpack_from("<HB", data, place + 4)
        message += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind not in (1, 4):  # neither whole nor the last part
            continue
        record, message = Record.FromString(message), b""
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            rows.append({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items})
    return rows
