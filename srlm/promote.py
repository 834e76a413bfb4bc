"""The promotion gate: is M_{t+1} better than M_t, or only different? Figures in (metrics.json), findings out. Pure.

What is not known is a finding of its own kind, "not known": a model is never promoted because nobody looked.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from srlm.settings import PromoteCheck, PromoteSettings


@dataclass(frozen=True)
class Doubt:
    """One reason not to promote: which check, what was seen, the setting with the limit; or that it is unknown."""

    check: PromoteCheck
    saw: str
    limit: str
    known: bool = True
    waived: bool = False

    def __str__(self) -> str:
        return f"{self.saw} ({self.limit})" + ("" if self.known else ", not known")


@dataclass(frozen=True)
class Best:
    """The best model so far, and why it and not a later one."""

    model: str
    why: str


def check_promotion(metrics: dict[str, Any], previous: dict[str, Any], settings: PromoteSettings) -> list[Doubt]:
    """What speaks against M_{t+1} (`metrics`, its metrics.json) as the successor of M_t (`previous`)."""
    checks = (_wins, _accuracy, _length, _diversity, _canaries)
    found = [doubt for check in checks for doubt in check(metrics, previous, settings)]
    return [Doubt(d.check, d.saw, d.limit, d.known, d.check in settings.waive) for d in found]


def best_so_far(models: list[dict[str, Any]], settings: PromoteSettings) -> Best | None:
    """The last of M1.. (their metrics.json, in order) that was promoted: it passed against the model before it, and,
    where that was not promoted itself, also won against the best one. None before there is an M1.
    """
    if not models:
        return None
    best, why = models[0], "the first one that is trained"
    held: list[str] = []
    for previous, metrics in itertools.pairwise(models):
        doubts = [doubt for doubt in check_promotion(metrics, previous, settings) if not doubt.waived]
        if not doubts and previous is not best:
            doubts = list(_wins(metrics, best, settings))
        if doubts:
            held.append(f"{metrics['model']}: {'; '.join(map(str, doubts))}")
            continue
        rate = _against(metrics, best).get("win_rate")
        against = f"wins {rate:.1%} against {best['model']}, " if rate is not None else ""
        best, why, held = metrics, f"{against}and nothing else speaks against it", []
    return Best(best["model"], ". Not ".join([why, *held]))


def _against(metrics: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = metrics.get("versus", {}).get("against", {}).get(other["model"], {})
    return found


def _wins(metrics: dict[str, Any], previous: dict[str, Any], settings: PromoteSettings) -> Iterator[Doubt]:
    found, limit = _against(metrics, previous), "promote.min_win_rate"
    interval = found.get("interval")
    if interval is None:
        yield Doubt("wins", f"win rate against {previous['model']}", limit, known=False)
    elif interval[0] <= settings.min_win_rate:
        shown = f"{found['win_rate']:.1%}, 95% from {interval[0]:.1%} to {interval[1]:.1%}"
        yield Doubt("wins", f"win rate against {previous['model']}: {shown}", limit)


def _accuracy(metrics: dict[str, Any], previous: dict[str, Any], settings: PromoteSettings) -> Iterator[Doubt]:
    change, limit = metrics.get("judge", {}).get("change") or {}, "promote.max_accuracy_drop"
    interval = change.get("interval")
    if interval is None:
        yield Doubt("judge", f"change of the judge's accuracy since {previous['model']}", limit, known=False)
    elif interval[1] < -settings.max_accuracy_drop:
        shown = f"{100 * change['accuracy']:+.1f} points, 95% from {100 * interval[0]:+.1f} to {100 * interval[1]:+.1f}"
        yield Doubt("judge", f"the judge's accuracy against people: {shown}", limit)


def _length(metrics: dict[str, Any], previous: dict[str, Any], settings: PromoteSettings) -> Iterator[Doubt]:
    """Longer answers are fine where they are better at equal length: the controlled win rate lies above one half."""
    now, then = (found.get("answers", {}).get("chars") for found in (metrics, previous))
    limit = "promote.max_length_growth"
    if not now or not then:
        yield Doubt("length", f"growth of the answers since {previous['model']}", limit, known=False)
        return
    interval = _against(metrics, previous).get("controlled_interval")
    gain = interval is not None and interval[0] > settings.min_win_rate
    if now / then - 1 > settings.max_length_growth and not gain:
        why = "no head to head to tell whether they are better" if interval is None else "no gain at equal length"
        yield Doubt("length", f"answers {now / then - 1:.0%} longer, and {why}", limit)


def _diversity(metrics: dict[str, Any], previous: dict[str, Any], settings: PromoteSettings) -> Iterator[Doubt]:
    now, then = (found.get("answers", {}).get("distinct_2") for found in (metrics, previous))
    limit = "promote.min_distinct_ratio"
    if not now or not then:
        yield Doubt("diversity", f"distinct-2 of the answers since {previous['model']}", limit, known=False)
    elif now / then < settings.min_distinct_ratio:
        yield Doubt("diversity", f"distinct-2 of the answers fell from {then:.3f} to {now:.3f}", limit)


def _canaries(metrics: dict[str, Any], _: dict[str, Any], settings: PromoteSettings) -> Iterator[Doubt]:
    found, limit = metrics.get("canaries"), "eval.canaries"
    if not found or found["median"] is None:
        yield Doubt("canaries", "worthless answers before this judge", limit, known=False)
    elif found["passed"]:
        yield Doubt("canaries", f"worthless answers score like real ones: {', '.join(found['passed'])}", limit)
