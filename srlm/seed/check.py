"""`srlm seed check`: what a careful person would look for in seed files before spending GPU hours. Prints nothing.

Rows are read one at a time. Memory holds only a digest per row, the prompts' words, and counts. `CHECKS` says when a
finding counts as harm: wherever it occurs, if srlm would stop at it or train on it unnoticed (ANY); from MANY_SHARE of
the rows on, if a few such rows are in every real file (MANY); or never, if it is only worth knowing (NOTE).
"""

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from srlm.errors import UserError
from srlm.judge.parse import DEFAULT_SCALE
from srlm.judge.prompts import Templates
from srlm.model.chat import CHAT_OPTIONS, end_of_turn_ids
from srlm.model.check import CheckedModel, check_model
from srlm.packaged import PROMPTS
from srlm.records import EFTRow, IFTRow, Messages, PromptRow, RankedRow
from srlm.seed import replies
from srlm.seed.files import RawRow, stream_table
from srlm.seed.kinds import NAMES, Row, SeedFile, evaluation_prompts, read_row
from srlm.seed.leaks import Prompts
from srlm.seed.read import NO_SCORE, parts, responses_lost
from srlm.store import digest

LOW, HIGH = DEFAULT_SCALE
MANY_SHARE = 0.1
DOMINATES = 2 / 3  # share of one score: a judge that always gave it would be right two times of three
PLACES = 3  # named with each finding
ANY, MANY, NOTE = "any", "many", "note"
CHECKS = {
    "shape": (MANY, "rows of the wrong shape: srlm leaves them out, and stops where most rows are so"),
    "refused": (ANY, "conversations that the model's chat template refuses: srlm init stops at the first"),
    "left out": (MANY, "rows that srlm leaves out"),
    "off the scale": (
        MANY,
        f"scores off the rubric's scale of {LOW} to {HIGH}: srlm leaves the rows out",
    ),
    "too long": (MANY, "rows longer than the model's context: srlm leaves them out"),
    "placeholder": (MANY, 'replies that are only placeholders, such as "N/A"'),
    "cut off": (MANY, "replies that seem to stop in the middle of a sentence or a code block"),
    "length limit": (ANY, "replies of exactly the maximum length in the file: a limit cut them off"),
    "chat marks": (ANY, "texts with marks of a chat format or special tokens: the model would learn to write them"),
    "one score": (ANY, "rows with the same score: the judge would learn to give no other"),
    "leak": (ANY, "training rows whose prompt is held out"),
    "near leak": (NOTE, "training rows whose prompt is close to a held-out one"),
    "repeated response": (NOTE, "responses that are empty or repeated in their row: srlm leaves them out"),
    "repeated row": (NOTE, "rows that repeat an earlier row word for word: only the first counts"),
    "repeated prompt": (NOTE, "rows that repeat an earlier prompt of the file"),
    "shared prompt": (NOTE, "rows whose prompt is also in another file"),
    "near prompt": (NOTE, "prompts close to an earlier one"),
    "contradiction": (NOTE, "responses that also occur with a different score"),
    "no ranking": (NOTE, "no prompt has two responses with different scores: the judge's ranking cannot be measured"),
    "filled": (NOTE, "rows with complete judge prompts: not compared with other prompts, and never held out"),
    "not compared": (
        NOTE,
        "evaluation rows without a prompt that can be read: training rows are not compared with them",
    ),
    "end of turn": (NOTE, "the chat template puts no end token after a reply: training adds the tokenizer's"),
}


@dataclass
class Finding:
    """One thing found in one file (or in the model): how often, and a few of the places."""

    file: str
    check: str
    detail: str = ""  # tells findings of one check apart, e.g. the reason why rows are left out
    count: int = 0
    rows: int = 0  # of the file, as read
    places: list[str] = field(default_factory=list)

    @property
    def harms(self) -> bool:
        """Whether training would suffer from it (see CHECKS)."""
        rule = CHECKS[self.check][0]
        return rule == ANY or (rule == MANY and self.count >= MANY_SHARE * self.rows)

    @property
    def text(self) -> str:
        """What it is, in words."""
        return CHECKS[self.check][1] + (f" ({self.detail})" if self.detail else "")

    def data(self) -> dict[str, Any]:
        """As it stands in the JSON report."""
        level = "harm" if self.harms else "note"
        return {"level": level, **vars(self), "text": self.text}


@dataclass
class FileReport:
    """What one file holds."""

    file: SeedFile
    rows: int = 0
    usable: int = 0
    prompts: int = 0  # distinct ones
    multi_turn: int = 0
    with_system: int = 0
    scores: Counter[float] = field(default_factory=Counter)
    tokens: "array[int]" = field(default_factory=lambda: array("I"))  # of each usable row with what it trains

    def data(self, context: int | None) -> dict[str, Any]:
        """As it stands in the JSON report."""
        found = {
            "file": str(self.file.path),
            "kind": NAMES[self.file.kind],
            "held_out": self.file.held_out,
            **{name: getattr(self, name) for name in ("rows", "usable", "prompts", "multi_turn", "with_system")},
        }
        if self.scores:
            found["scores"] = {f"{score:g}": self.scores[score] for score in sorted(self.scores)}
        if self.tokens:
            found["tokens"] = _token_data(self.tokens, context)
        return found


