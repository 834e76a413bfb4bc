"""Prompts with rated answers -> IFT rows and ranked rows that share no prompt, with an account of all that is left out.

IFT takes the best answer to a prompt where the people's verdict says that it is good; ranked.jsonl takes all answers to
a prompt, where they differ. Most prompts could serve either, and a seeded hash decides. (Paper: section 3.1.1.)
"""

import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any, TextIO

from pydantic import BaseModel

from srlm.errors import UserError
from srlm.records import IFTRow, LeftOut, Messages, RankedResponse, RankedRow
from srlm.seed.read import ranked_row
from srlm.seed.spill import Seen
from srlm.seed.split import prompt_key
from srlm.store import file_digest, read_json, seed_of, write_json

# As the paper's 3,200 IFT rows to some 2,200 EFT rows, one prompt counted for each: building EFT has several answers a
# prompt to judge, and keeps only part of the judgements.
IFT_SHARE = 0.6
OUTPUTS = ("ift.jsonl", "ranked.jsonl", "dropped.jsonl")
SUMMARY = "summary.json"
ROWS, PROMPTS, ANSWERS = "row", "prompt", "answer"
RULE = (
    "A prompt whose best answer is good can go to IFT, with that answer. A prompt with two answers that are rated "
    "differently can go to ranked.jsonl, with all its answers. If both are possible, it goes to IFT if a hash of "
    "(seed, tree or opening turn) is below ift_share. Conversations with the same opening turn stay together. If the "
    "same prompt is in two trees, the first one counts."
)


@dataclass(frozen=True)
class Conversation:
    """One prompt with its rated answers; `where` is its place in the source."""

    where: str
    id: str
    messages: Messages
    answers: list[RankedResponse]


@dataclass(frozen=True)
class Source:
    """What is divided: conversations by family (those that open alike), and when an answer is good enough for IFT."""

    families: Iterator[tuple[str, list[Conversation]]]  # what the hash goes over, and the conversations
    good: float
    not_good: str  # in words: "and none has rank 0"
    note: str = ""  # what the user should know


@dataclass
class Ledger:
    """Counts by unit (row, prompt, answer) and fate; what is left out is written to dropped.jsonl as it happens."""

    file: TextIO
    read: Counter[str] = field(default_factory=Counter)
    kept: dict[str, Counter[str]] = field(
        default_factory=lambda: {unit: Counter(ift=0, ranked=0) for unit in (PROMPTS, ANSWERS)}
    )
    dropped: dict[str, Counter[str]] = field(
        default_factory=lambda: {ROWS: Counter(), PROMPTS: Counter(), ANSWERS: Counter()}
    )
    later_turns: int = 0

    def drop(self, what: str, where: str, reason: str) -> None:
        """Leave one thing out."""
        self.dropped[what][reason] += 1
        _write(self.file, LeftOut(where=where, what=what, reason=reason))

    def drop_prompt(self, where: str, reason: str, answers: int) -> None:
        """Leave a prompt out, with its answers."""
        self.drop(PROMPTS, where, reason)
        self.skip_answers(answers, "its prompt is left out")

    def skip_answers(self, count: int, reason: str) -> None:
        """Count answers whose fate follows from that of their prompt; they get no line of their own."""
        if count:
            self.dropped[ANSWERS][reason] += count

    def counts(self) -> dict[str, Any]:
        """All counts as data: read = kept (ift, ranked) + dropped for prompts and answers."""
        found: dict[str, Any] = {}
        for unit, dropped in self.dropped.items():
            if self.read[unit]:
                found[f"{unit}s"] = {
                    "read": self.read[unit],
                    **self.kept.get(unit, {}),
                    "dropped": dict(dropped.most_common()),
                }
        return found | ({"later_turns": self.later_turns} if self.later_turns else {})


@dataclass
class SeedReport:
    """What a `srlm seed` command made (or found already there)."""

    folder: Path
    summary: dict[str, Any]
    already: bool = False

    @property
    def ift(self) -> Path:
        """The IFT file."""
        return self.folder / "ift.jsonl"

    @property
    def ranked(self) -> Path:
        """The file of ranked responses."""
        return self.folder / "ranked.jsonl"

    def lines(self) -> list[str]:
        """The report as text, one thing a line."""
        if self.already:
            return [f"{self.folder} already exists, made from the same inputs."]
        counts = self.summary["counts"]
        prompts, answers = counts["prompts"], counts["answers"]
        lines = [
            f"{self.folder}: {prompts['ift']} IFT rows, {prompts['ranked']} ranked prompts with {answers['ranked']} "
            f"answers, from {prompts['read']} prompts with {answers['read']} answers."
        ]
        lines += self.left_out()
        if note := self.summary.get("note"):
            lines.append(f"Note: {note}.")
        if prompts["ranked"]:
            ift = quote(str(self.ift)) if prompts["ift"] else "IFT"
            lines.append(f"Next: srlm init RUN --model MODEL --ift {ift} --ranked {quote(str(self.ranked))}")
        return lines

    def left_out(self) -> list[str]:
        """What is not in the files and why, one reason a line."""
        counts, lines = self.summary["counts"], []
        for unit in (unit for unit in ("rows", "prompts", "answers") if unit in counts):
            lines += [f"Left out ({unit}): {reason}: {number}" for reason, number in counts[unit]["dropped"].items()]
        if later := counts.get("later_turns"):
            lines.append(f"Not used: {later} messages from later turns")
        return lines


