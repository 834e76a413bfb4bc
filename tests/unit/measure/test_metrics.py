"""Metrics against examples worked out by hand."""

import json
from typing import Any

import pytest

from srlm.judge.agreement import bootstrap_interval, judge_metrics
from srlm.measure.metrics import (
    answer_metrics,
    distinct_2,
    instruction_counts,
    pair_counts,
    truth_change,
    unchanged,
)
from srlm.records import AnswerEval, Candidate, Instruction, JudgeEval, Judgement, PreferencePair, Rollout
from srlm.settings import PairSettings

ASK = [{"role": "user", "content": "Why?"}]


def judgements(*scores: float | None) -> list[Judgement]:
    return [Judgement(text=f"Score: {score}", score=score, finish="stop", tokens=3) for score in scores]


def judged(group: str, human: float, *scores: float | None, dropped: str | None = None) -> JudgeEval:
    name = f"{group}-{human}-{scores}"
    return JudgeEval(id=name, group=group, human=human, judgements=judgements(*scores), dropped=dropped)


def answer(text: str, *scores: float | None, finish: str = "stop", tokens: int = 4) -> Candidate:
    return Candidate(text=text, finish=finish, tokens=tokens, judgements=judgements(*scores))


def answered(name: str, *candidates: Candidate, truth: Any = None, dropped: str | None = None) -> AnswerEval:
    rollout = Rollout(id=name, messages=ASK, candidates=list(candidates), dropped=dropped)
    return AnswerEval(rollout=rollout, truth=truth)


def measure(*rows: AnswerEval, min_margin: float = 0.0, min_judgements: int = 1) -> dict[str, Any]:
    return answer_metrics(list(rows), PairSettings(min_margin=min_margin, min_judgements=min_judgements))


