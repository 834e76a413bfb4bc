"""A seed file of any of the formats -> its rows as dicts, each with the place where the user finds it.

Rows come one at a time: only a file that is one JSON list is held whole. Parquet is read with pyarrow. The text formats
are read with the standard library, because their errors must name the line and their text must arrive as it was
written: `datasets` names no line in a broken JSON file, turns an answer such as "2020-01-01" into a date and fills rows
of different forms up to one schema, and its CSV reader takes "NA" for missing and shifts a line with a cell too many
without a word.
"""

import ast
import csv
import gzip
import json
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

from srlm.console import progress
from srlm.errors import UserError

FORMATS = (".jsonl", ".json", ".csv", ".parquet")
# CSV knows only text: these columns are converted, and an empty cell in them means that there is no value.
_CSV_NUMBERS = ("score", "human_score", "human_rank")
_LISTS = ("messages", "conversations", "conversation", "dialog", "dialogue", "responses", "completions")
_TURNS = re.compile(r"""\[\s*\{\s*["'](?:role|content|from|value)["']""")  # how a list of turns begins
NOTHING: tuple[Any, ...] = (None, "", [])  # what a column without a value holds
PEEKED = 1000  # rows that `sample` reads at least
_BETWEEN = re.compile(r"[\s,]*")  # what stands between the rows of a list
MEGABYTE, LONG = 10**6, 20  # bytes; megabytes from which on the progress is shown: some seconds
_MEND = "fix that line (a file holds a list of objects, or one object per line)"


@dataclass(frozen=True)
class RawRow:
    """One row as the file has it: its number from 1, the place to show the user, and its columns."""

    number: int
    where: str
    values: dict[str, Any]
    part: int = 1  # which of the examples that the row holds, where it holds several


_Reader = Callable[[Path, BinaryIO], Iterator[RawRow]]


def read_table(path: Path) -> list[RawRow]:
    """All rows of a JSONL, JSON, CSV or Parquet file. Raises UserError naming file and line for whatever is wrong."""
    return list(stream_table(path))


def sample(path: Path) -> RawRow:
    """A row with the columns that most rows have, each with its first value: what the columns hold.

    So the order of the rows plays no part, and neither does a stray row. It reads `PEEKED` rows, and on for as long as
    a column has no value.
    """
    values: dict[str, Any] = {}
    firsts: dict[frozenset[str], RawRow] = {}
    counts: Counter[frozenset[str]] = Counter()
    for count, row in enumerate(stream_table(path), 1):
        names = frozenset(row.values)
        firsts.setdefault(names, row)
        counts[names] += 1
        values |= {name: value for name, value in row.values.items() if value not in NOTHING and name not in values}
        usual = min(counts, key=lambda names: (-counts[names], sorted(names))) if count >= PEEKED else None
        if usual and usual <= values.keys():
            break
    usual = min(counts, key=lambda names: (-counts[names], sorted(names)))
    first = firsts[usual]
    return RawRow(first.number, first.where, {name: values.get(name) for name in first.values})


def stream_table(path: Path, typed: bool = True, watched: bool = False) -> Iterator[RawRow]:
    """The rows of a JSONL, JSON, CSV (each perhaps gzipped) or Parquet file, one at a time.

    CSV's well-known columns become numbers or lists, unless `typed` is false: then cells are as they were written.
    `watched` shows how far a long file has been read.
    Raises UserError naming file and line for whatever is wrong, also for a file without a row.
    """
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    zipped = path.name.lower().endswith(".gz")
    if suffix not in FORMATS or (zipped and suffix == ".parquet"):
        known = f"{', '.join(FORMATS)}, the text formats also with .gz"
        raise UserError(f"{path}: unknown format {suffix or '(no extension)'}", f"known: {known}")
    count = 0
    try:
        with path.open("rb") as raw, gzip.GzipFile(fileobj=raw) if zipped else raw as file:
            readers: dict[str, _Reader] = {".csv": partial(_csv, typed=typed), ".parquet": _parquet}
            rows = readers.get(suffix, _json)(path, cast(BinaryIO, file))
            for row in _shown(path, raw, rows) if watched else rows:
                count = row.number
                yield row
    except FileNotFoundError:
        raise UserError(f"{path}: no such file", "check the path") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        problem = f"{path}: broken gzip file after row {count} ({error})"
        raise UserError(problem, "it is incomplete or not a gzip file: download it again") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})", "check the path") from None
    if not count:
        share = (
            "; `srlm seed ranked` and `seed oasst` put some there with --ift-share" if path.name == "ift.jsonl" else ""
        )
        raise UserError(f"{path}: the file has no rows", f"add some rows{share}")


