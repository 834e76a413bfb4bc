"""A seed file of any of the four formats -> its rows as dicts, each with the place where the user finds it.

Parquet is read with `datasets`. The text formats are read with the standard library, because their errors must name the
line and their text must arrive as it was written: `datasets` names no line in a broken JSON file, turns an answer such
as "2020-01-01" into a date and fills rows of different forms up to one schema, and its CSV reader takes "NA" for
missing and shifts a line with a cell too many without a word.
"""

import csv
import glob
import io
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srlm.errors import UserError

FORMATS = (".jsonl", ".json", ".csv", ".parquet")
# CSV knows only text: these columns are converted, and an empty cell in them means that there is no value.
_CSV_NUMBERS = ("score", "human_score", "human_rank")
_CSV_JSON = ("messages",)


@dataclass(frozen=True)
class RawRow:
    """One row as the file has it: its number from 1, the place to show the user, and its columns."""

    number: int
    where: str
    values: dict[str, Any]


def read_table(path: Path) -> list[RawRow]:
    """All rows of a JSONL, JSON, CSV or Parquet file. Raises UserError naming file and line for whatever is wrong."""
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"{path}: unknown format {path.suffix or '(no extension)'}", f"known: {', '.join(FORMATS)}")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file", "check the path") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})", "check the path") from None
    if not data.strip():
        raise UserError(f"{path}: the file is empty", "give it rows")
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        rows = _parquet(path)
    else:
        rows = list(_csv(path, _text(path, data)) if suffix == ".csv" else _json(path, _text(path, data)))
    if not rows:
        raise UserError(f"{path}: the file has no rows", "give it rows")
    return rows


def _text(path: Path, data: bytes) -> str:
    """The file as text; a byte order mark is no part of it."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}:{line}: not UTF-8 text", "save the file as UTF-8") from None


def _json(path: Path, text: str) -> Iterator[RawRow]:
    """One list of objects, or one object per line; which of both, the first character tells, not the extension."""
    if text.lstrip().startswith("["):
        for number, value in enumerate(_loads(path, text), 1):
            yield RawRow(number, f"{path}: row {number}", _object(f"{path}: row {number}", value))
        return
    number = 0
    for line_number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            number += 1
            where = f"{path}:{line_number}"
            yield RawRow(number, where, _object(where, _loads(path, line, line_number)))


def _loads(path: Path, text: str, first_line: int = 1) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = first_line + error.lineno - 1
        fix = "mend that line (a file holds a list of objects, or one object per line)"
        raise UserError(f"{path}:{line}: broken JSON ({error.msg}, column {error.colno})", fix) from None
    except (RecursionError, ValueError) as error:  # nested too deep, or a number of thousands of digits
        raise UserError(f"{path}:{first_line}: JSON that cannot be read ({error})", "mend or remove that row") from None


def _object(where: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{where}: a row must be an object, found {type(value).__name__}", 'e.g. {"prompt": "..."}')
    return value


def _csv(path: Path, text: str) -> Iterator[RawRow]:
    """Rows of a comma-separated file with a header line; cells are text as written."""
    csv.field_size_limit(2**31 - 1)  # the standard limit of 128 KiB is shorter than some answers
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    try:
        header = next(reader)
        for number, cells in enumerate((row for row in reader if row), 1):
            line, where = reader.line_num, f"{path}:{reader.line_num}"
            if len(cells) != len(header):
                problem = f"{where}: {len(cells)} cells, but the header has {len(header)}"
                raise UserError(problem, "quote cells that hold a comma, a quote or a line break")
            yield RawRow(number, where, _from_cells(dict(zip(header, cells, strict=True))))
    except csv.Error as error:
        raise UserError(f"{path}:{max(line, reader.line_num)}: broken CSV ({error})", "mend that line") from None


def _from_cells(cells: dict[str, str]) -> dict[str, Any]:
    """Cells of the number and JSON columns as values; one that is neither stays text, and is refused as such later."""
    row: dict[str, Any] = dict(cells)
    for column in (*_CSV_NUMBERS, *_CSV_JSON):
        if column in row:
            row[column] = _value(row[column], column) if row[column].strip() else None
    return row


def _value(text: str, column: str) -> Any:
    try:
        return float(text) if column in _CSV_NUMBERS else json.loads(text)
    except ValueError:
        return text


def _parquet(path: Path) -> list[RawRow]:
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    with tempfile.TemporaryDirectory() as cache:  # nothing is left in the user's cache
        try:
            # `datasets` takes a path for a pattern; in memory, since the cache goes away
            rows = Dataset.from_parquet(glob.escape(str(path)), cache_dir=cache, keep_in_memory=True)
        except Exception as error:  # pyarrow and datasets raise many kinds for a file that is no Parquet
            reason = str(error.__cause__ or error).splitlines()[0]
            raise UserError(f"{path}: not a readable Parquet file ({reason})", "write it again") from error
    return [RawRow(number, f"{path}: row {number}", row) for number, row in enumerate(rows, 1)]