def divide(
    out: Path, read: Callable[[Ledger], Source], share: float, seed: int, made_from: dict[str, Any]
) -> SeedReport:
    """Make the folder `out` with ift.jsonl, ranked.jsonl, dropped.jsonl and summary.json: all of it or nothing.

    A folder that was made from the same things is left as it is. Raises UserError where `out` holds anything else, and
    where nothing usable was found.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        return _existing(out, made_from)
    building = out.absolute().parent / f".{out.absolute().name}.seed-{os.getpid()}"
    try:
        building.mkdir(parents=True)
        summary = _fill(building, read, share, seed, made_from)
        building.rename(out.absolute())
    except (OSError, sqlite3.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{out}: cannot be written ({reason})", "free some space or choose another place") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return SeedReport(out, summary)


def _existing(out: Path, made_from: dict[str, Any]) -> SeedReport:
    fix = "choose another folder, or move it away"
    if not (out / SUMMARY).is_file():
        raise UserError(f"{out} already exists and was not made by `srlm seed`", fix)
    summary = read_json(out / SUMMARY)
    before, now = _identity(summary.get("made_from", {})), _identity(made_from)
    differs = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if differs:
        raise UserError(f"{out} already exists, made with a different {', '.join(differs)}", fix)
    changed = [name for name in OUTPUTS if file_digest(out / name) != summary["files"].get(name)]
    if changed:
        raise UserError(f"{out} already exists, but {', '.join(changed)} changed since it was made", fix)
    return SeedReport(out, summary, already=True)


def _identity(made_from: dict[str, Any]) -> dict[str, Any]:
    """What decides whether two folders are made from the same things: of the files their content, not their names."""
    return {**made_from, "files": list(made_from.get("files", {}).values())}


def _fill(
    folder: Path, read: Callable[[Ledger], Source], share: float, seed: int, made_from: dict[str, Any]
) -> dict[str, Any]:
    with ExitStack() as stack:
        ift, ranked, dropped = (stack.enter_context((folder / name).open("w", encoding="utf-8")) for name in OUTPUTS)
        ledger = Ledger(dropped)
        source = read(ledger)
        seen = Seen()
        for key, family in source.families:
            ledger.read[PROMPTS] += len(family)
            if not seen.add(opening_key(family[0].messages)):
                for one in family:
                    ledger.drop_prompt(one.where, "the prompt repeats an earlier one", len(one.answers))
                continue
            below_share = seed_of(seed, "ift", key) / 2**31 < share
            for row in _place(family, source, below_share, share > 0, ledger):
                _write(ift if isinstance(row, IFTRow) else ranked, row)
        for file in (ift, ranked, dropped):
            file.flush()
            os.fsync(file.fileno())
    _refuse_nothing(ledger, made_from)
    digests = {name: file_digest(folder / name) for name in OUTPUTS}
    summary = {"rule": RULE, "made_from": made_from, "counts": ledger.counts(), "files": digests, "note": source.note}
    write_json(folder / SUMMARY, summary)
    return summary


def _place(
    family: list[Conversation], source: Source, below_share: bool, any_ift: bool, ledger: Ledger
) -> Iterator[IFTRow | RankedRow]:
    """The rows that one family gives."""
    good = [any_ift and max(a.human for a in one.answers) >= source.good for one in family]
    rows = [ranked_row(one.id, one.messages, one.answers) for one in family]
    if any(good) and (below_share or all(isinstance(row, str) for row in rows)):
        for one, its_best_is_good in zip(family, good, strict=True):
            if its_best_is_good:
                yield _ift_row(one, ledger)
            else:
                ledger.drop_prompt(
                    one.where, "not good enough for IFT, where others with its opening turn went", len(one.answers)
                )
        return
    for one, row in zip(family, rows, strict=True):
        if isinstance(row, str):
            reason = f"{row}, {source.not_good}" if any_ift else row
            ledger.drop_prompt(one.where, reason, len(one.answers))
        else:
            ledger.kept[PROMPTS]["ranked"] += 1
            ledger.kept[ANSWERS]["ranked"] += len(row.responses)
            ledger.skip_answers(len(one.answers) - len(row.responses), "the same answer twice")
            yield row


def _ift_row(one: Conversation, ledger: Ledger) -> IFTRow:
    """The conversation with its best answer; of several best the first."""
    best = max(one.answers, key=lambda answer: answer.human)
    ledger.kept[PROMPTS]["ift"] += 1
    ledger.kept[ANSWERS]["ift"] += 1
    ledger.skip_answers(len(one.answers) - 1, "another answer to an IFT prompt")
    return IFTRow(id=one.id, messages=[*one.messages, {"role": "assistant", "content": best.text}])


def opening_key(messages: Messages) -> str:
    """The same for conversations whose first user turns differ in case or spacing only."""
    return prompt_key(next([turn] for turn in messages if turn["role"] == "user"))


def _refuse_nothing(ledger: Ledger, made_from: dict[str, Any]) -> None:
    if sum(ledger.kept[PROMPTS].values()):
        return
    reasons = sum(ledger.dropped.values(), Counter[str]())
    reasons.pop("its prompt is left out", None)
    why = ", ".join(f"{reason}: {number}" for reason, number in reasons.most_common(3)) or "it has no prompts"
    raise UserError(f"{', '.join(made_from['files'])}: nothing usable ({why})", "check the options that filter rows")


def _write(file: TextIO, row: BaseModel) -> None:
    file.write(row.model_dump_json() + "\n")
