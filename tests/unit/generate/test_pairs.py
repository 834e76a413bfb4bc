"""Preference pairs: best against worst, or the reason why not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from srlm.generate.pairs import consistency, make_pair, make_pairs, rank_agreement
from srlm.records import Candidate, Judgement, PreferencePair, Rollout
from srlm.settings import PairSettings


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


def test_equal_scores_in_another_order_are_a_tie() -> None:
    assert sum((0.1, 0.2, 0.3)) != sum((0.3, 0.2, 0.1))
    same = rollout(candidate("a", 0.1, 0.2, 0.3), candidate("b", 0.3, 0.2, 0.1))
    assert make_pair(same, PairSettings()) == "tie"


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


@given(
    st.lists(st.lists(st.none() | st.integers(0, 5), min_size=1, max_size=3), max_size=5),
    st.floats(0, 5),
    st.none() | st.floats(0, 1),
)
def test_a_pair_always_has_the_margin(scores: list[list[int | None]], min_margin: float, rho: float | None) -> None:
    given = rollout(*(candidate("answer " * (1 + i % 3) + str(i), *s) for i, s in enumerate(scores)))
    found = make_pair(given, PairSettings(min_margin=min_margin, rho=rho))
    if isinstance(found, PreferencePair):
        assert found.margin > 0
        assert found.margin >= min_margin
        assert found.chosen != found.rejected


RUNGS = [("aaaaaa", 5), ("bbbb", 4.6), ("cc", 4), ("d", 2), ("eee", 1.4), ("fffff", 1)]
LADDER = rollout(*(candidate(text, score) for text, score in RUNGS))


@pytest.mark.parametrize(
    ("rho", "chosen", "rejected"),
    [
        (None, "aaaaaa", "fffff"),
        (0.0, "aaaaaa", "fffff"),
        (0.1, "bbbb", "fffff"),  # chosen in [4.6, 5]; rejected in [1, 1.4]: the longest is still f
        (0.25, "cc", "fffff"),  # chosen in [4, 5], whose edge counts
    ],
)
def test_rho_takes_the_shortest_of_the_best_and_the_longest_of_the_worst(
    rho: float | None, chosen: str, rejected: str
) -> None:
    found = make_pair(LADDER, PairSettings(rho=rho))
    assert isinstance(found, PreferencePair)
    assert (found.chosen[0]["content"], found.rejected[0]["content"]) == (chosen, rejected)


def test_rho_rejects_the_longest_of_the_worst() -> None:
    given = rollout(candidate("best", 5), candidate("a long bad one", 1.5), candidate("worst", 1))
    found = [make_pair(given, PairSettings(rho=rho)) for rho in (0.1, 0.125)]  # worst tiers up to 1.4 and 1.5
    assert [pair.rejected[0]["content"] for pair in found] == ["worst", "a long bad one"]
    assert found[1].rejected_score == 1.5


def test_under_rho_length_decides_between_equal_scores() -> None:
    given = rollout(candidate("long good", 4), candidate("good", 4), candidate("bad", 1), candidate("long bad", 1))
    found = make_pair(given, PairSettings(rho=0))
    assert (found.chosen[0]["content"], found.rejected[0]["content"]) == ("good", "long bad")


def test_rho_of_one_may_turn_a_pair_around_which_is_then_none() -> None:
    given = rollout(candidate("long and good", 5), candidate("bad", 1))
    assert make_pair(given, PairSettings(rho=1)) == "rho above 0.5 turned the pair around"


def test_rho_per_iteration_and_its_last_one_holds_on() -> None:
    settings = PairSettings(rho=[0.0, 0.2])
    assert [settings.at(t).rho for t in (1, 2, 3)] == [0.0, 0.2, 0.2]


def test_max_margin() -> None:
    given = rollout(candidate("good", 5), candidate("broken", 0))
    assert make_pair(given, PairSettings(max_margin=4.5)) == "margin above max_margin"
    assert isinstance(make_pair(given, PairSettings(max_margin=5)), PreferencePair)


class TestAnchor:
    settings = PairSettings(anchor="M1")
    own = rollout(candidate("better", 4), candidate("good", 3))

    def test_rejected_is_the_earlier_models_worst_where_that_is_lower(self) -> None:
        found = make_pair(self.own, self.settings, rollout(candidate("old", 2), candidate("older", 1)))
        assert (found.rejected[0]["content"], found.rejected_score, found.rejected_from) == ("older", 1, "M1")
        assert found.chosen[0]["content"] == "better"

    def test_else_the_models_own(self) -> None:
        found = make_pair(self.own, self.settings, rollout(candidate("old", 3), candidate("older", 5)))
        assert (found.rejected[0]["content"], found.rejected_from) == ("good", None)

    def test_it_makes_pairs_where_the_models_own_answers_tie_or_but_one_is_usable(self) -> None:
        past = rollout(candidate("old", 2))
        for own in (rollout(candidate("a", 4), candidate("b", 4)), rollout(candidate("a", 4), candidate("", 1))):
            found = make_pair(own, self.settings, past)
            assert (found.chosen[0]["content"], found.rejected[0]["content"], found.margin) == ("a", "old", 2)

    def test_an_unscored_or_cut_off_earlier_answer_is_none(self) -> None:
        past = rollout(candidate("old", None), candidate("cut", 0, finish="length"))
        assert make_pair(self.own, self.settings, past).rejected_from is None


class TestConsistency:
    """Four candidates that M_t scores 4, 3, 2, 1."""

    mine = rollout(*(candidate(text, score) for text, score in zip("abcd", (4, 3, 2, 1), strict=True)))

    @pytest.mark.parametrize(
        ("previous", "tau"),
        [
            ((4, 3, 2, 1), 1.0),
            ((1, 2, 3, 4), -1.0),
            ((4, 3, 1, 2), 4 / 6),  # 5 pairs alike, 1 against
            ((3, 3, 3, 3), 0.0),
            ((4, 4, 2, 1), 5 / 6),  # a tie counts 0
            ((None, 1, 2, 3), -1.0),  # of b, c, d alone
            ((None, None, None, 3), None),
        ],
    )
    def test_kendalls_tau(self, previous: tuple[int | None, ...], tau: float | None) -> None:
        other = rollout(*(candidate(text, score) for text, score in zip("abcd", previous, strict=True)))
        assert rank_agreement(self.mine, other, PairSettings()) == (None if tau is None else pytest.approx(tau))

    def test_only_candidates_that_a_pair_may_take(self) -> None:
        mine = rollout(candidate("a", 4), candidate("b", 3), candidate("c", 5, finish="length"))
        other = rollout(candidate("a", 4), candidate("b", 3), candidate("c", 1, finish="length"))
        assert rank_agreement(mine, other, PairSettings()) == 1

    def test_rows_of_other_candidates_are_refused(self) -> None:
        with pytest.raises(ValueError, match="different candidates"):
            rank_agreement(self.mine, rollout(candidate("x", 1)), PairSettings())

    def test_c_is_the_mean_of_half_of_tau_plus_one(self) -> None:
        assert consistency([1.0, 0.0, -0.5]) == pytest.approx((1 + 0.5 + 0.25) / 3)
        assert consistency([]) is None

    def test_drop_leaves_out_what_the_judges_rank_differently(self) -> None:
        rows = dict.fromkeys(("y", "x", "z"), self.mine)
        settings = PairSettings(consistency="drop", min_consistency=0.5)
        made = dict(make_pairs(rows, settings, taus={"x": 0.0, "y": -0.1}))
        assert list(made) == ["x", "y", "z"]
        assert isinstance(made["x"], PreferencePair)
        assert (made["y"], made["z"]) == ("judges disagree", "not judged by the previous model")

    def test_soften_keeps_every_pair(self) -> None:
        [(_, found)] = make_pairs({"r": self.mine}, PairSettings(consistency="soften"), taus={"r": -1.0})
        assert isinstance(found, PreferencePair)
