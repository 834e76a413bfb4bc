"""What the report counts itself, in one pass over the rows of a model: scores, tokens, the course of training."""

import itertools
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any, NotRequired

from typing_extensions import TypedDict  # pydantic takes typing's own from Python 3.12 on

from srlm.records import AnswerEval, CanaryEval, EvalRow, Instruction, JudgeEval, PreferencePair, Rollout
from srlm.run.folder import Run
from srlm.store import read_rows

MARGIN_STEP = 0.5  # width of a bar in the histogram of margins, in units of the rubric's scale


class _Judged(TypedDict):
    """What is counted of a judgement. All of a large run's rows are read here: the rest of a row is skipped, which
    takes half the time.
    """

    score: float | None
    tokens: int


class _Answered(TypedDict):
    tokens: int
    judgements: NotRequired[list[_Judged]]


class _RolledOut(TypedDict):
    candidates: NotRequired[list[_Answered]]


def survey(run: Run, t: int) -> dict[str, Any]:
    """M_t's judgements of its own rollouts by score, the margins of its pairs, and the tokens each stage wrote."""
    scores: Counter[str] = Counter()
    unparsed = aift_tokens = 0
    rollouts: Iterator[_RolledOut] = read_rows(run.at(t).rollouts, _RolledOut)
    for candidate in itertools.chain.from_iterable(row.get("candidates", []) for row in rollouts):
        judgements = candidate.get("judgements", [])
        aift_tokens += candidate["tokens"] + sum(judgement["tokens"] for judgement in judgements)
        # as text: at most six digits, where expected scores are as many numbers as there are judgements
        valid = [f"{judgement['score']:g}" for judgement in judgements if judgement["score"] is not None]
        scores.update(valid)
        unparsed += len(judgements) - len(valid)
    asked: Iterator[Instruction] = read_rows(run.at(t).instructions, Instruction)
    aift_tokens += sum(instruction.tokens for instruction in asked)
    pairs: Iterator[PreferencePair] = read_rows(run.at(t).pairs, PreferencePair)
    return {
        "score_histogram": _histogram(scores),
        "unparsed": unparsed,
        # the lower edge of each bar
        "margins": _histogram(Counter(f"{math.floor(pair.margin / MARGIN_STEP) * MARGIN_STEP:g}" for pair in pairs)),
        "tokens": {"eval": _eval_tokens(run, t), "aift": aift_tokens},
    }


def course(run: Run, t: int, points: int) -> dict[str, Any] | None:
    """The trainer's log of M_t: number of rows, the first and the last one, and each figure's course in `points` means.

    None where there is no log. A figure that some rows lack has no course.
    """
    rows: list[dict[str, Any]] = list(read_rows(run.at(t).train_log, dict[str, Any]))
    if not rows:
        return None
    numeric = [name for name in rows[-1] if all(isinstance(row.get(name), int | float) for row in rows)]
    return {
        "rows": len(rows),
        "first": rows[0],
        "last": rows[-1],
        "course": {name: thinned([row[name] for row in rows], points) for name in numeric},
    }


def thinned(values: list[float], points: int) -> list[float]:
    """At most `points` values: the means of neighbouring ones. What is not finite counts as the value before it."""
    finite: list[float] = []
    for value in values:
        finite.append(value if math.isfinite(value) else finite[-1] if finite else 0.0)
    count = min(points, len(finite))
    edges = [len(finite) * number // count for number in range(count + 1)]
    return [sum(finite[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]


def _eval_tokens(run: Run, t: int) -> int:
    """Tokens of the answers and judgements in M_t's evaluation."""
    total = 0
    rows: Iterator[AnswerEval | JudgeEval | CanaryEval] = read_rows(run.at(t).eval, EvalRow)
    for row in rows:
        if isinstance(row, AnswerEval):
            total += _tokens(row.rollout)
        else:
            total += sum(judgement.tokens for judgement in row.judgements)
    return total


def _tokens(rollout: Rollout) -> int:
    return sum(one.tokens + sum(judgement.tokens for judgement in one.judgements) for one in rollout.candidates)


def _histogram(counts: Counter[str]) -> dict[str, int]:
    """Value (as text) -> count, in order of value."""
    return dict(sorted(counts.items(), key=lambda item: float(item[0])))
