"""Head to head, the statistics: shares, intervals, and the win rate with length taken out."""

import numpy as np
import pytest

from srlm.judge.agreement import bootstrap_interval
from srlm.measure.versus.statistics import Outcome, head_to_head, length_controlled, scored_points


def outcome(points: float | None, chars: int = 10, consistent: list[bool] | None = None) -> Outcome:
    return Outcome(points, consistent, chars, 10)


def test_shares_rate_and_what_could_not_be_read() -> None:
    found = head_to_head([outcome(1.0), outcome(1.0), outcome(0.5), outcome(0.0), outcome(None)])
    assert (found["win"], found["tie"], found["loss"]) == (0.5, 0.25, 0.25)
    assert found["win_rate"] == 0.625
    assert (found["prompts"], found["unread"]) == (5, 1)
    assert found["swap_consistency"] is None
    low, high = found["interval"]
    assert 0 <= low < 0.625 < high <= 1


def test_swap_consistency_is_the_share_of_comparisons_whose_orders_agree() -> None:
    found = head_to_head([outcome(1.0, consistent=[True, True]), outcome(0.5, consistent=[False, True])])
    assert found["swap_consistency"] == 0.75


def test_without_a_verdict_everything_is_undefined() -> None:
    found = head_to_head([outcome(None)])
    assert [found[name] for name in ("win", "win_rate", "interval", "controlled", "length_ratio")] == [None] * 5


@pytest.mark.parametrize(
    ("score", "other", "margin", "points"),
    [(4.0, 3.0, 0.0, 1.0), (3.0, 4.0, 0.0, 0.0), (3.5, 3.0, 0.5, 0.5), (3.0, 3.0, 0.0, 0.5), (None, 3.0, 0.0, None)],
)
def test_scores_within_the_margin_tie(score: float, other: float, margin: float, points: float | None) -> None:
    assert scored_points(score, other, margin) == points


def drawn(quality: float, bias: float, count: int, seed: int) -> tuple[list[float], list[float]]:
    """Points of a judge whose log-odds are `quality` + `bias` * tanh(gap / sd); the one's answers tend to be longer."""
    random = np.random.default_rng(seed)
    gaps = random.normal(40, 50, count)
    odds = quality + bias * np.tanh(gaps / gaps.std())
    return list((random.random(count) < 1 / (1 + np.exp(-odds))).astype(float)), list(gaps)


@pytest.mark.parametrize(("quality", "bias"), [(0.0, 2.0), (0.8, 1.5), (-0.7, 2.5), (0.5, 0.0)])
def test_length_control_recovers_a_known_effect(quality: float, bias: float) -> None:
    """The plain rate is far off where the judge likes length; the controlled one is the true one at equal length."""
    points, gaps = drawn(quality, bias, 20_000, seed=3)
    true = 1 / (1 + np.exp(-quality))
    found = length_controlled(points, gaps)
    assert found == pytest.approx(true, abs=0.015)
    if bias:
        assert abs(np.mean(points) - true) > 0.08


def test_length_control_is_symmetric() -> None:
    points, gaps = drawn(0.6, 1.0, 500, seed=5)
    other = length_controlled([1 - point for point in points], [-gap for gap in gaps])
    assert length_controlled(points, gaps) == pytest.approx(1 - other, abs=1e-4)  # type: ignore[operator]


def test_nothing_to_control_for_is_the_plain_rate() -> None:
    assert length_controlled([1.0, 0.0, 0.5, 1.0], [7.0] * 4) == 0.625
    assert length_controlled([1.0, 1.0], [3.0, -3.0]) == 1.0
    assert length_controlled([], []) is None


def test_ties_alone_are_one_half_whatever_the_lengths() -> None:
    assert length_controlled([0.5] * 6, [1.0, 5.0, 9.0, -3.0, 2.0, 40.0]) == pytest.approx(0.5, abs=1e-6)


def test_the_bootstrap_interval_covers_the_true_rate_about_as_often_as_it_says() -> None:
    """300 experiments of 100 prompts with a true rate of 0.6: coverage of 95%, three standard errors either way."""
    random = np.random.default_rng(11)
    covered = 0
    for _ in range(300):
        points = random.choice([1.0, 0.5, 0.0], p=[0.5, 0.2, 0.3], size=100)
        low, high = bootstrap_interval([(point, 1.0) for point in points], resamples=400)  # type: ignore[misc]
        covered += low <= 0.6 <= high
    assert 0.91 <= covered / 300 <= 0.99
