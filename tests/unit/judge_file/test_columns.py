"""What a row of the user's file asks the judge, and what people said of it."""

import time
from typing import Any

import pytest

from srlm.errors import UserError
from srlm.judge.parse import Scale
from srlm.judge_file.columns import Columns, guess, is_list, item_of
from srlm.judge_file.job import Judged
from srlm.judge_file.people import MOST, People, human_marks
from srlm.records import Judgement
from srlm.seed.files import RawRow


def raw(values: dict[str, Any], number: int = 1) -> RawRow:
    return RawRow(number, f"f.jsonl:{number}", values)


USER, ANSWER = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}


@pytest.mark.parametrize(
    ("values", "prompt", "responses"),
    [
        ({"prompt": "q", "response": "a"}, "q", ["a"]),
        ({"messages": [USER, ANSWER]}, "q", ["a"]),
        ({"messages": [USER], "response": None}, "q", [""]),
        ({"instruction": "q", "input": "", "output": "a", "generator": "g"}, "q", ["a"]),
        ({"instruction": "q", "input": "more", "output": "a"}, "q\n\nmore", ["a"]),
        ({"input": "q", "output_1": "a", "output_2": "b"}, "q", ["a", "b"]),
        ({"prompt": "q", "response_10": "c", "response_2": "b", "response_1": "a"}, "q", ["a", "b", "c"]),
        ({"question": "q", "answers": ["a", "b"]}, "q", ["a", "b"]),
        ({"question": "q", "answers": '["a", "b"]'}, "q", ["a", "b"]),
        ({"prompt": "q", "response": "[1] a source"}, "q", ["[1] a source"]),
        ({"prompt_text": "q", "response_text": "a", "prompt_id": 1}, "q", ["a"]),
        ({"prompt": [USER], "completion": [ANSWER]}, "q", ["a"]),
    ],
)
def test_usual_columns(values: dict[str, Any], prompt: str, responses: list[str]) -> None:
    item = item_of(guess(Columns(), raw(values)), raw(values))
    assert item.messages == [{"role": "user", "content": prompt}]
    assert item.responses == responses


JUDGE_BENCH = {"pair_id": "1", "source": "mmlu-pro-law", "question": "q", "response_model": "m"}
JUDGE_BENCH |= {"response_A": "a", "response_B": "b", "label": "B>A"}
REWARD_BENCH = {"prompt": "q", "chosen": "a", "chosen_model": "m", "rejected": "b", "rejected_model": "m"}
REWARD_BENCH |= {"subset": "llmbar-natural", "id": 7}
REWARD_BENCH_2 = {"id": "7", "prompt": "q", "chosen": ["a"], "rejected": ["b", "c", "d"], "num_correct": 1}
REWARD_BENCH_2 |= {"num_incorrect": 3, "total_completions": 4, "models": ["m"] * 4, "subset": "Factuality"}
RM_BENCH = {"id": "chat_7", "prompt": "q", "chosen": ["a", "b", "c"], "rejected": ["d", "e", "f"], "domain": "chat"}
ULTRAFEEDBACK = {"prompt": "q", "prompt_id": "7", "chosen": [USER, ANSWER], "rejected": [USER, ANSWER]}
ULTRAFEEDBACK |= {"messages": [USER, ANSWER], "score_chosen": 7.0, "score_rejected": 6.0}


@pytest.mark.parametrize(
    ("values", "responses", "marks"),
    [
        (JUDGE_BENCH, ["a", "b"], [0, 1]),
        (REWARD_BENCH, ["a", "b"], [1, 0]),
        (REWARD_BENCH_2, ["a", "b", "c", "d"], [1, 0, 0, 0]),
        (RM_BENCH, ["a", "b", "c", "d", "e", "f"], [1, 1, 1, 0, 0, 0]),
        ({"input": "q", "output_1": "a", "output_2": "b", "label": 2}, ["a", "b"], [0, 1]),  # LLMBar
        (ULTRAFEEDBACK, ["a", "a"], [1, 0]),
        ({"chosen": [USER, ANSWER], "rejected": [USER, ANSWER]}, ["a", "a"], [1, 0]),
        ({"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"}, ["a", "b"], [1, 0]),
        (
            {"prompt": "q", "chosen": "Human: x\n\nAssistant: y", "rejected": "b"},
            ["Human: x\n\nAssistant: y", "b"],
            [1, 0],
        ),
    ],
)
def test_judge_benchmarks_in_their_own_forms(values: dict[str, Any], responses: list[str], marks: list[float]) -> None:
    columns = guess(Columns(), raw(values))
    item = item_of(columns, raw(values))
    assert item.messages == [{"role": "user", "content": "q"}]
    assert item.responses == responses
    assert human_marks(columns, raw(values), len(responses)) == marks
    assert is_list(columns, raw(values))


