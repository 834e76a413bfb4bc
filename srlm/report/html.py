"""`srlm inspect --html`: the page as a file of limited size, with a sample of the rows if they do not all fit."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from srlm.report.page import embedded, overview, page
from srlm.report.rows import Entry, Source, item_of, sources_of
from srlm.run.folder import Run
from srlm.store import digest, write_text

PAGE_BYTES = 4_900_000  # of the whole file: "under 5 MB" however megabytes are counted
LARGEST_SHARE = 0.05  # of the room that one row may take
MISSES = 100  # rows in succession without room, after which the page counts as full


def write_page(run: Run, limit: int = PAGE_BYTES) -> Path:
    """Write RUN/report.html, of at most `limit` bytes, and return its path."""
    data = overview(run)
    sources = sources_of(run, run.begun)
    listed = [_sampling_order(source) for source in sources]
    room = limit - len(page(data | {"rows": [], "sources": _counts(sources, listed, [])}, live=False).encode()) - 1000
    items = list(_sample(sources, listed, room))
    path = run.paths.report
    write_text(path, page(data | {"rows": items, "sources": _counts(sources, listed, items)}, live=False))
    return path


def _sampling_order(source: Source) -> list[Entry]:
    """By a digest of the id: a random sample, the same each time, and of the same held-out prompts for every model."""
    source.read_pairs()
    return sorted((entry for entry, _ in source.entries()), key=lambda entry: digest(entry.id))


def _sample(sources: list[Source], listed: list[list[Entry]], room: int) -> Iterator[dict[str, Any]]:
    """Rows from each source in turn, as long as they have room."""
    largest, misses = room * LARGEST_SHARE, 0
    for entry in itertools.chain.from_iterable(itertools.zip_longest(*listed)):
        if entry is None:
            continue
        source = sources[entry.source]
        item = _slim(item_of(source, entry, source.row_at(entry.offset)))
        size = len(embedded(item).encode()) + 1
        if size > min(room, largest):
            misses += 1
            if misses == MISSES:
                return
            continue
        misses = 0
        room -= size
        yield item


def _slim(item: dict[str, Any]) -> dict[str, Any]:
    """The item without what the page does not show: it holds more rows then."""
    for candidate in item["candidates"]:
        for judgement in candidate["judgements"]:
            del judgement["tokens"], judgement["finish"]
    return item


def _counts(sources: list[Source], listed: list[list[Entry]], items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How many rows of each source there are and how many of them are on the page."""
    return [
        {
            "model": source.model,
            "kind": source.kind,
            "total": len(entries),
            "shown": sum((item["model"], item["kind"]) == (source.model, source.kind) for item in items),
        }
        for source, entries in zip(sources, listed, strict=True)
    ]
