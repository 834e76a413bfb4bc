"""The small OASST export: its trees, the same as flat rows, and what the product makes of it."""

import json
from pathlib import Path
from typing import Any

from srlm.seed.divide import SeedReport
from srlm.seed.oasst import OasstFilter, from_oasst
from tests.helpers.places import DATA

SMALL = DATA / "oasst_small.jsonl"


def rows(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def make(source: Path | str, out: Path, **options: Any) -> SeedReport:
    names = {name: options.pop(name) for name in ("langs", "keep", "max_chars") if name in options}
    return from_oasst([str(source)], out, OasstFilter(**names), **options)


def flatten(message: dict[str, Any], tree: dict[str, Any]) -> list[dict[str, Any]]:
    """A tree as rows of the flat table, as the export writes them."""
    extra = {"message_tree_id": tree["message_tree_id"], "tree_state": tree["tree_state"]}
    mine = {"parent_id": None, "rank": None} | {k: v for k, v in message.items() if k != "replies"} | extra
    return [mine, *(row for reply in message["replies"] for row in flatten(reply, tree))]


def flat_rows(path: Path = SMALL) -> list[dict[str, Any]]:
    return [row for tree in rows(path) if tree["prompt"] for row in flatten(tree["prompt"], tree)]


def write(path: Path, values: list[Any]) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return path