def test_the_pairs_of_a_row_with_several_chosen_and_rejected() -> None:
    columns = guess(Columns(), raw(RM_BENCH))
    found = People(columns, Scale(0, 5))
    for number in (1, 2):  # two rows of one prompt are two groups
        row = raw(RM_BENCH, number)
        scores = [[Judgement(text="", score=s, finish="stop", tokens=1)] for s in (5, 4, 3, 4, 1, 0)]
        found.add(row, item_of(columns, row), Judged(row=number, judgements=scores))
    agreement = found.agreement()
    assert (agreement["people_pairs"], agreement["pairwise_accuracy"]) == (18, (9 - 1.5) / 9)


def test_a_row_whose_responses_answer_different_prompts_is_refused() -> None:
    other = [{"role": "user", "content": "another"}, ANSWER]
    row = raw({"chosen": [USER, ANSWER], "rejected": other})
    with pytest.raises(UserError, match=r"f.jsonl:1: its responses do not answer the same prompt: remove the row"):
        item_of(guess(Columns(), row), row)
    with pytest.raises(UserError, match="no prompt column"):
        guess(Columns(), raw({"chosen": "a", "rejected": "b"}))


def test_named_columns_win() -> None:
    values = {"prompt": "no", "mine": "q", "response": "no", "theirs": "a", "gold": "g"}
    columns = guess(Columns(prompt="mine", responses=["theirs"], reference="gold"), raw(values))
    item = item_of(columns, raw(values))
    assert (item.messages[0]["content"], item.responses, item.reference) == ("q", ["a"], "g")
    assert columns.shown() == "prompt = mine, responses = theirs, reference = gold"


@pytest.mark.parametrize(
    ("given", "values", "match"),
    [
        (
            Columns(),
            {"x": 1},
            "no prompt column, no response column .found: x.: name them: --prompt COL --resp",
        ),
        (Columns(), {"response": "a"}, "f.jsonl:1: no prompt column .found: response.: name it: --prompt COL"),
        (Columns(), {"prompt": "q"}, "no response column .found: prompt.: name it: --response COL"),
        (Columns(prompt="y"), {"prompt": "q", "response": "a"}, "no column y"),
        (Columns(human_rank="y"), {"prompt": "q", "response": "a"}, "no column y"),
    ],
)
def test_what_is_missing_is_named(given: Columns, values: dict[str, Any], match: str) -> None:
    with pytest.raises(UserError, match=match):
        guess(given, raw(values))


@pytest.mark.parametrize(
    ("columns", "value", "responses", "expected"),
    [
        (Columns(human_score="h"), 3, 1, [3.0]),
        (Columns(human_score="h"), "[4, 5]", 1, [4.5]),
        (Columns(human_score="h"), [4, None], 2, [4.0, None]),
        (Columns(human_score="h"), [4, 10**400], 2, [4.0, None]),
        (Columns(human_rank="h"), [1, 2], 2, [-1.0, -2.0]),
        (Columns(human_label="h"), "2", 2, [0.0, 1.0]),
        (Columns(human_label="h"), 1.0, 2, [1.0, 0.0]),
        (Columns(human_label="h"), "A", 2, [1.0, 0.0]),
        (Columns(human_label="h"), "tie", 2, [0.5, 0.5]),
        (Columns(human_label="h"), "A>B", 2, [1.0, 0.0]),
        (Columns(human_label="h"), " B >> A ", 2, [0.0, 1.0]),
        (Columns(human_label="h"), "A<B", 2, [0.0, 1.0]),
        (Columns(human_label="h"), "A=B", 2, [0.5, 0.5]),
        (Columns(human_label="h"), "[[B>A]]", 2, [0.0, 1.0]),
        (Columns(human_label="h"), "model_b", 2, [0.0, 1.0]),
        (Columns(human_label="h"), "response_1", 2, [1.0, 0.0]),
        (Columns(human_label="h"), "Output (b)", 2, [0.0, 1.0]),
        (Columns(human_label="h"), "tie (bothbad)", 2, [0.5, 0.5]),
        (Columns(human_label="h"), None, 2, [None, None]),
        (Columns(), "x", 2, [None, None]),
    ],
)
def test_human_marks(columns: Columns, value: Any, responses: int, expected: list[float | None]) -> None:
    assert human_marks(columns, raw({"h": value}), responses) == expected


