"""What a row of the user's file asks the judge, and what people said of it."""

import time
from typing import Any

import pytest

from srlm.errors import UserError
from srlm.judge.parse import Scale
from srlm.judge_file.columns import Columns, guess, item_of
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
