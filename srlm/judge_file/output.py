"""The judge's figures as columns beside the input's, in the input's order, one row at a time in any format.

Rows of the work file come in the order in which they were finished: an index of offsets puts them in order without
holding them (8 bytes a row).
"""

import csv
import gzip
import json
import os
import statistics
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, cast

from srlm.errors import UserError
from srlm.judge_file.job import Judged
from srlm.records import Judgement
from srlm.seed.files import FORMATS

NAMES = ("score", "spread", "valid", "judgements")
BATCH = 256  # rows of a Parquet group: all that is in memory at once

Row = dict[str, Any]


def suffix_of(path: Path) -> str:
    """The format that a name asks for. Raises UserError for an unknown one."""
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    if suffix not in FORMATS or (suffix == ".parquet" and path.name.lower().endswith(".gz")):
        raise UserError(f"{path}: unknown format {suffix or '(no extension)'}", f"known: {', '.join(FORMATS)}")
    return suffix


def added_names(columns: Iterable[str]) -> dict[str, str]:
    """Figure -> column. Where the input has one of the names, all get "judge_" in front."""
    taken = set(columns)
    for prefix in ("", "judge_"):
        if not taken & {prefix + name for name in NAMES}:
            return {name: prefix + name for name in NAMES}
    clash = ", ".join(sorted(taken & {f"judge_{name}" for name in NAMES}))
    raise UserError(f"the input already has columns {clash}", "rename or remove them")


def figures(judged: Judged, names: dict[str, str], as_list: bool) -> Row:
    """The added columns of one row.

    score: mean of the valid judgements on the rubric's scale, None without any; spread: their standard deviation, None
    with fewer than two; valid: how many there are; judgements: all texts, readable or not.
    """
    valid = [[found.score for found in one if found.score is not None] for one in judged.judgements]
    values = {
        "score": [statistics.fmean(scores) if scores else None for scores in valid],
        "spread": [statistics.stdev(scores) if len(scores) > 1 else None for scores in valid],
        "valid": [len(scores) for scores in valid],
        "judgements": [[text for found in one for text in _texts(found)] for one in judged.judgements],
    }
    return {names[name]: value if as_list else cast(list[Any], value)[0] for name, value in values.items()}


def _texts(found: Judgement) -> list[str]:
    return [found.text] if found.swapped is None else [found.text, found.swapped]


class Finished:
    """The rows of a growing work file by their number. `look` takes notice of what is new."""

    def __init__(self, path: Path) -> None:
        self.path, self._offsets, self._read = path, array("q"), 0

    def look(self) -> None:
        """Index the whole rows that were added."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                number = Judged.model_validate_json(line).row
                self._offsets.extend([-1] * (number + 1 - len(self._offsets)))
                self._offsets[number] = self._read
                self._read += len(line)

    def __getitem__(self, number: int) -> Judged | None:
        """The row with this number; None while it is not there."""
        if number >= len(self._offsets) or self._offsets[number] < 0:
            return None
        with self.path.open("rb") as file:
            file.seek(self._offsets[number])
            return Judged.model_validate_json(file.readline())


def write(path: Path, rows: Iterable[Row], columns: list[str], source: Path | None = None) -> None:
    """Write rows as `path`'s format under a temporary name, and move it into place in one step.

    `columns`: all that occur, for CSV. `source`: a Parquet input whose column types are kept.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    suffix = suffix_of(path)
    try:
        if suffix == ".parquet":
            _write_parquet(temporary, rows, source)
        else:
            with cast(
                IO[str],
                (gzip.open if path.name.lower().endswith(".gz") else open)(
                    temporary, "wt", encoding="utf-8", newline=""
                ),
            ) as file:
                {".csv": _write_csv, ".json": _write_list, ".jsonl": _write_lines}[suffix](file, rows, columns)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def line_of(row: Row) -> str:
    """One row as JSON; the user's values are written as they came, NaN included."""
    text = json.dumps(row, ensure_ascii=False, default=str)
    return text if text.isascii() or _encodable(text) else json.dumps(row, default=str)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair: JSON can only escape it
        return False
    return True


def _write_lines(file: IO[str], rows: Iterable[Row], _: list[str]) -> None:
    for row in rows:
        file.write(line_of(row) + "\n")


def _write_list(file: IO[str], rows: Iterable[Row], _: list[str]) -> None:
    between = "[\n"
    for row in rows:
        file.write(between + line_of(row))
        between = ",\n"
    file.write("\n]\n")


def _write_csv(file: IO[str], rows: Iterable[Row], columns: list[str]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row.get(column)) for column in columns])


def _cell(value: Any) -> Any:
    if isinstance(value, list | dict):
        return line_of(cast(Row, value))
    return "" if value is None else value


def _write_parquet(path: Path, rows: Iterable[Row], source: Path | None) -> None:
    import pyarrow
    import pyarrow.parquet

    batches = _batches(rows)
    writer = None
    try:
        for batch in batches:
            schema = writer.schema if writer else _schema(batch, source)
            table = pyarrow.Table.from_pylist(batch, schema=schema)
            writer = writer or pyarrow.parquet.ParquetWriter(path, schema)
            writer.write_table(table)
    except (pyarrow.ArrowException, ValueError, TypeError) as error:
        problem = f"{path.name}: the rows have no common column types ({str(error).splitlines()[0]})"
        raise UserError(problem, "write JSONL instead: repeat the command with --out NAME.jsonl") from None
    finally:
        if writer is not None:
            writer.close()


def _schema(batch: list[Row], source: Path | None) -> Any:
    """The types of the source's columns where it has any, of the first batch's otherwise; of ours always the same."""
    import pyarrow
    import pyarrow.parquet

    number, whole, text = pyarrow.float64(), pyarrow.int64(), pyarrow.list_(pyarrow.string())
    ours = dict(zip(NAMES, (number, number, whole, text), strict=True))
    known = pyarrow.parquet.read_schema(source) if source else pyarrow.Table.from_pylist(batch).schema
    fields = {field.name: field for field in known}
    for name in list(batch[0])[-len(NAMES) :]:
        kind = ours[name.removeprefix("judge_")]
        several = isinstance(batch[0][list(batch[0])[-2]], list)
        fields[name] = pyarrow.field(name, pyarrow.list_(kind) if several else kind)
    return pyarrow.schema(fields.values())


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    for row in rows:
        batch.append(row)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
