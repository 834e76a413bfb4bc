"""A table where people scored responses on the rubric's scale and wrote why -> EFT rows, as they are.

A judgement must end on a line that says its score, since that is what the judge learns to write and what is parsed:
"Score: 4" is written behind a rationale that does not end so.
"""

import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from srlm.errors import UserError
from srlm.judge.parse import DEFAULT_SCALE, parse_score
from srlm.records import LeftOut
from srlm.seed import forms
from srlm.seed.columns import PROMPTS, RESPONSES, SCORES, column, find
from srlm.seed.divide import ROWS
from srlm.seed.files import RawRow, sample, stream_table
from srlm.seed.read import OTHER_SCORE
from srlm.seed.turns import answer_of, joined, prompt_of, why_no_prompt, with_system
from srlm.seed.values import RowError, checked_string, rating, stop_if_most
from srlm.store import write_rows

RATIONALES = ("judgement", "rationale", "justification", "feedback", "critique", "explanation", "review", "comment")
LOW, HIGH = DEFAULT_SCALE
_USUAL = {"prompt": PROMPTS, "response": RESPONSES, "score": SCORES, "rationale": RATIONALES}
_JUDGE_PROMPT = ("###Response to evaluate", "###Score Rubrics")  # the prompts of Prometheus and its kin


@dataclass
class ScoresReport:
    """What became EFT rows, and what did not."""

    out: Path
    rows: int = 0
    completed: int = 0  # rationales behind which "Score: N" was written
    scores: Counter[float] = field(default_factory=Counter)
    dropped: list[LeftOut] = field(default_factory=list)
    already: bool = False

    def lines(self) -> list[str]:
        """The report as text, one thing a line."""
        if self.already:
            return [f"{self.out} already exists, with the same rows."]
        histogram = ", ".join(f"{score:g}: {count}" for score, count in sorted(self.scores.items()))
        lines = [
            f"{self.out}: {self.rows} EFT rows; rows by score: {histogram}.",
            *(f"Left out (rows): {why}: {n}" for why, n in Counter(row.reason for row in self.dropped).items()),
        ]
        if self.completed:
            lines.append(f'"Score: N" was added to {self.completed} rationales')
        if len(self.scores) > 2 and min(self.scores) >= 1 and max(self.scores) == HIGH:
            lines.append(
                f"Note: no score is below 1, but the rubric counts points from {LOW:g} to {HIGH:g}. Make sure that "
                "these are such points, not marks from 1 to 5."
            )
        return lines


def columns_of_scores(path: Path, given: dict[str, str | None]) -> dict[str, str]:
    """prompt, response, score and rationale -> column: as given, else by usual names. Raises UserError for a gap."""
    first = sample(path)
    for value in first.values.values():
        if isinstance(value, str) and all(mark in value for mark in _JUDGE_PROMPT):
            problem = f"{first.where}: holds complete judge prompts, each with its own rubric and marks from 1 to 5"
            fix = "EFT needs columns of prompts, responses, rationales, and scores by the rubric of prompts/judge.txt"
            raise UserError(problem, fix)
    found = {name: given.get(name) or find(usual, first.values) for name, usual in _USUAL.items()}
    if missing := [name for name, column_name in found.items() if column_name is None]:
        problem = ", ".join(f"no {name} column" for name in missing)
        options = " ".join(f"--{name} COL" for name in missing)
        there = ", ".join(map(str, first.values))
        fix = f"name {'it' if len(missing) == 1 else 'them'}: {options}"
        raise UserError(f"{first.where}: {problem} (found: {there})", fix)
    return {name: str(column_name) for name, column_name in found.items()}


def from_scores(path: Path, out: Path, columns: dict[str, str]) -> ScoresReport:
    """Write the EFT file `out`, and beside it what was left out. Raises UserError with the place for what is wrong."""
    report = ScoresReport(out)
    rows: list[dict[str, Any]] = []
    wrong: list[RowError] = []
    for raw in stream_table(path):
        try:
            row = _row(raw, columns, report)
        except RowError as error:
            wrong += [error] if error.shape else []
            row = error.reason
        if isinstance(row, str):
            report.dropped.append(LeftOut(where=raw.where, what=ROWS, reason=row))
        else:
            rows.append(row)
            report.scores[row["score"]] += 1
    stop_if_most(wrong, len(rows) + len(report.dropped))
    report.rows = len(rows)
    if not rows:
        first = report.dropped[0]
        raise UserError(f"{path}: no usable row ({first.where}: {first.reason})", "add rows with content")
    _write_new(report, rows)
    return report


def _row(raw: RawRow, columns: dict[str, str], report: ScoresReport) -> dict[str, Any] | str:
    """The EFT row, in the columns that `read_eft` knows, or the reason why there is none."""
    before, text = answer_of(raw, columns["response"], column(raw, columns["response"]))
    messages = joined(prompt_of(raw, columns["prompt"], column(raw, columns["prompt"])), before)
    messages = with_system(raw, forms.first(forms.SYSTEMS, raw.values), messages)
    if reason := why_no_prompt(messages):
        return reason
    rationale = checked_string(raw, columns["rationale"], column(raw, columns["rationale"])).strip()
    score = _score(raw, columns["score"])
    if score is None or not rationale or text is None:
        return "no score" if score is None else "no rationale" if not rationale else "no response"
    said = parse_score(rationale.splitlines()[-1])
    if said is not None and not math.isclose(said, score):
        return OTHER_SCORE
    if said is None:  # the line is the last word, whatever scores the text before it weighs
        rationale = f"{rationale}\nScore: {score:g}"
        report.completed += 1
    return {"messages": messages, "response": text, "judgement": rationale, "score": score, "human_score": score}


def _score(raw: RawRow, name: str) -> float | None:
    value = column(raw, name)
    if isinstance(value, list | dict):
        raise UserError(f"{raw.where}: {name} holds a {type(value).__name__}", "give one score per row")
    score, scale = rating(value)
    if not math.isfinite(score) or isinstance(value, bool):
        return None
    if not LOW <= score <= HIGH or scale not in ("", f"of {HIGH:g}"):
        problem = f"{raw.where}: {name} {value} is not on the rubric's scale, {LOW:g} to {HIGH:g}"
        raise UserError(problem, "convert all scores to that scale first")
    return score


def _write_new(report: ScoresReport, rows: list[dict[str, Any]]) -> None:
    """Write both files, unless they are there with the same rows; other files are never replaced."""
    beside = report.out.with_suffix(".dropped.jsonl")
    building = report.out.with_name(f".{report.out.name}.new")
    try:
        write_rows(building, rows)
        if report.out.exists():
            if report.out.read_bytes() != building.read_bytes():
                raise UserError(f"{report.out} already exists, with other rows", "choose another file, or move it away")
            report.already = True
            return
        if beside.exists():
            raise UserError(f"{beside} already exists", "choose another --out, or move it away")
        write_rows(beside, report.dropped)
        building.replace(report.out)
    except OSError as error:
        raise UserError(f"{report.out}: cannot be written ({error.strerror})", "choose another place") from error
    finally:
        building.unlink(missing_ok=True)
