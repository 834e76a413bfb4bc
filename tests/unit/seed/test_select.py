"""Which judgements of ranked responses become EFT, and how often one score may stand there."""

from collections import Counter
from typing import Any

import pytest

from srlm.judge.parse import parse_score
from srlm.records import JudgeEval, Judgement, RatedRow
from srlm.seed.select import (
    ALONE,
    CAPPED,
    CUT,
    DISAGREES,
    OVERLONG,
    SPARE,
    TIED,
    UNCLEAR,
    UNPARSED,
    Selection,
    select,
    shortage,
)
from srlm.settings import BaselineSettings

Scores = list[float | None]


def judgement(score: float | None) -> Judgement:
    text = "I cannot say." if score is None else f"It is so.\nScore: {score:g}"
    return Judgement(text=text, score=score, finish="stop", tokens=5)


def prompt(group: str, *responses: tuple[float, Scores]) -> tuple[list[RatedRow], list[JudgeEval]]:
    """One prompt: per response what people gave it and the scores of its judgements."""
    rows, judged = [], []
    for number, (human, scores) in enumerate(responses, 1):
        row_id = f"{group}.{number}"
        asked = [{"role": "user", "content": group}]
        rows.append(RatedRow(id=row_id, group=group, messages=asked, response=f"r{number}", human=human))
        judged.append(JudgeEval(id=row_id, group=group, human=human, judgements=[judgement(s) for s in scores]))
    return rows, judged


def chosen(*prompts: tuple[list[RatedRow], list[JudgeEval]], share: float = 1.0, seed: int = 1) -> Selection:
    rows = [row for rows, _ in prompts for row in rows]
    judged = [row for _, judged in prompts for row in judged]
    made = select(rows, judged, BaselineSettings(max_share=share), seed)
    assert made.counts["judgements"] == len(made.eft) + len(made.dropped)  # each is kept or has one reason
    assert made.counts["kept"] == len(made.eft)
    return made


def scores(made: Selection) -> dict[str, float]:
    return {row.id: row.score for row in made.eft}


def reasons(made: Selection) -> dict[str, str]:
    return {row["id"]: row["reason"] for row in made.dropped}


def test_two_responses_in_the_order_of_people() -> None:
    made = chosen(prompt("a", (2, [4.0]), (1, [2.0])))
    assert scores(made) == {"a.1": 4.0, "a.2": 2.0}
    row = made.eft[0]
    assert (row.judgement, row.response, row.human, row.group) == ("It is so.\nScore: 4", "r1", 2.0, "a")
    assert parse_score(row.judgement) == row.score  # what `--eft` asks of a row


def test_two_responses_the_other_way_round_give_nothing() -> None:
    assert reasons(chosen(prompt("a", (1, [4.0]), (2, [2.0])))) == {"a.1/1": DISAGREES, "a.2/1": DISAGREES}


def test_a_judgement_is_held_against_the_mean_of_the_others() -> None:
    # the second response has mean 3: of the first one's judgements 4 lies above it, 3 ties, 2 contradicts
    made = chosen(prompt("a", (2, [4.0, 3.0, 2.0]), (1, [2.0, 3.0, 4.0])))
    assert scores(made) == {"a.1": 4.0, "a.2": 2.0}
    assert reasons(made) == {"a.1/2": TIED, "a.1/3": DISAGREES, "a.2/2": TIED, "a.2/3": DISAGREES}


def test_of_several_responses_every_one_counts() -> None:
    made = chosen(prompt("a", (3, [4.0]), (2, [4.5]), (1, [1.0])))
    assert scores(made) == {"a.3": 1.0}  # the best two are the wrong way round, the worst is below both
    assert reasons(made) == {"a.1/1": DISAGREES, "a.2/1": DISAGREES}


def test_responses_that_people_put_level_are_not_compared() -> None:
    made = chosen(prompt("a", (1, [2.0]), (1, [3.0]), (2, [5.0])))
    assert scores(made) == {"a.1": 2.0, "a.2": 3.0, "a.3": 5.0}
    assert set(reasons(chosen(prompt("a", (1, [2.0]), (1, [3.0])))).values()) == {ALONE}


def test_what_cannot_be_parsed_is_missing_and_says_nothing_of_the_others() -> None:
    made = chosen(prompt("a", (3, [5.0, None]), (2, [None, None]), (1, [1.0])))
    assert scores(made) == {"a.1": 5.0, "a.3": 1.0}
    assert reasons(made) == {"a.1/2": UNPARSED, "a.2/1": UNPARSED, "a.2/2": UNPARSED}
    lonely = chosen(prompt("a", (2, [5.0]), (1, [None])))
    assert reasons(lonely) == {"a.1/1": ALONE, "a.2/1": UNPARSED}


def test_what_did_not_fit_is_called_so() -> None:
    rows, judged = prompt("a", (2, [None]), (1, [3.0]))
    judged[0] = judged[0].model_copy(update={"dropped": "overlong"})
    assert reasons(chosen((rows, judged))) == {"a.1/1": OVERLONG, "a.2/1": ALONE}


