"""All rows of a run, ready to be searched, filtered, sorted and paged: what the server of `srlm view` answers from.

Built once from the files, and extended when they have grown. In memory is one `Entry` a row and no text; the text that
is searched lies in a temporary file. A page reads its few rows where the entries say.
"""

import bisect
import os
import tempfile
import threading
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from srlm.report.rows import SORTS, Entry, Source, item_of, sources_of
from srlm.run.folder import Run

State = tuple[int, int, int] | None  # of a file: inode, size, time
BLOCK = 1 << 18  # bytes of text searched at a time: what stays in a processor's cache
HELD_OUT = "held out"  # how the outcome of an answered held-out prompt is called in filters


@dataclass(frozen=True)
class Query:
    """What a reader asks for. "" and False: all."""

    text: str = ""  # anywhere in id, prompt, answers or judgements; case does not count
    model: str = ""
    kind: str = ""  # "rollout" or "answer"
    outcome: str = ""  # "pair", a reason, or HELD_OUT
    unparsed: bool = False  # rows with a judgement that could not be parsed
    sort: str = ""  # one of SORTS, or the order of the files
    ascending: bool = False


class Index:
    """The rows of a run. Safe to be asked by several threads."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._lock = threading.Lock()
        self._start_anew()

    def page(self, query: Query, start: int, count: int) -> dict[str, Any]:
        """Number of rows in all and of those that match, all outcomes, and `count` matching rows from `start` on."""
        with self._lock:
            self._refresh()
            found = self._matching(query)
            entries = [self.entries[number] for number in found[start : start + count]]
            return {
                "total": len(self.entries),
                "matching": len(found),
                "outcomes": self.outcomes,
                "items": [self._item(entry) for entry in entries],
            }

    def _item(self, entry: Entry) -> dict[str, Any]:
        source = self.sources[entry.source]
        return item_of(source, entry, source.row_at(entry.offset))

    # --- building ------------------------------------------------------------------------------------------------

    def _start_anew(self) -> None:
        self.entries: list[Entry] = []
        self.outcomes: list[str] = []
        self.sources: list[Source] = []
        self._states: dict[Path, State] = {}  # of the files that the entries were made from
        self._text = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as the index)
        self._text_end = array("Q")  # byte after the text of each entry
        self._matching = lru_cache(maxsize=16)(self._find)  # paging asks the same again
        self._refresh()

    def _refresh(self) -> None:
        """Take in rows that were added since. Files that changed otherwise (pairs made, a model redone): all anew."""
        record = self.run.paths.record
        if self._states.get(record) != _state(record):
            self.run.load()
        sources = sources_of(self.run, self.run.begun)
        states = {path: _state(path) for one in sources for path in (one.path, one.pairs)} | {record: _state(record)}
        if states == self._states:
            return
        if self._states and not self._only_grown(sources, states):
            self._start_anew()
            return
        for source in sources[len(self.sources) :]:
            source.read_pairs()
            self.sources.append(source)
        for source in self.sources:
            self._read(source)
        self._states = states
        self._matching.cache_clear()
        self.outcomes = sorted({entry.outcome or HELD_OUT for entry in self.entries})

    def _only_grown(self, sources: list[Source], states: dict[Path, State]) -> bool:
        """Whether the files known so far are there as they were, or longer."""
        known = self.sources
        return [one.path for one in sources[: len(known)]] == [one.path for one in known] and all(
            states[one.pairs] == self._states[one.pairs]
            and (new := states[one.path]) is not None
            and (old := self._states[one.path]) is not None
            and new[0] == old[0]
            and new[1] >= one.end
            for one in known
        )

    def _read(self, source: Source) -> None:
        self._text.seek(0, os.SEEK_END)
        for entry, row in source.entries():
            self.entries.append(entry)
            self._text.write(_folded(row.text) + b"\0")
            self._text_end.append(self._text.tell())

    # --- asking --------------------------------------------------------------------------------------------------

    def _find(self, query: Query) -> list[int]:
        """Numbers of the entries that match, in the order asked for; what has no such figure comes last."""
        numbers: Iterable[int] = range(len(self.entries)) if not query.text else self._containing(_folded(query.text))
        found = [number for number in numbers if self._passes(self.entries[number], query)]
        if query.sort not in SORTS:
            return sorted(found, key=lambda number: self._written(number), reverse=query.ascending)
        sign = 1 if query.ascending else -1

        def key(number: int) -> tuple[bool, float]:
            value = getattr(self.entries[number], query.sort)
            return (value is None, 0.0 if value is None else sign * value)

        return sorted(found, key=key)

    def _written(self, number: int) -> tuple[int, str, str]:
        """The newest model first, in it by id: rollouts end in any order, and ids tell the order of asking."""
        entry = self.entries[number]
        return (-self.sources[entry.source].t, self.sources[entry.source].kind, entry.id)

    def _passes(self, entry: Entry, query: Query) -> bool:
        source = self.sources[entry.source]
        return (
            query.model in ("", source.model)
            and query.kind in ("", source.kind)
            and query.outcome in ("", entry.outcome or HELD_OUT)
            and (entry.unparsed > 0 or not query.unparsed)
        )

    def _containing(self, wanted: bytes) -> list[int]:
        """Numbers of the entries whose text contains `wanted`: the file is read in blocks of whole texts."""
        found: list[int] = []
        first = 0
        while first < len(self._text_end):
            begin = self._text_end[first - 1] if first else 0
            after = max(first + 1, bisect.bisect_right(self._text_end, begin + BLOCK))
            self._text.seek(begin)
            block = self._text.read(self._text_end[after - 1] - begin)
            at = block.find(wanted)
            while at >= 0:
                number = bisect.bisect_right(self._text_end, begin + at)
                found.append(number)
                at = block.find(wanted, self._text_end[number] - begin)
            first = after
        return found


def _folded(text: str) -> bytes:
    """As it is searched: without case, and without the byte that parts texts."""
    return text.lower().replace("\0", " ").encode(errors="replace")


def _state(path: Path) -> State:
    """What tells whether a file is still the same: inode, size, time; None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return (found.st_ino, found.st_size, found.st_mtime_ns)
