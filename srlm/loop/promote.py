"""The promotion gate: is M_{t+1} better than M_t, or only different? Figures in, findings out. Pure.

A figure that is missing is a finding, too ("not known"): a model is never promoted just because nobody looked.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from srlm.loop.finding import Finding
from srlm.settings import PromoteSettings

GRADED = 0.8  # least share of the prompts that a grader must know both models' answers to, for its word to decide


@dataclass(frozen=True)
class Best:
    """The best model so far, and why it and not a later one."""

    model: str
    why: str


def check_promotion(figures: dict[str, Any], previous: dict[str, Any], settings: PromoteSettings) -> list[Finding]:
    """The reasons not to promote M_{t+1} (`figures`) over M_t (`previous`)."""
    checks = (_wins, _accuracy, _length, _diversity, _canaries)
    found = [finding for check in checks for finding in check(figures, previous, settings)]
    return [replace(finding, waived=finding.check in settings.waive) for finding in found]


def best_so_far(models: list[dict[str, Any]], settings: PromoteSettings) -> Best | None:
    """The last of M1.. (their figures, in order) that was promoted: it passed against the model before it, and,
    where that was not promoted itself, also won against the best one. None before there is an M1.
    """
    if not models:
        return None
    best, why = models[0], "the first trained model"
    held: list[str] = []
    for previous, figures in itertools.pairwise(models):
        against = [finding for finding in check_promotion(figures, previous, settings) if not finding.waived]
        if not against and previous is not best:
            against = list(_wins(figures, best, settings))
        if against:
            held.append(f"{figures['model']}: {'; '.join(map(str, against))}")
            continue
        gain = _gain(figures, best, settings)
        best, why, held = (
            figures,
            f"{gain.shown}; nothing speaks against it" if gain else "nothing speaks against it",
            [],
        )
    return Best(best["model"], ". Not ".join([why, *held]))


@dataclass(frozen=True)
class _Gain:
    """How much better a model is than another: in words, the lower end of its interval, and what that must exceed."""

    shown: str
    low: float
    floor: float
    limit: str


def _gain(figures: dict[str, Any], other: dict[str, Any], settings: PromoteSettings) -> _Gain | None:
    """By the judge, where the two met head to head; else by the grader, where it knows most answers; else None."""
    versus, truth = (_against(figures, other, by) for by in ("versus", "truth"))
    if ends := versus.get("interval"):
        shown = f"{versus['win_rate']:.1%}, 95% interval {ends[0]:.1%} to {ends[1]:.1%}"
        shown = f"win rate against {other['model']}: {shown}"
        return _Gain(shown, ends[0], settings.min_win_rate, "promote.min_win_rate")
    if (ends := truth.get("interval")) and truth["prompts"] >= GRADED * truth["asked"]:
        shown = f"{truth['score']:+.2f}, 95% interval {ends[0]:+.2f} to {ends[1]:+.2f}"
        return _Gain(f"ground truth against {other['model']}: {shown}", ends[0], 0.0, "eval.grader")
    return None


def _against(figures: dict[str, Any], other: dict[str, Any], by: Literal["versus", "truth"]) -> dict[str, Any]:
    found: dict[str, Any] = figures.get(by, {}).get("against", {}).get(other["model"], {})
    return found


def _wins(figures: dict[str, Any], previous: dict[str, Any], settings: PromoteSettings) -> Iterator[Finding]:
    gain = _gain(figures, previous, settings)
    if gain is None:
        yield Finding("wins", f"win rate against {previous['model']}", "promote.min_win_rate", known=False)
    elif gain.low <= gain.floor:
        yield Finding("wins", gain.shown, gain.limit)


def _accuracy(figures: dict[str, Any], previous: dict[str, Any], settings: PromoteSettings) -> Iterator[Finding]:
    change, limit = figures.get("judge", {}).get("change") or {}, "promote.max_accuracy_drop"
    interval = change.get("interval")
    if interval is None:
        yield Finding("judge", f"change in the judge's accuracy since {previous['model']}", limit, known=False)
    elif interval[1] < -settings.max_accuracy_drop:
        ends = f"95% interval {100 * interval[0]:+.1f} to {100 * interval[1]:+.1f}"
        shown = f"{100 * change['accuracy']:+.1f} points, {ends}"
        yield Finding("judge", f"the judge's accuracy against people: {shown}", limit)


def _length(figures: dict[str, Any], previous: dict[str, Any], settings: PromoteSettings) -> Iterator[Finding]:
    """Longer answers are fine where they are better at equal length."""
    now, then = (found.get("answers", {}).get("chars") for found in (figures, previous))
    limit = "promote.max_length_growth"
    if not now or not then:
        yield Finding("length", f"growth in answer length since {previous['model']}", limit, known=False)
    elif now / then - 1 > settings.max_length_growth and not (gain := _at_equal_length(figures, previous, settings)):
        why = "no head to head shows if they are better" if gain is None else "they do not win at equal length"
        yield Finding("length", f"answers are {now / then - 1:.0%} longer, and {why}", limit)


def _at_equal_length(figures: dict[str, Any], previous: dict[str, Any], settings: PromoteSettings) -> bool | None:
    """Whether it wins with length taken out, or by a grader, which does not favour length; None: not measured."""
    versus = _against(figures, previous, "versus")
    if controlled := versus.get("controlled_interval"):
        return bool(controlled[0] > settings.min_win_rate)
    gain = None if versus.get("interval") else _gain(figures, previous, settings)
    return gain.low > gain.floor if gain else None


def _diversity(figures: dict[str, Any], previous: dict[str, Any], settings: PromoteSettings) -> Iterator[Finding]:
    now, then = (found.get("answers", {}).get("distinct_2") for found in (figures, previous))
    limit = "promote.min_distinct_ratio"
    if not now or not then:
        yield Finding("diversity", f"change in distinct-2 of the answers since {previous['model']}", limit, known=False)
    elif now / then < settings.min_distinct_ratio:
        yield Finding("diversity", f"distinct-2 of the answers fell from {then:.3f} to {now:.3f}", limit)


def _canaries(figures: dict[str, Any], _: dict[str, Any], settings: PromoteSettings) -> Iterator[Finding]:
    found, limit = figures.get("canaries"), "eval.canaries"
    if not found or found["median"] is None:
        yield Finding("canaries", "how this judge scores worthless answers", limit, known=False)
    elif found["passed"]:
        yield Finding("canaries", f"worthless answers score like real ones: {', '.join(found['passed'])}", limit)