@dataclass
class CheckReport:
    """All that was found."""

    files: list[FileReport]
    findings: list[Finding]
    model: dict[str, Any] | None = None

    @property
    def harmful(self) -> list[Finding]:
        """The findings that training would suffer from."""
        return [finding for finding in self.findings if finding.harms]

    def data(self) -> dict[str, Any]:
        """The JSON report."""
        context = self.model["context"] if self.model else None
        return {
            "harmful": len(self.harmful),
            "files": [file.data(context) for file in self.files],
            "findings": [finding.data() for finding in self.findings],
            "model": self.model,
        }


def check_files(files: list[SeedFile], against: list[Path], model: str | None) -> CheckReport:
    """Read all files and report. Raises UserError for a model or a file that cannot be read."""
    checked = check_model(model) if model else None
    check = _Check(checked)
    for path in against:
        for where, text in evaluation_prompts(path):
            if not text.strip():
                check.find(str(path), "not compared", [where])
            else:
                check.held_out.add(str(path), where, [{"role": "user", "content": text}])
    reports = {file.path: FileReport(file) for file in files}
    for file in sorted(files, key=lambda file: not file.held_out):  # what is held out must be known first
        check.file(reports[file.path])
    about_model = check.model_data() if checked else None
    order = [str(file.path) for file in files]
    findings = sorted(
        check.findings.values(), key=lambda f: (not f.harms, order.index(f.file) if f.file in order else -1)
    )
    return CheckReport(list(reports.values()), findings, about_model)


class _Check:
    """The findings so far, and what later rows are compared with."""

    def __init__(self, model: CheckedModel | None) -> None:
        self.model, self.templates = model, Templates(PROMPTS)
        self.special = frozenset(model.tokenizer.all_special_tokens) if model else frozenset()
        self.findings: dict[tuple[str, str, str], Finding] = {}
        self.held_out, self.training = Prompts(), Prompts()

    def find(self, file: str, check: str, places: Iterable[str], detail: str = "", count: int = 1) -> None:
        """Count a finding."""
        finding = self.findings.setdefault((file, check, detail), Finding(file, check, detail))
        finding.count += count
        finding.places += list(places)[: PLACES - len(finding.places)]

    def file(self, report: FileReport) -> None:
        """Check one file."""
        rows = _Rows(self, report)
        for raw in stream_table(report.file.path, watched=True):
            rows.check(raw)
        rows.whole()
        for finding in self.findings.values():
            if finding.file == str(report.file.path):
                finding.rows = report.rows

    def model_data(self) -> dict[str, Any]:
        """What the model says of context and end of turn; a finding where its template ends a reply with nothing."""
        assert self.model is not None
        tokenizer = self.model.tokenizer
        ends = end_of_turn_ids(tokenizer)
        turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        head = tokenizer.apply_chat_template(turns[:1], add_generation_prompt=True, return_dict=False, **CHAT_OPTIONS)
        ids = tokenizer.apply_chat_template(turns, return_dict=False, **CHAT_OPTIONS)
        ended = any(token in ends for token in ids[len(head) :])
        if not ended:
            self.find(self.model.path, "end of turn", [])
        return {
            "path": self.model.path,
            "context": self.model.context,
            "end_of_turn": tokenizer.convert_ids_to_tokens(ends),
            "ended_by": "chat template" if ended else "training",
            "own_chat_template": not self.model.default_template,
        }