def test_a_reply_with_different_scores_teaches_nobody() -> None:
    rows, judged = prompt("a", (2, [4.0, 5.0]), (1, [2.0]))
    torn = judged[0].judgements[1].model_copy(update={"flags": ["conflict"]})
    judged[0] = judged[0].model_copy(update={"judgements": [judged[0].judgements[0], torn]})
    made = chosen((rows, judged))
    assert scores(made) == {"a.1": 4.0, "a.2": 2.0}
    assert reasons(made) == {"a.1/2": UNCLEAR}


def test_one_judgement_a_response_the_nearest_to_its_own_mean() -> None:
    made = chosen(prompt("a", (2, [5.0, 4.0, 3.0]), (1, [1.0])))
    assert scores(made)["a.1"] == 4.0
    assert reasons(made) == {"a.1/1": SPARE, "a.1/3": SPARE}


def test_prompts_are_not_compared_with_each_other() -> None:
    made = chosen(prompt("a", (2, [2.0]), (1, [1.0])), prompt("b", (9, [5.0]), (8, [4.0])))
    assert len(made.eft) == 4


# --- the share of one score ------------------------------------------------------------------------------------------


def many(counts: dict[float, int]) -> list[tuple[list[RatedRow], list[JudgeEval]]]:
    """Prompts whose better response gets each score so many times, and the other one a point less."""
    return [
        prompt(f"p{score:g}-{n}", (2, [score]), (1, [score - 1]))
        for score, count in counts.items()
        for n in range(count)
    ]


@pytest.mark.parametrize("share", [0.3, 0.4, 0.5, 0.8])
def test_no_score_has_more_than_its_share_and_no_more_than_needed_is_dropped(share: float) -> None:
    made = chosen(*many({5.0: 30, 4.0: 3, 2.0: 4}), share=share)
    after = Counter(row.score for row in made.eft)
    before = {float(score): count for score, count in made.counts["scores_agreeing"].items()}
    assert max(after.values()) <= share * after.total()
    most = max(after.values())
    assert all(after[score] == min(count, most) for score, count in before.items())
    larger = sum(min(count, most + 1) for count in before.values())
    assert most + 1 > share * larger or most == max(before.values())  # one more of each would be too many
    assert made.counts["dropped"].get(CAPPED, 0) == sum(before.values()) - after.total()


def test_which_rows_go_follows_from_ids_and_seed_alone() -> None:
    prompts = many({5.0: 30, 2.0: 4})
    made, turned = chosen(*prompts, share=0.4), chosen(*prompts[::-1], share=0.4)
    assert {row.id for row in made.eft} == {row.id for row in turned.eft}
    assert [row.id for row in made.eft] == [r.id for rows, _ in prompts for r in rows if r.id in scores(made)]
    assert {row.id for row in made.eft} != {row.id for row in chosen(*prompts, share=0.4, seed=2).eft}


def test_with_too_few_different_scores_all_are_as_frequent_as_the_rarest() -> None:
    made = chosen(*many({5.0: 9, 2.0: 3}), share=0.2)  # of four scores one has at least a quarter
    assert Counter(row.score for row in made.eft) == {5.0: 3, 4.0: 3, 2.0: 3, 1.0: 3}


# --- too little ------------------------------------------------------------------------------------------------------


def counts(**given: Any) -> dict[str, Any]:
    return {"kept": 2, "judgements": 100, "dropped": {}} | given


def test_enough_is_no_shortage() -> None:
    assert shortage(counts(kept=16), BaselineSettings()) is None


@pytest.mark.parametrize(
    ("dropped", "way"),
    [
        ({UNPARSED: 90}, "use a model that follows instructions"),
        ({CUT: 60, UNPARSED: 30}, "raise judge.max_tokens"),
        ({CAPPED: 90}, "baseline.max_share"),
        ({DISAGREES: 90}, "more ranked data"),
    ],
)
def test_a_shortage_says_why_and_how_to_go_on(dropped: dict[str, int], way: str) -> None:
    said = shortage(counts(dropped=dropped), BaselineSettings())
    assert said is not None
    assert "only 2 of 100 judgements" in said
    assert all(f"{count} {reason}" in said for reason, count in dropped.items())
    assert way in said


@pytest.mark.parametrize("train", [True, False])
def test_nobody_is_told_to_do_what_is_done(train: bool) -> None:
    said = shortage(counts(dropped={UNPARSED: 90}), BaselineSettings(train=train))
    assert said is not None
    assert ("baseline.train" in said) != train
    assert "judge.max_tokens" not in said  # nothing was cut off


def test_a_reply_that_was_cut_off_is_called_so() -> None:
    rows, judged = prompt("a", (2, [None, None]), (1, [3.0]))
    cut = judged[0].judgements[0].model_copy(update={"finish": "length"})
    judged[0] = judged[0].model_copy(update={"judgements": [cut, judged[0].judgements[1]]})
    assert reasons(chosen((rows, judged))) == {"a.1/1": CUT, "a.1/2": UNPARSED, "a.2/1": ALONE}


def test_nothing_at_all_is_a_shortage() -> None:
    made = chosen(prompt("a", (2, [None]), (1, [None])))
    assert made.eft == []
    assert shortage(made.counts, BaselineSettings(min_rows=1)) is not None
