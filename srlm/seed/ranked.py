"""A table of rated, ranked or paired answers -> IFT and ranked prompts (see `divide`).

When is an answer good enough for IFT? With scores: if it is the prompt's best answer and is rated as high as the top
quarter of all answers in the file (or as --good says). With ranks: if it has the best rank in the file, like rank 0 in
the paper. Pairs and labels say which answer is better, not that it is good: without --ift-share nothing goes to IFT.
"""

import math
from array import array
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

from srlm.errors import UserError
from srlm.records import Messages, RankedResponse
from srlm.seed import forms
from srlm.seed.columns import OVERALL, RATINGS, RankedColumns, column, guess
from srlm.seed.divide import ANSWERS, IFT_SHARE, ROWS, Conversation, Ledger, SeedReport, Source, divide, opening_key
from srlm.seed.files import RawRow, sample, stream_table
from srlm.seed.spill import Groups
from srlm.seed.turns import answer_of, forked, joined, prompt_of, why_no_prompt, with_system
from srlm.seed.values import RowError, preferred, rating, stop_if_most
from srlm.store import digest, file_digest

UPPER_QUARTER = 0.75


@dataclass(frozen=True)
class RankedOptions:
    """What the user may choose; None stands for the documented rule."""

    good: float | None = None  # the lowest score that is good enough for IFT
    ift_share: float | None = None
    max_chars: int = 32_000
    seed: int = 0


def columns_of(path: Path, given: RankedColumns) -> RankedColumns:
    """The columns to be used for `path`. Raises UserError where they cannot be told."""
    return guess(given, sample(path))


def from_ranked(path: Path, out: Path, columns: RankedColumns, options: RankedOptions) -> SeedReport:
    """Make the folder `out` from a table. Raises UserError with the place for rows of the wrong shape."""
    if options.good is not None and columns.kind != "score":
        raise UserError("--good only works with scores", "leave it out: ranks, pairs and labels have no scale")
    share = options.ift_share
    if share is None:
        share = 0.0 if columns.kind in ("pair", "label") else IFT_SHARE
    made_from = {
        "command": "ranked",
        "files": {str(path): file_digest(path)},
        "columns": columns.shown(),
        "--ift-share": share,
        "--good": options.good,
        "--max-chars": options.max_chars,
        "--seed": options.seed,
    }
    return divide(out, lambda ledger: _source(path, columns, options, share, ledger), share, options.seed, made_from)


def _source(path: Path, columns: RankedColumns, options: RankedOptions, share: float, ledger: Ledger) -> Source:
    """Read the whole table to disk first: how good an answer is shows only beside all others."""
    groups, given, scales = Groups(), array("d"), _Scales()
    wrong: list[RowError] = []
    for raw in stream_table(path, watched=True):
        ledger.read[ROWS] += 1
        try:
            answers = _answers(raw, columns, scales)
        except RowError as error:
            wrong += [error] if error.shape else []
            answers = error.reason
        if isinstance(answers, str):
            ledger.drop(ROWS, raw.where, answers)
            continue
        for number, answer in enumerate(answers, 1):
            where = f"{raw.where}, answer {number}" if len(answers) > 1 else raw.where
            ledger.read[ANSWERS] += 1
            if reason := _why_not(answer, options.max_chars):
                ledger.drop(ANSWERS, where, reason)
                continue
            given.append(answer.human)
            # scores compare across rows, and so do the ranks of rows with one answer each
            alone = columns.kind != "score" and len(answers) > 1
            item = [raw.where, raw.number, answer.messages, raw.number if alone else 0, answer.text, answer.human]
            groups.add(opening_key(answer.messages), item)
    stop_if_most(wrong, ledger.read[ROWS])
    good, note = _good(columns, options.good, given, share)
    aspect = (columns.score or "").rpartition(".")[2]
    if aspect in (OVERALL, RATINGS):
        used = "so the ratings of its aspects are used" if aspect == RATINGS else "which cannot be seen here"
        note += f"; in the published UltraFeedback, some 2,000 of {OVERALL} are 10 where the critique says 1, {used}"
    return Source(_families(groups, ledger), good, "and its best is not good enough for IFT", note)


def _good(columns: RankedColumns, asked: float | None, given: "array[float]", share: float) -> tuple[float, str]:
    """The least verdict on an answer that is good enough for IFT, and what to tell the user about it."""
    if columns.kind in ("pair", "label"):
        says_little = "a comparison says which answer is better, not that it is good"
        return (
            1.0,
            f"{says_little}, so there are no IFT rows (to use the better ones: --ift-share 0.5)"
            if not share
            else says_little,
        )
    if not share:
        return math.inf, "no IFT rows, because --ift-share is 0"
    if columns.kind == "rank":
        best = max(given, default=0.0)
        return best, f"IFT takes answers of rank {0.0 - best:g}"
    ordered = sorted(given) or [0.0]
    good = ordered[int(UPPER_QUARTER * len(ordered))] if asked is None else asked
    if asked is None and good == ordered[0]:  # most have the lowest score, as false in a file of true and false
        good = next((score for score in ordered if score > good), good)
    return good, f"IFT takes a prompt's best answer if it is rated {good:g} or higher (--good)"