@pytest.mark.parametrize(
    ("columns", "value", "responses", "match"),
    [
        (Columns(human_score="h"), "good", 1, "h must be a number, found 'good'"),
        (Columns(human_score="h"), 3, 2, "must be a list of 2 numbers"),
        (Columns(human_label="h"), 0, 2, "h = 0 is not a preference"),
        (Columns(human_label="h"), "A>A", 2, "h = 'A>A' is not a preference: accepted: 1 or 2, A or B, A>B, tie"),
        (Columns(human_label="h"), 1, 3, "compares two responses, but there are 3"),
    ],
)
def test_human_marks_that_cannot_be_read(columns: Columns, value: Any, responses: int, match: str) -> None:
    with pytest.raises(UserError, match=match):
        human_marks(columns, raw({"h": value}), responses)


def people(scores: list[tuple[str, float, float | None]], top: int = 5) -> dict[str, Any]:
    """Agreement over (prompt, human score, judge's score)."""
    found = People(Columns(prompt="prompt", responses=["response"], human_score="h"), Scale(0, top))
    for number, (prompt, human, model) in enumerate(scores, 1):
        row = raw({"prompt": prompt, "response": "a", "h": human}, number)
        item = item_of(Columns(prompt="prompt", responses=["response"]), row)
        judgement = Judgement(text="long", score=model, finish="stop", tokens=1)
        found.add(row, item, Judged(row=number, judgements=[[judgement]]))
    return found.agreement()


def test_agreement_is_within_prompts_where_they_have_several_responses() -> None:
    found = people([("p", 1, 1), ("p", 2, 10), ("q", 1, 9), ("q", 2, 8)], top=10)
    assert found["pairs"] == 2
    assert found["pairwise_accuracy"] == 0.5
    assert found["five_best"] == 1.0
    assert found["over"] == "responses to one prompt"


def test_agreement_over_all_rows_where_every_prompt_has_one_response() -> None:
    perfect = people([(str(n), n, n / 2) for n in range(10)])
    assert (perfect["pairwise_accuracy"], perfect["spearman"]) == (1.0, pytest.approx(1.0))
    assert perfect["pairwise_interval"] == [1.0, 1.0]
    noisy = people([(str(n), n, (n * 7) % 10 / 2) for n in range(10)])
    low, high = noisy["pairwise_interval"]
    assert low < noisy["pairwise_accuracy"] < high
    assert people([]) == {}


def test_agreement_without_any_score_is_undefined() -> None:
    for prompts in ("pq", "pp"):
        found = people([(prompts[0], 1, None), (prompts[1], 2, None)])
        assert (found["pairs"], found["pairwise_accuracy"], found["pairwise_interval"]) == (0, None, None)
    one = people([("p", 1, None), ("q", 2, 3)])
    assert (one["pairs"], one["pairwise_interval"]) == (0, None)


def test_many_responses_to_one_prompt_are_compared_by_a_sample() -> None:
    started = time.process_time()
    found = people([("p", n % 7, n % 5) for n in range(6000)])
    assert found["pairs"] < MOST * (MOST - 1) / 2  # of 6000 responses: 18 million
    low, high = found["pairwise_interval"]
    assert low < found["pairwise_accuracy"] < high
    assert time.process_time() - started < 30