def _shown(path: Path, raw: BinaryIO, rows: Iterator[RawRow]) -> Iterator[RawRow]:
    """The rows, with a progress in megabytes of the file where reading it takes long."""
    size = path.stat().st_size // MEGABYTE
    if size < LONG:
        yield from rows
        return
    with progress(f"{path.name} (MB)", size) as bar:
        for row in rows:
            if (read := min(raw.tell() // MEGABYTE, size)) > bar.done:
                bar.update(read, size)
            yield row
        bar.update(size, size)


def _lines(path: Path, file: BinaryIO) -> Iterator[str]:
    """The file's lines as text, each with its line end; a byte order mark is no part of the first."""
    for number, line in enumerate(file, 1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise UserError(f"{path}:{number}: not UTF-8 text", "save the file as UTF-8") from None


def _json(path: Path, file: BinaryIO) -> Iterator[RawRow]:
    """One list of objects, or one object per line; which of both, the first character tells, not the extension."""
    number = 0
    lines = _lines(path, file)
    for line_number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if not number and line.lstrip().startswith("["):
            yield from _list(path, line_number, line + "".join(lines))
            return
        number += 1
        where = f"{path}:{line_number}"
        yield RawRow(number, where, _object(where, _loads(path, line, line_number)))


def _list(path: Path, first_line: int, text: str) -> Iterator[RawRow]:
    for number, value in enumerate(_loads(path, text, first_line), 1):
        where = f"{path}: row {number}"
        yield RawRow(number, where, _object(where, value))


def _loads(path: Path, text: str, first_line: int) -> Any:
    text = text.rstrip()  # or the end of a line that breaks off would be on the next one
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"column {error.colno}" if "\n" not in text else f"found at line {first_line + error.lineno - 1}"
        line = first_line + _row_start(text, error.pos)
        raise UserError(f"{path}:{line}: broken JSON ({error.msg}, {place})", _MEND) from None
    except (RecursionError, ValueError) as error:  # nested too deep, or a number of thousands of digits
        raise UserError(f"{path}:{first_line}: JSON that cannot be read ({error})", "fix or remove that row") from None


def _row_start(text: str, broken: int) -> int:
    """The line, from 0, on which the broken row begins; of a list, the parser sees the break (`broken`) a row later."""
    start = text.find("[") + 1
    while (start := start + len(_BETWEEN.match(text, start)[0])) < broken:  # type: ignore[index]  # it always matches
        try:
            start = json.JSONDecoder().raw_decode(text, start)[1]
        except json.JSONDecodeError:
            break
    return text.count("\n", 0, start)


def _object(where: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{where}: a row must be an object, found {type(value).__name__}", 'e.g. {"prompt": "..."}')
    return value


def _csv(path: Path, file: BinaryIO, typed: bool) -> Iterator[RawRow]:
    """Rows of a comma-separated file with a header line; cells are text as written."""
    csv.field_size_limit(2**31 - 1)  # the standard limit of 128 KiB is shorter than some answers
    reader = csv.reader(_lines(path, file), strict=True)
    line = 1
    try:
        header = next(reader, [])
        if double := [name for name in header if header.count(name) > 1]:
            raise UserError(f"{path}:1: two columns are called {double[0]!r}", "give each column its own name")
        for number, cells in enumerate((row for row in reader if row), 1):
            line, where = reader.line_num, f"{path}:{reader.line_num}"
            if len(cells) != len(header):
                problem = f"{where}: {len(cells)} cells, but the header has {len(header)}"
                raise UserError(problem, "quote cells that hold a comma, a quote or a line break")
            row: dict[str, Any] = dict(zip(header, cells, strict=True))
            yield RawRow(number, where, _from_cells(row) if typed else row)
    except csv.Error as error:
        raise UserError(f"{path}:{max(line, reader.line_num)}: broken CSV ({error})", "fix that line") from None


def _from_cells(cells: dict[str, str]) -> dict[str, Any]:
    """Cells of the number columns and lists of turns as values; one that is neither stays text, as it was written."""
    row: dict[str, Any] = dict(cells)
    for column, text in cells.items():
        if column in (*_CSV_NUMBERS, *_LISTS) and not text.strip():
            row[column] = None
        elif column in _CSV_NUMBERS:
            row[column] = _number(text)
        elif (column in _LISTS and text.lstrip().startswith("[")) or _TURNS.match(text.lstrip()):
            row[column] = _listed(text)
    return row


def _number(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


def _listed(text: str) -> Any:
    """A list in a cell: JSON, or as Python shows it (pandas writes it so)."""
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return text


def _parquet(path: Path, file: BinaryIO) -> Iterator[RawRow]:
    import pyarrow
    import pyarrow.parquet

    try:
        batches = pyarrow.parquet.ParquetFile(file).iter_batches(batch_size=64)  # small: a row may be large
        rows = (row for batch in batches for row in batch.to_pylist())
        for number, row in enumerate(rows, 1):
            yield RawRow(number, f"{path}: row {number}", row)
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: not a readable Parquet file ({reason})", "write it again") from error
