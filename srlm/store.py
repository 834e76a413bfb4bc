"""Durable files: JSONL that survives a torn last line, atomic replacement, digests.

A row counts once its newline is on disk. A crash can leave one torn line at the end; readers ignore it
and the next append cuts it off first, so that no row is ever glued to a torn one.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar, overload

from pydantic import BaseModel, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic takes typing's own from Python 3.12 on

from srlm.errors import UserError

T = TypeVar("T")


def digest(*parts: Any) -> str:
    """16 hex digits over the JSON form of `parts`; the same parts give the same digest on every machine."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]  # half a pair may come from JSON


def file_digest(path: Path) -> str:
    """16 hex digits over the file's bytes. Raises UserError when there is no such file, or it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except FileNotFoundError:
        raise UserError(f"{path}: no such file", "check the path") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})", "check the path") from None


def seed_of(*parts: Any) -> int:
    """A 31-bit sampling seed derived from `parts`, e.g. (run seed, iteration, row id, index)."""
    return int(digest(*parts), 16) % 2**31


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text` in one step: a reader sees the old file or the new one, never a part."""
    _replace(path, [text])


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by `value` as indented JSON, in one step."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_rows(path: Path, rows: Iterable[BaseModel | dict[str, Any]]) -> None:
    """Replace `path` by `rows` as JSONL, in one step; each is written as it comes, and none is held."""
    _replace(path, map(_line, rows))


def _replace(path: Path, parts: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)  # a row could not be made or written: no part of them is left


def read_json(path: Path) -> Any:
    """The file's JSON value. Raises UserError naming file and line when it is broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}:{error.lineno}: broken JSON ({error.msg})", "restore the file") from None


@overload
def read_rows(path: Path, kind: type[T]) -> Iterator[T]: ...
@overload
def read_rows(path: Path, kind: Any) -> Iterator[Any]: ...  # a union of records is no type
def read_rows(path: Path, kind: Any) -> Iterator[Any]:
    """The complete rows of a JSONL file as `kind`; nothing where there is no file. A torn last line is ignored.

    Raises UserError naming file:line for a complete line that is no such row.
    """
    return (row for _, _, row in read_rows_at(path, kind))


def read_rows_at(path: Path, kind: Any, start: int = 0) -> Iterator[tuple[int, int, Any]]:
    """The rows as `read_rows` gives them, from the line at byte `start` on, as (first byte, byte after it, row)."""
    if not path.exists():
        return
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    with path.open("rb") as file:
        file.seek(start)
        for line in file:
            if not line.endswith(b"\n"):
                return
            try:
                row = adapter.validate_json(line)
            except ValidationError as error:
                reason = error.errors(include_url=False)[0]["msg"]
                number = 1 + _newlines(path, start)
                raise UserError(f"{path}:{number}: not a valid row ({reason})", "restore the file") from None
            yield start, start + len(line), row
            start += len(line)


def _newlines(path: Path, end: int) -> int:
    with path.open("rb") as file:
        return file.read(end).count(b"\n")


class _Named(TypedDict):
    id: str


class RowsById(Mapping[str, T]):
    """The rows of a JSONL file by id. Each is read when it is asked for: only ids and places are held."""

    def __init__(self, path: Path, kind: type[T]) -> None:
        self._path, self._kind = path, kind
        named: Iterator[tuple[int, int, _Named]] = read_rows_at(path, _Named)
        self._places = {row["id"]: start for start, _, row in named}

    def __getitem__(self, key: str) -> T:
        row: T = next(row for _, _, row in read_rows_at(self._path, self._kind, self._places[key]))
        return row

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


class Appender:
    """Appends whole rows to a JSONL file: one write a row, flushed to the disk, a torn last line cut off first."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab")
        whole = _whole_length(path)
        if whole < path.stat().st_size:
            self._file.truncate(whole)

    def append(self, row: BaseModel | dict[str, Any]) -> None:
        """Make one row durable. Raises OSError (disk full) before the row counts; a part written is cut off."""
        self.append_all([row])

    def append_all(self, rows: Iterable[BaseModel | dict[str, Any]]) -> None:
        """Make rows durable together, at the price of one."""
        end = self._file.tell()
        try:
            self._file.write("".join(map(_line, rows)).encode())
            self._file.flush()
            os.fdatasync(self._file.fileno())
        except OSError:
            self._file.truncate(end)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _line(row: BaseModel | dict[str, Any]) -> str:
    if isinstance(row, BaseModel):
        return row.model_dump_json() + "\n"
    return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"


def _whole_length(path: Path) -> int:
    """Bytes up to and with the last newline, read from the end in blocks."""
    end, block = path.stat().st_size, 1 << 16
    with path.open("rb") as file:
        while end > 0:
            start = max(0, end - block)
            file.seek(start)
            found = file.read(end - start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            end = start
    return 0
