"""Rows in the terminal: the list that `--sort` and `--grep` ask for, and all there is about one row (`--row`)."""

import heapq
import re
from collections.abc import Iterator
from typing import Any

from rich import box
from rich.table import Table

from srlm.console import out, safe, say
from srlm.errors import UserError
from srlm.records import Instruction
from srlm.report.rows import SORTS, Entry, Row, Source, item_of, sources_of
from srlm.report.tables import conversation, heading, line, number, whole
from srlm.run.folder import Run
from srlm.store import read_rows

Found = tuple[Source, Entry, Row]
PROMPT = 70  # characters of the prompt in a list
MARKS = {"chosen": "  << chosen", "rejected": "  << rejected"}


def list_rows(
    run: Run, numbers: list[int], sort: str | None, grep: str | None, limit: int, reverse: bool
) -> list[dict[str, Any]]:
    """The first `limit` rows of the models `numbers` that match `grep`, by `sort` (the highest first), as plain data.

    Raises UserError for an unknown sort key or a pattern that is none.
    """
    if sort and sort not in SORTS:
        raise UserError(f"--sort {sort}: unknown order", f"choose one of {', '.join(SORTS)}")
    found = (one for one in _all(run, numbers) if not grep or _pattern(grep).search(one[2].text))
    if sort is None:
        picked = heapq.nsmallest(limit, found, key=lambda one: (one[0].number, one[1].id))
    else:
        known = (one for one in found if getattr(one[1], sort) is not None)
        choose = heapq.nsmallest if reverse else heapq.nlargest
        picked = choose(limit, known, key=lambda one: getattr(one[1], sort))
    return [item_of(*one) for one in picked]


def find_row(run: Run, numbers: list[int], key: str) -> list[dict[str, Any]]:
    """All there is about the row `key`, of each of the models `numbers` that has one. Raises UserError for none."""
    found = [item_of(*one) for one in _all(run, numbers) if one[1].id == key]
    if not found:
        if reason := _dropped(run, numbers, key):
            raise UserError(
                f"--row {key}: this instruction was dropped ({reason}) and has no answers", "choose another"
            )
        where = f"M{numbers[0]} of {run.root}" if len(numbers) == 1 else run.root
        raise UserError(f"--row {key}: {where} has no such row", "list the rows with --sort or --grep")
    return found


def _dropped(run: Run, numbers: list[int], key: str) -> str | None:
    """Why an instruction was not used; None where that is not so, or there is no such instruction."""
    rows = (row for t in numbers for row in read_rows(run.at(t).instructions, Instruction))
    return next((row.dropped for row in rows if row.id == key), None)


def _all(run: Run, numbers: list[int]) -> Iterator[Found]:
    for source in sources_of(run, numbers):
        source.read_pairs()
        for entry, row in source.entries():
            yield source, entry, row


def _pattern(grep: str) -> re.Pattern[str]:
    try:
        return re.compile(grep, re.IGNORECASE)
    except re.error as error:
        raise UserError(f"--grep {grep}: not a regular expression ({error})", "escape special characters") from None


def print_list(items: list[dict[str, Any]]) -> None:
    """One line a row."""
    if not items:
        say("There is no such row")
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("row", no_wrap=True)
    table.add_column("model")
    for column in SORTS:
        table.add_column(column, justify="right")
    table.add_column("outcome")
    table.add_column("prompt", no_wrap=True)
    for item in items:
        figures = [number(item["margin"]), number(item["score"]), whole(item["length"]), number(item["disagreement"])]
        prompt = " ".join(item["messages"][-1]["content"].split()) if item["messages"] else ""
        shown = prompt if len(prompt) <= PROMPT else prompt[: PROMPT - 1] + "…"
        table.add_row(safe(item["id"]), item["model"], *figures, safe(item["outcome"] or "held out"), safe(shown))
    out().print(table)
    say("To see one row in full: --row ID")


def print_row(item: dict[str, Any]) -> None:
    """One instruction with its candidates, their judgements and the pair made of it."""
    what = "held-out prompt" if item["kind"] == "answer" else "instruction"
    heading(f"{item['model']}, {what} {item['id']}: {item['outcome'] or 'held out'}")
    pair = item["pair"] or {}
    line(
        f"mean score {number(item['score'])}, margin {number(item['margin'])}, "
        f"mean length {whole(item['length'])}, disagreement {number(item['disagreement'])}"
    )
    line(conversation(item["messages"]))
    for index, candidate in enumerate(item["candidates"]):
        mark = next((MARKS[side] for side in MARKS if pair.get(side) == index), "")
        truth = candidate["truth"] or {}
        ground = "; truth " + ", ".join(f"{name} {value:g}" for name, value in truth.items()) if truth else ""
        line(f"\n--- answer {index + 1} ({candidate['finish']}), score {number(candidate['score'])}{ground}{mark}")
        line(candidate["text"])
        for judgement in candidate["judgements"]:
            score = "not parsed" if judgement["score"] is None else f"{judgement['score']:g}"
            line(f"    judgement, {score}:")
            line("\n".join(f"      {part}" for part in judgement["text"].splitlines()))
            if swapped := judgement.get("swapped"):
                line("    in the other order:\n" + "\n".join(f"      {part}" for part in swapped.splitlines()))
    for side in MARKS:
        if pair and pair[side] is None:
            line(f"\n--- {side}, from another model, score {number(pair[f'{side}_score'])}")
            line(pair[f"{side}_text"])