class _Rows:
    """The checks of one file's rows."""

    def __init__(self, check: _Check, report: FileReport) -> None:
        self.all, self.report = check, report
        self.name = str(report.file.path)
        self.seen: set[str] = set()
        self.given: dict[str, float] = {}  # conversation with response -> score
        self.marks: dict[str, set[float]] = {}  # prompt group -> scores
        self.longest = {unit: replies.Longest(unit) for unit in replies.LEAST_SHARED}

    def find(self, check: str, where: str, detail: str = "") -> None:
        self.all.find(self.name, check, [where], detail)

    def check(self, raw: RawRow) -> None:
        """All checks of one row, or of the several that a Self-Instruct task is."""
        self.report.rows += 1
        try:
            found = [(part, read_row(self.report.file, part)) for part in parts(raw)]
        except UserError as error:
            self.find("shape", error.problem)
            return
        self.report.rows += len(found) - 1
        for part, row in found:
            if isinstance(row, str):
                self._left_out(part, row)
            else:
                self._usable(row, part.where)
                if lost := responses_lost(part, row):
                    self.all.find(self.name, "repeated response", [part.where], count=lost)

    def _left_out(self, raw: RawRow, reason: str) -> None:
        score = raw.values.get("score")
        if reason == NO_SCORE and isinstance(score, int | float) and not LOW <= score <= HIGH:
            self.find("off the scale", raw.where)
        else:
            self.find("left out", raw.where, reason)

    def _usable(self, row: Row, where: str) -> None:
        key = digest(row.model_dump(exclude={"id"}))
        if key in self.seen:
            self.find("repeated row", where)
            return
        self.seen.add(key)
        self.report.usable += 1
        self._count(row)
        self._text(row, where)
        self._prompt(row, where)
        if isinstance(row, EFTRow):
            self._scored(row, where)
        if self.all.model:
            self._length(row, where, self.all.model)

    def whole(self) -> None:
        """What only the whole file shows."""
        for unit, longest in self.longest.items():
            if longest.is_limit:
                self.all.find(self.name, "length limit", longest.places, f"{longest.length} {unit}", longest.count)
        for score, count in self.report.scores.most_common(1):
            if count > DOMINATES * self.report.scores.total() and not self.report.file.held_out:
                self.all.find(self.name, "one score", [], f"{score:g}", count)
        if self.marks and all(len(scores) < 2 for scores in self.marks.values()):
            self.all.find(self.name, "no ranking", [], count=len(self.marks))

    def _count(self, row: Row) -> None:
        turns = row.messages
        self.report.multi_turn += sum(turn["role"] == "user" for turn in turns) > 1
        self.report.with_system += turns[0]["role"] == "system"

    def _text(self, row: Row, where: str) -> None:
        if mark := next((m for text in _texts(row) if (m := replies.turn_mark(text, self.all.special))), None):
            self.find("chat marks", f"{where} ({mark})")
        if not isinstance(row, IFTRow):
            return  # what is to be judged may well be cut off or empty
        reply = row.messages[-1]["content"]
        self.longest["characters"].add(len(reply), where)
        if replies.placeholder(reply):
            self.find("placeholder", where)
        elif replies.cut_off(reply):
            self.find("cut off", where)

    def _prompt(self, row: Row, where: str) -> None:
        if isinstance(row, EFTRow) and row.filled:
            self.find("filled", where)
            return
        held_out = self.report.file.held_out
        prompt = row.messages[:-1] if isinstance(row, IFTRow) else row.messages
        match = (self.all.held_out if held_out else self.all.training).add(self.name, where, prompt)
        self.report.prompts += match is None or match.how == "near"
        if match and match.how == "near":
            self.find("near prompt", f"{where} ~ {match.where}")
        elif match and match.file != self.name:
            self.find("shared prompt", f"{where} = {match.where}")
        elif match and not isinstance(row, EFTRow):  # EFT has several responses to each prompt
            self.find("repeated prompt", f"{where} = {match.where}")
        if not held_out and (leak := self.all.held_out.find(row.messages)):
            check, sign = ("leak", "=") if leak.how == "same" else ("near leak", "~")
            self.find(check, f"{where} {sign} {leak.where}")

    def _scored(self, row: EFTRow, where: str) -> None:
        self.report.scores[row.score] += 1
        if row.filled:
            return
        self.marks.setdefault(row.group, set()).add(row.score if row.human is None else row.human)
        if self.given.setdefault(digest(row.messages, row.response), row.score) != row.score:
            self.find("contradiction", where)

    def _length(self, row: Row, where: str, model: CheckedModel) -> None:
        try:
            length = model.tokens(*_trained(row, self.all.templates))
        except UserError as error:
            self.find("refused", f"{where}: {error.problem}")
            return
        self.report.tokens.append(length)
        if model.context and length > model.context:
            self.find("too long", where)
        if isinstance(row, IFTRow):
            ids = model.tokenizer(row.messages[-1]["content"], add_special_tokens=False)["input_ids"]
            self.longest["tokens"].add(len(ids), where)


def _texts(row: Row) -> list[str]:
    """Every text of a row that somebody wrote."""
    texts = [turn["content"] for turn in row.messages]
    if isinstance(row, EFTRow):
        return [*texts, row.response, row.judgement]
    return texts + ([response.text for response in row.responses] if isinstance(row, RankedRow) else [])


def _trained(row: Row, templates: Templates) -> tuple[Messages, str | None]:
    """(prompt, reply) as the model sees them; of ranked responses the longest, with the judge prompt around it."""
    if isinstance(row, IFTRow):
        return row.messages[:-1], row.messages[-1]["content"]
    if isinstance(row, PromptRow):
        return row.messages, None
    if isinstance(row, RankedRow):
        return templates.judge(row.messages, max((r.text for r in row.responses), key=len)), None
    return row.messages if row.filled else templates.judge(row.messages, row.response), row.judgement


def _token_data(tokens: "array[int]", context: int | None) -> dict[str, Any]:
    """Median, 95th percentile, maximum, and rows by powers of two up to the context: {"<=128": 7, ..., ">2048": 1}."""
    ordered = sorted(tokens)
    top = min(ordered[-1], context or ordered[-1])
    edges = [64]
    while edges[-1] < top:
        edges.append(min(2 * edges[-1], context or 2 * edges[-1]))
    counts = Counter(bisect_left(edges, length) for length in ordered)
    names = [*(f"<={edge}" for edge in edges), f">{edges[-1]}"]
    at = {name: ordered[int(share * (len(ordered) - 1))] for name, share in (("median", 0.5), ("p95", 0.95))}
    return {**at, "max": ordered[-1], "histogram": {names[i]: counts[i] for i in sorted(counts)}}
