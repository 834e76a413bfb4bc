"""Rated tables: writing one, making seed files of it, and what is in them."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from srlm.seed.columns import RankedColumns as Columns
from srlm.seed.divide import SeedReport
from srlm.seed.ranked import RankedOptions, columns_of, from_ranked

Human = tuple[str, float]
GUESS = Columns()


def write(path: Path, *values: Any) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return path


def rows(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def make(path: Path, given: Columns = GUESS, **options: Any) -> SeedReport:
    return from_ranked(path, path.parent / "out", columns_of(path, given), RankedOptions(**options))


def ranked(report: SeedReport) -> dict[str, list[Human]]:
    """Last user turn -> answers with what people gave them."""
    return {
        row["messages"][-1]["content"]: [(r["text"], r["human"]) for r in row["responses"]]
        for row in rows(report.ranked)
    }


def dropped(report: SeedReport) -> Counter[tuple[str, str]]:
    return Counter((row["what"], row["reason"]) for row in rows(report.folder / "dropped.jsonl"))


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}
