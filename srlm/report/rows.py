"""The rows that people look at one by one: rollouts and answered held-out prompts, with what they are sorted by.

A row is read, measured and forgotten: what is kept of it is an `Entry`, so that a run of any size can be listed.
"""

import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from srlm.records import AnswerEval, Candidate, EvalRow, Messages, PreferencePair, Rollout
from srlm.run.folder import Run
from srlm.store import read_rows, read_rows_at

Kind = Literal["rollout", "answer"]
SORTS = ("margin", "score", "length", "disagreement")  # names of Entry's fields
WAITING = "not paired yet"
PAIRED = "pair"


@dataclass(frozen=True, slots=True)
class Entry:
    """Where one row is, and what it is sorted and filtered by."""

    source: int  # number of its Source
    offset: int  # byte at which its line begins
    id: str
    outcome: str | None  # "pair", or why there is none; None for an answered held-out prompt
    score: float | None  # mean of the answers' scores
    margin: float | None  # chosen minus rejected; without a pair, best minus worst score
    length: float | None  # mean length of the answers, in characters
    disagreement: float | None  # largest standard deviation of the judgements of one answer
    unparsed: int  # judgements without a score


@dataclass
class Source:
    """One file of rows: M_t's rollouts for training (rollouts.jsonl), or its held-out answers (eval.jsonl)."""

    number: int
    t: int
    kind: Kind
    path: Path
    pairs: Path
    dropped: Path
    end: int = 0  # byte after the last row that was read
    pair_at: dict[str, tuple[int, float]] = field(default_factory=dict)  # id -> (byte of its line in pairs, margin)
    no_pair: dict[str, str] = field(default_factory=dict)  # id -> reason

    @property
    def model(self) -> str:
        """ "M2"."""
        return f"M{self.t}"

    def read_pairs(self) -> None:
        """Learn which rows gave a pair and why the others did not; nothing where pairs are not made yet."""
        if self.kind == "rollout":
            made: Iterator[tuple[int, int, PreferencePair]] = read_rows_at(self.pairs, PreferencePair)
            self.pair_at = {pair.id: (offset, pair.margin) for offset, _, pair in made}
            dropped = read_rows(self.dropped, dict[str, str])
            self.no_pair = {row["id"]: row["reason"] for row in dropped}

    def entries(self) -> Iterator[tuple[Entry, "Row"]]:
        """Each row that was not given before, measured. `read_pairs` comes first."""
        kind: Any = Rollout if self.kind == "rollout" else EvalRow
        for offset, end, found in read_rows_at(self.path, kind, self.end):
            self.end = end
            if isinstance(found, Rollout | AnswerEval):
                row = as_row(found)
                yield self._entry(offset, row), row

    def _entry(self, offset: int, row: "Row") -> Entry:
        candidates = row.rollout.candidates
        scores = [candidate.score for candidate in candidates if candidate.score is not None]
        spread = max(scores) - min(scores) if len(scores) > 1 else None
        key = row.rollout.id
        return Entry(
            source=self.number,
            offset=offset,
            id=key,
            outcome=self._outcome(key, row.rollout.dropped),
            score=statistics.fmean(scores) if scores else None,
            margin=self.pair_at[key][1] if key in self.pair_at else spread,
            length=statistics.fmean(len(candidate.text) for candidate in candidates) if candidates else None,
            disagreement=max((_deviation(one.valid) for one in candidates if one.valid), default=None),
            unparsed=sum(judgement.score is None for one in candidates for judgement in one.judgements),
        )

    def _outcome(self, key: str, dropped: str | None) -> str | None:
        if self.kind == "answer":
            return dropped
        return PAIRED if key in self.pair_at else self.no_pair.get(key) or dropped or WAITING

    def row_at(self, offset: int) -> "Row":
        """The row whose line begins at the byte `offset`."""
        kind: Any = Rollout if self.kind == "rollout" else EvalRow
        return as_row(next(found for _, _, found in read_rows_at(self.path, kind, offset)))

    def pair_of(self, key: str) -> PreferencePair | None:
        """The pair that was made of the row `key`, if any."""
        if key not in self.pair_at:
            return None
        offset, _ = self.pair_at[key]
        pair: PreferencePair = next(found for _, _, found in read_rows_at(self.pairs, PreferencePair, offset))
        return pair


@dataclass(frozen=True)
class Row:
    """A rollout, with the grader's marks where there are any (one per candidate)."""

    rollout: Rollout
    truth: list[dict[str, float] | None] | None = None

    @property
    def text(self) -> str:
        """All that can be searched: id, prompt, answers and judgements."""
        rollout = self.rollout
        parts = [rollout.id, *(message["content"] for message in rollout.messages)]
        for candidate in rollout.candidates:
            parts.append(candidate.text)
            for judgement in candidate.judgements:
                parts += [judgement.text, judgement.swapped or ""]
        return "\n".join(parts)


def as_row(found: Rollout | AnswerEval) -> Row:
    """A line of rollouts.jsonl or eval.jsonl as a row."""
    return Row(found.rollout, found.truth) if isinstance(found, AnswerEval) else Row(found)


def sources_of(run: Run, numbers: list[int]) -> list[Source]:
    """The files of rows that exist, of the models `numbers`; nothing is read yet."""
    result: list[Source] = []
    for t in numbers:
        for kind, path in (("answer", run.at(t).eval), ("rollout", run.at(t).rollouts)):
            if path.exists():
                paths = run.at(t)
                result.append(Source(len(result), t, kind, path, paths.pairs, paths.dropped))  # type: ignore[arg-type]
    return result


def item_of(source: Source, entry: Entry, row: Row) -> dict[str, Any]:
    """A row as the page and `--json` get it: everything that is known of it, as plain data."""
    rollout = row.rollout
    pair = source.pair_of(rollout.id)
    truth = row.truth or [None] * len(rollout.candidates)
    return {
        "model": source.model,
        "kind": source.kind,
        **{name: getattr(entry, name) for name in ("id", "outcome", *SORTS, "unparsed")},
        "messages": rollout.messages,
        "candidates": [_candidate(one, marks) for one, marks in zip(rollout.candidates, truth, strict=True)],
        "pair": _pair(pair, rollout.candidates) if pair else None,
    }


def _candidate(candidate: Candidate, truth: dict[str, float] | None) -> dict[str, Any]:
    return {
        "text": candidate.text,
        "finish": candidate.finish,
        "tokens": candidate.tokens,
        "score": candidate.score,
        "truth": truth,
        "judgements": [judgement.model_dump(exclude_defaults=True) for judgement in candidate.judgements],
    }


def _pair(pair: PreferencePair, candidates: list[Candidate]) -> dict[str, Any]:
    """Which candidates the pair was made of (None: of none, an answer from elsewhere), with the texts of such."""
    result: dict[str, Any] = {"margin": pair.margin}
    for side, messages, score in (
        ("chosen", pair.chosen, pair.chosen_score),
        ("rejected", pair.rejected, pair.rejected_score),
    ):
        result[side] = _index(candidates, messages, score)
        result[f"{side}_score"] = score
        if result[side] is None:
            result[f"{side}_text"] = messages[-1]["content"]
    return result


def _index(candidates: list[Candidate], messages: Messages, score: float) -> int | None:
    text = messages[-1]["content"]
    same = [number for number, one in enumerate(candidates) if one.text == text]
    return next((number for number in same if candidates[number].score == score), None)


def _deviation(scores: list[float]) -> float:
    mean = statistics.fmean(scores)  # statistics.pstdev is exact in fractions, and 30 times as slow
    return math.sqrt(statistics.fmean((score - mean) ** 2 for score in scores))
