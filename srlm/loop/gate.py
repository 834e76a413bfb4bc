"""The health gate: may M_{t+1} be trained on what M_t judged? Figures in, findings out. Pure.

A score decides what the next model learns. So a judge that cannot be read, gives everything the same score, contradicts
itself, goes by length, has lost touch with people or can be talked into a score is found before training, not after it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from srlm.loop.finding import Finding
from srlm.settings import GateCheck, GateSettings, JudgeSettings


@dataclass(frozen=True)
class _Bound:
    """A figure, found under its path, that should lie within a limit of [gate]."""

    check: GateCheck
    name: str
    path: tuple[str, str]
    setting: str  # of GateSettings; min_... or max_...
    means: str
    show: Callable[[float], str]
    size: Callable[[float], float] = lambda value: value  # what of the figure is held against the limit


def _percent(value: float) -> str:
    return f"{value:.1%}"


def _number(value: float) -> str:
    return f"{value:.2f}"


BOUNDS = (
    _Bound(
        "parse", "judgements that could be read", ("aift", "parse_rate"), "min_parse_rate",
        "the judge does not follow the rubric's form, and what it can score may be the easy part", _percent,
    ),
    _Bound(
        "entropy", "entropy of the scores, in bits", ("aift", "score_entropy"), "min_entropy",
        "nearly all scores are the same, so chance picks the pairs", _number,
    ),
    _Bound(
        "ties", "instructions whose candidates tie", ("aift", "tie_rate"), "max_tie_rate",
        "the judge cannot tell most answers apart", _percent,
    ),
    _Bound(
        "pairs", "instructions that gave a pair", ("aift", "usable_pair_rate"), "min_usable_pairs",
        "most instructions are lost, and the few pairs left are not a fair sample", _percent,
    ),
    _Bound(
        "agreement", "agreement among an answer's judgements", ("aift", "sample_agreement"), "min_agreement",
        "judgements of one answer differ as much as those of different answers: the scores are noise", _number,
    ),
    _Bound(
        "agreement", "agreement of two phrasings", ("aift", "phrasing_agreement"), "min_agreement",
        "asked in other words, the judge ranks the same answers otherwise: the scores are noise", _number,
    ),
    _Bound(
        "agreement", "agreement of the two orders of a comparison", ("aift", "order_agreement"), "min_agreement",
        "which answer is preferred depends on its place and not on what it says", _number,
    ),
    _Bound(
        "length", "correlation of score and length", ("aift", "score_length"), "max_length_correlation",
        "the judge goes by length", _number, abs,
    ),
    _Bound(
        "longer", "length of chosen answers over rejected ones", ("aift", "length_ratio"), "max_length_ratio",
        "the next model would learn to write more rather than better", _number,
    ),
    _Bound(
        "people", "pairwise accuracy against people", ("judge", "pairwise_accuracy"), "min_accuracy",
        "on held-out EFT, the judge does not order answers as people do", _percent,
    ),
    _Bound(
        "people", "pairwise accuracy against people at equal length", ("judge", "equal_length_accuracy"),
        "min_accuracy", "what the judge has in common with people is that longer (or shorter) answers are better",
        _percent,
    ),
    _Bound(
        "consistency", "consistency with the previous model's judgements",
        ("aift", "consistency"), "min_mean_consistency",
        "this model and the one before it rank the same answers as if by chance", _number,
    ),
)  # fmt: skip


def check_judge(figures: dict[str, Any], previous: dict[str, Any] | None, settings: GateSettings) -> list[Finding]:
    """The reasons not to train on what this model judged; waived findings are included, and marked.

    `figures` are those of M_t, `previous` those of M_{t-1}. A figure that is not defined (say, agreement with a single
    judgement per answer) is not a finding (see `unmeasured`). The exception is the parse rate: without any judgement
    there is nothing to train on.
    """
    found = [*_bounds(figures, settings), *_drop(figures, previous, settings), *_canaries(figures)]
    return [replace(finding, waived=finding.check in settings.waive) for finding in found]


def unmeasured(figures: dict[str, Any]) -> list[str]:
    """What the gate cannot look at, in words: figures that are not defined, canaries that were not judged or read."""
    names: dict[str, str] = {}  # one figure of a check is enough: agreement of judgements, phrasings or orders
    for bound in BOUNDS:
        names.setdefault(bound.check, bound.name)
    for bound in BOUNDS:
        not_asked = None if bound.check != "consistency" else 0
        if figures.get(bound.path[0], {}).get(bound.path[1], not_asked) is not None:
            names.pop(bound.check, None)
    found = list(names.values())
    canaries = figures.get("canaries")
    if canaries is None or canaries["median"] is None:
        return [*found, "canaries"]
    return [*found, *(f"the canary {name!r}" for name, score in canaries["scores"].items() if score is None)]


def _bounds(figures: dict[str, Any], settings: GateSettings) -> Iterator[Finding]:
    for bound in BOUNDS:
        section, key = bound.path
        figure = figures.get(section, {}).get(key)
        limit: float = getattr(settings, bound.setting)
        if figure is None:
            if bound.check == "parse":
                yield Finding(
                    "parse", "there are no judgements", f"gate.{bound.setting}", "there is nothing to train on"
                )
            continue
        low = bound.setting.startswith("min")
        if bound.size(figure) < limit if low else bound.size(figure) > limit:
            side = "below" if low else "above"
            saw = f"{bound.name}: {bound.show(figure)}, {side} {bound.show(limit)}"
            yield Finding(bound.check, saw, f"gate.{bound.setting}", bound.means, figure)


def _drop(figures: dict[str, Any], previous: dict[str, Any] | None, settings: GateSettings) -> Iterator[Finding]:
    now = figures["judge"].get("pairwise_accuracy")
    before = (previous or {"judge": {}})["judge"].get("pairwise_accuracy")
    if now is not None and before is not None and before - now > settings.max_judge_drop:
        saw = f"pairwise accuracy against people: {_percent(now)}, down from {_percent(before)} with the previous model"
        yield Finding("drop", saw, "gate.max_judge_drop", "the loop is losing its judge", now, _percent(before))


def _canaries(figures: dict[str, Any]) -> Iterator[Finding]:
    found = figures.get("canaries") or {"passed": {}}
    for name, score in found["passed"].items():
        saw = f"the worthless answer {name!r} scores {_number(score)}, the median real one {_number(found['median'])}"
        yield Finding("canaries", saw, "eval.canaries", "the judge can be talked into a score", score, name)


def what_to_do(root: Path, t: int, n: int, judge: JudgeSettings) -> str:
    """Why the run stops before M_{t+1} is trained, and what the user can do, as commands."""
    sampled = judge.mode != "expected" or judge.justify
    changes = [f"more judgements per answer (judge.samples = {2 * judge.samples + 1})"] if sampled else []
    changes += ['the expected score (judge.mode = "expected")'] if judge.mode != "expected" else []
    rubric = judge.pairwise_rubric if judge.compares else judge.rubric
    changes += [f"another rubric ({root}/prompts/{rubric})"]
    again = f"srlm iterate {n} --run {root}"
    return (
        f"the health gate stopped the run: M{t + 1} should not be trained on M{t}'s scores. "
        f"What may help: {', '.join(changes)}. "
        f"Settings are in {root}/config.toml. After a change, judge again with `{again} --redo stale`. "
        f"Or train on these scores anyway: `{again} --accept-judge`"
    )