def _families(groups: Groups, ledger: Ledger) -> Iterator[tuple[str, list[Conversation]]]:
    """Conversations that open alike; an answer that was rated more than once gets the mean."""
    for items in groups:
        found: dict[str, list[Any]] = defaultdict(list)
        for item in items:
            found[digest(item[2:4])].append(item)
        yield opening_key(items[0][2]), [_merged(rated, ledger) for rated in found.values()]


def _merged(items: list[Any], ledger: Ledger) -> Conversation:
    marks: dict[str, list[float]] = defaultdict(list)
    for *_, text, human in items:
        marks[text].append(human)
    ledger.skip_answers(len(items) - len(marks), "the same answer again: the mean of its ratings counts")
    where, number, messages = items[0][:3]
    answers = [RankedResponse(text=text, human=mean(given)) for text, given in marks.items()]
    return Conversation(where, f"row-{number}", messages, answers)


# --- one row -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Answer:
    """An answer as a row has it: the conversation before it, its text and verdict, both perhaps missing."""

    messages: Messages
    text: str
    human: float = math.nan


def _why_not(answer: _Answer, max_chars: int) -> str | None:
    if reason := why_no_prompt(answer.messages):
        return reason
    if not answer.text.strip():
        return "empty answer"
    if not math.isfinite(answer.human):
        return "its score or rank is not a number"
    longest = max(len(answer.text), *(len(turn["content"]) for turn in answer.messages))
    return "longer than --max-chars" if longest > max_chars else None


class _Scales:
    """Reads scores, and sees to it that all of a file are on one scale."""

    def __init__(self) -> None:
        self.seen: dict[str, str] = {}  # scale -> the first value on it

    def number(self, raw: RawRow, name: str, value: Any) -> float:
        """A score or rank; NaN for what is missing or no number, as "N/A". The mean of the ratings of aspects."""
        if isinstance(value, dict) and all(
            isinstance(aspect, dict) and "Rating" in aspect for aspect in value.values()
        ):
            known = [one for aspect in value.values() if math.isfinite(one := rating(aspect["Rating"])[0])]
            return mean(known) if known else math.nan
        if isinstance(value, list | dict):
            raise RowError(raw, f"{name} holds a {type(value).__name__}, not a number", "name another column")
        number, scale = rating(value)
        if scale and math.isfinite(number) and self.seen.setdefault(scale, str(value)) and len(self.seen) > 1:
            first = next(iter(self.seen.values()))
            problem = f"{raw.where}: {name} {str(value)!r} is on another scale than {first!r} before it"
            raise UserError(problem, "convert all scores to one scale first")
        return number


def _answers(raw: RawRow, columns: RankedColumns, scales: _Scales) -> list[_Answer] | str:
    """The row's answers, or the reason why it gives none."""
    if columns.kind in ("score", "rank"):
        return _rated(raw, columns, scales)
    names = (columns.chosen, columns.rejected) if columns.chosen else columns.response
    given = [column(raw, str(name)) for name in names]
    first, second = (_answer(raw, columns, str(name), value) for name, value in zip(names, given, strict=True))
    if first.messages != second.messages and (found := forked(*given)):
        messages = prompt_of(raw, str(names[0]), found[0])
        first, second = (replace(first, messages=messages, text=text) for text in found[1:])
    if first.messages != second.messages:
        return "the two conversations differ before the last answer"
    better = 0 if columns.chosen else _better(raw, columns)
    if isinstance(better, str):
        return better
    return [replace(first, human=float(better == 0)), replace(second, human=float(better == 1))]


def _rated(raw: RawRow, columns: RankedColumns, scales: _Scales) -> list[_Answer] | str:
    """One answer with its score or rank, or as many as the row's lists hold."""
    name = columns.score or columns.rank or ""
    texts, marks = column(raw, columns.response[0]), column(raw, name)
    if not isinstance(marks, list):
        texts, marks = [texts], [marks]
    if not isinstance(texts, list) or len(texts) != len(marks):
        return "it has different numbers of answers and of scores or ranks"
    sign = 1.0 if columns.score else -1.0
    found = []
    for text, mark in zip(texts, marks, strict=True):
        answer = _answer(raw, columns, columns.response[0], text)
        found.append(replace(answer, human=0.0 + sign * scales.number(raw, name, mark)))  # no -0.0
    return found


def _answer(raw: RawRow, columns: RankedColumns, name: str, value: Any) -> _Answer:
    """An answer and what came before it: its own conversation, where it is a whole one, else the prompt column's."""
    before, text = answer_of(raw, name, value)
    asked = prompt_of(raw, columns.prompt, column(raw, columns.prompt)) if columns.prompt else []
    system = columns.system or forms.first(forms.SYSTEMS, raw.values)
    return _Answer(with_system(raw, system, joined(asked, before)), text or "")


def _better(raw: RawRow, columns: RankedColumns) -> int | str:
    """Which of the two outputs the label calls better, 0 or 1; or the reason why none."""
    value = column(raw, columns.label or "")
    text = "" if value is None else str(value).strip().lower()
    names = [name.lower() for name in columns.response]
    found = ("A", "B")[names.index(text)] if text in names else preferred(value)
    if found in ("A", "B"):
        return int(found == "B")
    if found == "tie" or "tie" in text or text in ("", "nan"):
        return "no output is better"
    fix = "labels are 1 or 2, A or B, A>B, or the name of the better output's column"
    raise UserError(f"{raw.where}: {columns.label} {text[:40]!r} does not say which output is better", fix)