class TestJudge:
    def test_perfect_order(self) -> None:
        found = judge_metrics([judged("a", 1, 2.0), judged("a", 3, 4.0, 5.0), judged("a", 2, 3.0)])
        assert found["pairs"] == 3
        assert found["pairwise_accuracy"] == 1.0
        assert found["exact_match"] == 1.0
        assert found["spearman"] == pytest.approx(1.0)
        assert found["kendall"] == pytest.approx(1.0)

    def test_pair_counts_one_half_when_the_model_ties(self) -> None:
        # Pairs: (1,2) tied = .5, (1,3) right = 1, (2,3) right = 1.
        found = judge_metrics([judged("a", 1, 3), judged("a", 2, 3), judged("a", 3, 4)])
        assert found["pairwise_accuracy"] == pytest.approx(2.5 / 3)
        assert found["tied_pairs"] == pytest.approx(1 / 3)
        assert found["exact_match"] == 0.0
        # Ranks 1 2 3 against 1.5 1.5 3: Spearman 1.5 / sqrt(2 * 1.5); tau-b 2 / sqrt(3 * 2).
        assert found["spearman"] == pytest.approx(0.8660254)
        assert found["kendall"] == pytest.approx(0.8164966)

    def test_pairs_are_never_made_across_groups(self) -> None:
        rows = [judged("a", 1, 5), judged("a", 2, 4), judged("b", 3, 1), judged("b", 4, 2)]
        found = judge_metrics(rows)
        assert (found["groups"], found["pairs"], found["pairwise_accuracy"]) == (2, 2, 0.5)
        assert found["spearman"] == pytest.approx(0.0)

    def test_what_people_do_not_tell_apart_is_no_pair_and_free_in_the_full_order(self) -> None:
        found = judge_metrics([judged("a", 1, 1), judged("a", 2, 5), judged("a", 2, 3)])
        assert found["pairs"] == 2
        assert found["exact_match"] == 1.0
        alone = judge_metrics([judged("a", 2, 1), judged("a", 2, 5)])
        assert alone["groups"] == 0
        assert alone["pairwise_accuracy"] is None

    def test_score_is_the_mean_of_what_could_be_parsed(self) -> None:
        # 2.5 against 3: right. Zero for the missing judgement would also be right, so turn it round as well.
        assert judge_metrics([judged("a", 1, 2, 3, None), judged("a", 2, 3)])["pairwise_accuracy"] == 1.0
        assert judge_metrics([judged("a", 2, 4, None, None), judged("a", 1, 3)])["pairwise_accuracy"] == 1.0

    def test_unscored_response_is_left_out(self) -> None:
        found = judge_metrics([judged("a", 1, 2), judged("a", 2, 3), judged("a", 3, None)])
        assert found["pairs"] == 1
        assert found["exact_match"] is None
        assert found["judgements"] == 3
        assert found["parse_rate"] == pytest.approx(2 / 3)

    def test_five_best(self) -> None:
        # Three responses with score 5; people rank one of them top. The 4.5 is no 5.
        rows = [judged("a", 1, 5), judged("a", 2, 5, 5), judged("b", 1, 5), judged("b", 2, 4, 5)]
        assert judge_metrics(rows)["five_best"] == pytest.approx(1 / 3)

    def test_constant_judge_has_no_order(self) -> None:
        found = judge_metrics([judged("a", human, 4) for human in (1, 2, 3)])
        assert found["pairwise_accuracy"] == 0.5
        assert found["spearman"] == found["kendall"] == found["exact_match"] == 0.0

    def test_set_aside_rows_are_counted_by_reason(self) -> None:
        overlong = judged("a", 3, dropped="overlong")
        found = judge_metrics([judged("a", 1, 2), judged("a", 2, 3), overlong])
        assert found["dropped"] == {"overlong": 1}
        assert (found["responses"], found["judgements"], found["pairs"]) == (3, 2, 1)

    def test_pairs_that_could_not_be_scored_show_in_the_count(self) -> None:
        found = judge_metrics([judged("a", 1, 2), judged("a", 2, 3), judged("a", 3, None), judged("a", 3, 4)])
        assert (found["people_pairs"], found["pairs"]) == (5, 3)

    def test_a_judge_by_length_agrees_with_people_by_chance_at_equal_length(self) -> None:
        rows, chars = [], {}
        for prompt in range(160):  # people prefer the longer answer three times in four
            lengths = (10, 20) if prompt % 4 else (20, 10)
            for human, length in enumerate(lengths):
                row = judged(f"p{prompt}", human, length / 5)
                rows.append(row)
                chars[row.id] = length
        found = judge_metrics(rows, chars=chars)
        assert found["pairwise_accuracy"] == found["length_accuracy"] == 0.75
        assert found["equal_length_accuracy"] == 0.5
        people = judge_metrics([judged(row.group, row.human, row.human) for row in rows])
        assert people["pairwise_accuracy"] == 1
        assert people["length_accuracy"] is people["equal_length_accuracy"] is None  # lengths not known

    def test_a_judge_that_follows_people_does_so_at_equal_length(self) -> None:
        rows = [judged(f"p{prompt}", human, 1 + human) for prompt in range(160) for human in (0, 1)]
        chars = {row.id: 10 + int(row.human) * (1 if i // 2 % 4 else -1) for i, row in enumerate(rows)}
        found = judge_metrics(rows, chars=chars)
        assert (found["length_accuracy"], found["equal_length_accuracy"]) == (0.75, 1)
        assert judge_metrics(rows[:20], chars=chars)["equal_length_accuracy"] is None  # too few to say

    def test_nothing_at_all_is_none_and_json(self) -> None:
        found = judge_metrics([])
        assert found["pairwise_accuracy"] is None
        assert found["pairwise_interval"] is None
        json.dumps(found, allow_nan=False)

    def test_interval_is_by_prompt(self) -> None:
        # 20 prompts of 3 pairs each, half of the prompts all right, half all wrong: the standard error of 20 units is
        # 0.5/sqrt(20) = 0.112. Were the 60 pairs resampled, it would be 0.065.
        rows = [judged(f"p{p}", human, human if p % 2 else 5 - human) for p in range(20) for human in (1.0, 2.0, 3.0)]
        low, high = judge_metrics(rows)["pairwise_interval"]
        assert 0.5 - low == pytest.approx(1.96 * 0.112, abs=0.04)
        assert high - 0.5 == pytest.approx(1.96 * 0.112, abs=0.04)


class TestBootstrap:
    def test_same_seed_same_interval(self) -> None:
        units = [(float(i) ** 1.5, 1.0) for i in range(1, 30)]
        assert bootstrap_interval(units) == bootstrap_interval(units)
        assert bootstrap_interval(units) != bootstrap_interval(units, seed=1)

    def test_covers_the_mean(self) -> None:
        low, high = bootstrap_interval([(0.1, 1), (0.2, 1), (0.3, 1), (0.2, 1)]) or (9, 9)
        assert 0.1 <= low < 0.2 < high <= 0.3

    def test_undefined_with_fewer_than_two_units(self) -> None:
        assert bootstrap_interval([]) is None
        assert bootstrap_interval([(1, 1), (0, 0)]) is None


class TestAnswers:
    def test_scores_and_lengths(self) -> None:
        first = answered("p1", answer("aaaa", 4, 5, tokens=2), answer("bb", 2, None, tokens=4))
        second = answered("p2", answer("cc", 3, finish="length", tokens=3), answer("dddd", None, tokens=3))
        found = measure(first, second)
        assert found["answers"] == 4
        assert found["self_score"] == pytest.approx((4.5 + 2 + 3) / 3)
        assert found["score_histogram"] == {"2": 1, "3": 1, "4": 1, "5": 1}
        assert found["score_gap"] == 2.5  # only p1 has two scored answers
        assert (found["chars"], found["tokens"], found["at_limit"]) == (3.0, 3.0, 0.25)
        assert (found["judgements"], found["parse_rate"]) == (6, pytest.approx(4 / 6))

    def test_tie_and_usable_pair_rates(self) -> None:
        tie = answered("tie", answer("a", 3, 4), answer("b", 3.5))
        near = answered("near", answer("a", 3), answer("b", 3.4))
        pair = answered("pair", answer("a", 1), answer("b", 4))
        blind = answered("blind", answer("a", None), answer("b", 4))
        found = measure(tie, near, pair, blind, min_margin=0.5)
        assert (found["tie_rate"], found["usable_pair_rate"]) == (0.25, 0.25)
        assert sum(found["no_pair"].values()) == 3
        assert measure(tie, near, pair, blind)["usable_pair_rate"] == 0.5
        assert measure(pair, min_judgements=2)["usable_pair_rate"] == 0.0

    def test_without_a_score_nothing_is_known_to_tie(self) -> None:
        found = measure(answered("p", answer("a", None), answer("b", None)))
        assert (found["tie_rate"], found["usable_pair_rate"]) == (None, 0.0)

    def test_truth_is_the_mean_over_known_answers(self) -> None:
        row = answered("p", answer("a", 1), answer("b", 2), answer("c", 3))
        row = row.model_copy(update={"truth": [{"score": 4.0, "correct": 1.0}, {"score": 1.0, "correct": 0.0}, None]})
        found = measure(row)
        assert (found["truth_score"], found["truth_correct"], found["truth_unknown"]) == (2.5, 0.5, 1)

    def test_the_change_of_truth_is_taken_by_prompt_on_prompts_that_both_have(self) -> None:
        def graded(name: str, *scores: float | None) -> AnswerEval:
            truth = [{"score": score} if score is not None else None for score in scores]
            return answered(name, *(answer("a", 1) for _ in scores), truth=truth)

        now = [graded("p", 4, 5, None), graded("q", 2, 2), graded("r", 5), graded("s", None)]
        before = [graded("q", 1, 2), graded("p", 3, 3), graded("s", 1), graded("t", 1)]
        found = truth_change(now, before)
        assert found is not None
        assert (found["prompts"], found["asked"], found["score"]) == (2, 4, (1.5 + 0.5) / 2)
        assert found["interval"] == [0.5, 1.5]
        assert truth_change(now, [graded("s", None)]) is None
        assert truth_change([answered("p", answer("a", 1))], before) is None

    def test_no_grader_no_truth(self) -> None:
        assert not [key for key in measure(answered("p", answer("a", 1))) if key.startswith("truth")]

    def test_set_aside_rows_are_counted_and_left_out(self) -> None:
        found = measure(answered("long", dropped="overlong"), answered("p", answer("a", 1), answer("b", 2)))
        assert (found["prompts"], found["dropped"], found["usable_pair_rate"]) == (2, {"overlong": 1}, 1.0)

    def test_nothing_at_all_is_none_and_json(self) -> None:
        found = measure()
        assert found["self_score"] is None
        assert found["tie_rate"] is None
        json.dumps(found, allow_nan=False)

    def test_unchanged_answers(self) -> None:
        before = [answered("p", answer("a"), answer("b")), answered("q", answer("c"))]
        now = [answered("p", answer("b"), answer("b")), answered("q", answer("c")), answered("r", answer("a"))]
        assert unchanged(now, before) == pytest.approx(2 / 3)  # in their place, of prompts that both answered
        assert unchanged(now, [answered("s", answer("a"))]) is None

    def test_distinct_2(self) -> None:
        # the cat, cat sat | The cat: 2 different of 3.
        assert distinct_2(["the cat sat", "The cat"]) == pytest.approx(2 / 3)
        assert distinct_2(["one", ""]) is None


def test_instruction_counts() -> None:
    rows = [
        Instruction(id=str(number), round=0, messages=ASK, dropped=dropped)
        for number, dropped in enumerate([None, "too short", "similar", "similar", None])
    ]
    assert instruction_counts(rows) == {"asked": 5, "kept": 2, "dropped": {"similar": 2, "too short": 1}}


def test_pair_counts() -> None:
    def say(text: str) -> list[dict[str, str]]:
        return [{"role": "assistant", "content": text}]

    pairs = [
        PreferencePair(
            id=name, prompt=ASK, chosen=say("right"), rejected=say("no"), chosen_score=high, rejected_score=1.0
        )
        for name, high in (("a", 3.0), ("b", 4.0))
    ]
    found = pair_counts(pairs, [{"id": "c", "reason": "tie"}])
    assert found == {
        "pairs": 2,
        "dropped": {"tie": 1},
        "margin": 2.5,
        "chosen_chars": 5.0,
        "rejected_chars": 2.0,
        "length_ratio": 2.5,
        "tie_rate": pytest.approx(1 / 3),
        "usable_pair_rate": pytest.approx(2 / 3),
        "anchored": 0,
    }
    nothing = pair_counts([], [])
    assert [nothing[name] for name in ("margin", "length_ratio", "tie_rate", "usable_pair_rate")] == [None] * 4
