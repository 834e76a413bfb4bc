"""Preference pairs: best against worst, or the reason why not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from srlm.config import PairSettings
from srlm.pairs import make_pair
from srlm.records import Candidate, Judgement, PreferencePair, Rollout


def candidate(text: str, *scores: float | None, finish: str = "stop") -> Candidate:
    judgements = [Judgement(text="", score=score, finish="stop", tokens=1) for score in scores]
    return Candidate(text=text, finish=finish, tokens=1, judgements=judgements)


def rollout(*candidates: Candidate, dropped: str | None = None) -> Rollout:
    return Rollout(id="r", messages=[{"role": "user", "content": "q"}], candidates=list(candidates), dropped=dropped)


def test_best_against_worst_by_unrounded_mean() -> None:
    found = make_pair(
        rollout(candidate("a", 4, 4, 5), candidate("b", 4, 5, 5), candidate("c", 5, 5, 3)), PairSettings()
    )
    assert isinstance(found, PreferencePair)
    assert (found.chosen[0]["content"], found.rejected[0]["content"]) == ("b", "a")  # of a and c the first
    assert found.chosen_score == pytest.approx(14 / 3)
    assert found.margin == pytest.approx(1 / 3)


def test_a_missing_score_is_not_a_low_score() -> None:
    found = make_pair(
        rollout(candidate("a", None, None), candidate("b", 4, 4), candidate("c", 2, None)), PairSettings()
    )
    assert isinstance(found, PreferencePair)
    assert (found.chosen[0]["content"], found.rejected[0]["content"]) == ("b", "c")
    assert found.rejected_score == 2


@pytest.mark.parametrize(
    ("given", "settings", "reason"),
    [
        (rollout(candidate("a", 3), candidate("b", 3)), {}, "tie"),
        (rollout(candidate("a", 3), candidate("b", 3.4)), {"min_margin": 0.5}, "margin below min_margin"),
        (rollout(candidate("a", 3), candidate("b", None)), {}, "too few valid judgements"),
        (rollout(candidate("a", 3, None), candidate("b", 1, 1)), {"min_judgements": 2}, "too few valid judgements"),
        (rollout(candidate("a", 3), candidate("b", 1, finish="length")), {}, "fewer than two finished candidates"),
        (rollout(candidate("a", 3), candidate("", 1)), {}, "fewer than two finished candidates"),
        (rollout(candidate("a", 3), candidate("a", 1)), {}, "same text"),
        (rollout(dropped="overlong"), {}, "overlong"),
    ],
)
def test_no_pair_and_why(given: Rollout, settings: dict, reason: str) -> None:
    assert make_pair(given, PairSettings(**settings)) == reason


@given(st.lists(st.lists(st.none() | st.integers(0, 5), min_size=1, max_size=3), max_size=5), st.floats(0, 5))
def test_a_pair_always_has_the_margin(scores: list[list[int | None]], min_margin: float) -> None:
    found = make_pair(
        rollout(*(candidate(f"answer {i}", *s) for i, s in enumerate(scores))), PairSettings(min_margin=min_margin)
    )
    if isinstance(found, PreferencePair):
        assert found.margin > 0
        assert found.margin >= min_margin
        assert found.chosen != found.rejected
