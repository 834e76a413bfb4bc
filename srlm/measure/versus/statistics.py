"""Pure statistics of two models' answers to the same prompts. What is undefined is None, never NaN."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from srlm.judge.agreement import bootstrap_interval

REFITS = 200  # of the length-controlled win rate's bootstrap: each one fits a regression
RIDGE = 1.0  # strength of the pull of the length coefficient towards 0, as scikit-learn's default; none on the rest


@dataclass(frozen=True)
class Outcome:
    """One prompt answered by both: the mean of 1 win, 0.5 tie, 0 loss; whether the orders agreed; characters of both.

    `points` is None where the judge gave no verdict that could be read; `consistent` where it saw one answer at a time.
    """

    points: float | None
    consistent: list[bool] | None
    chars: int
    other_chars: int


def scored_points(score: float | None, other: float | None, margin: float) -> float | None:
    """1, 0.5 or 0 for the answer with `score`: a difference of at most `margin` is a tie; None without both scores."""
    if score is None or other is None:
        return None
    return 0.5 if abs(score - other) <= margin else float(score > other)


def head_to_head(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """What one model's answers are worth against another's, over the prompts with a verdict.

    - win, tie, loss: shares of prompts whose points lie above, at and below one half.
    - win_rate: mean points, a tie counted half; interval: its 95% bootstrap interval, by prompt.
    - controlled: the same if both answers were as long (`length_controlled`), controlled_interval its interval.
    - length_ratio: mean characters over the other's.
    - swap_consistency: share of comparisons in which both orders say the same; None where answers are scored alone.
    """
    known = [outcome for outcome in outcomes if outcome.points is not None]
    points = [outcome.points for outcome in known if outcome.points is not None]
    agreed = [agree for outcome in known for agree in outcome.consistent or []]
    gaps = [outcome.chars - outcome.other_chars for outcome in known]
    other_chars = sum(outcome.other_chars for outcome in known)
    return {
        "prompts": len(outcomes),
        "unread": len(outcomes) - len(known),
        "win": _share([point > 0.5 for point in points]),
        "tie": _share([point == 0.5 for point in points]),
        "loss": _share([point < 0.5 for point in points]),
        "win_rate": math.fsum(points) / len(points) if points else None,
        "interval": bootstrap_interval([(point, 1.0) for point in points]),
        "controlled": length_controlled(points, gaps),
        "controlled_interval": _controlled_interval(points, gaps),
        "length_ratio": sum(outcome.chars for outcome in known) / other_chars if other_chars else None,
        "swap_consistency": _share(agreed),
    }


def _share(found: Sequence[bool]) -> float | None:
    return sum(found) / len(found) if found else None


def length_controlled(points: Sequence[float], gaps: Sequence[float]) -> float | None:
    """The win rate that is left when the difference in length is taken out (the idea of AlpacaEval 2, 2404.04475).

    Logistic regression of the points (0 to 1) on an intercept and tanh(gap / standard deviation of the gaps), with
    gap = characters of the one answer minus those of the other; the result is the prediction at gap 0. Where nothing
    can be controlled for (all gaps the same, or every point 0, or every point 1) it is the plain win rate.
    """
    if not points:
        return None
    import numpy as np

    y, gap = np.asarray(points, dtype=float), np.asarray(gaps, dtype=float)
    plain = float(y.mean())
    if gap.std() == 0 or plain in (0.0, 1.0):
        return plain
    from sklearn.linear_model import LogisticRegression  # here: tables and --help shall start fast

    # A point between 0 and 1 is two rows that share its weight: scikit-learn's targets are classes.
    x = np.tanh(gap / gap.std()).reshape(-1, 1)
    weights = np.concatenate([y, 1 - y])
    rows, classes = np.concatenate([x, x]), np.concatenate([np.ones_like(y), np.zeros_like(y)])
    kept = weights > 0
    fitted = LogisticRegression(C=1 / RIDGE).fit(rows[kept], classes[kept], sample_weight=weights[kept])
    return float(fitted.predict_proba([[0.0]])[0, 1])


def _controlled_interval(points: Sequence[float], gaps: Sequence[float]) -> list[float] | None:
    """95% percentile interval of `length_controlled` over resampled prompts."""
    if len(points) < 2:
        return None
    import numpy as np

    random = np.random.default_rng(0)
    draws = random.integers(len(points), size=(REFITS, len(points)))
    found = [length_controlled([points[i] for i in draw], [gaps[i] for i in draw]) for draw in draws]
    low, high = np.quantile(np.asarray(found, dtype=float), [0.025, 0.975])
    return [float(low), float(high)]
