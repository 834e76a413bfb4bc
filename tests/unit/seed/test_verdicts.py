"""How people's verdicts may be written in a rated table, and by which names its columns are found."""

from pathlib import Path
from typing import Any

import pytest

from srlm.errors import UserError
from srlm.seed.columns import RankedColumns as Columns
from srlm.seed.kinds import seed_files
from srlm.seed.ranked import columns_of
from tests.helpers.rated import GUESS, assistant, dropped, make, ranked, rows, user, write


@pytest.mark.parametrize(
    ("better", "worse", "marks"),
    [
        ("5 stars", "1 star", (5.0, 1.0)),
        ("4/5", "2 / 5", (4.0, 2.0)),
        ("4 out of 5", "3", (4.0, 3.0)),
        ("80%", "7.5 %", (80.0, 7.5)),
        ("10 points", "-1", (10.0, -1.0)),
        (True, False, (1.0, 0.0)),
        ("True", "false", (1.0, 0.0)),
    ],
)
def test_scores_in_words(tmp_path: Path, better: Any, worse: Any, marks: tuple[float, float]) -> None:
    row = {"prompt": "q", "response": "a"}
    path = write(tmp_path / "a.jsonl", row | {"score": better}, row | {"response": "b", "score": worse})
    assert ranked(make(path, ift_share=0.0)) == {"q": [("a", marks[0]), ("b", marks[1])]}


def test_scores_of_two_scales_are_refused(tmp_path: Path) -> None:
    row = {"prompt": "q", "response": "a"}
    path = write(tmp_path / "a.jsonl", row | {"score": "4/5"}, row | {"score": 3}, row | {"score": "8/10"})
    with pytest.raises(UserError, match=r"a.jsonl:3: score '8/10' is on another scale than '4/5' before it: convert"):
        make(path)


def test_thumbs_up_and_down_as_kto_has_them(tmp_path: Path) -> None:
    rows_ = [{"prompt": f"q{n}", "completion": f"a{n}", "label": n == 0} for n in range(9)]
    path = write(tmp_path / "a.jsonl", *rows_, rows_[0] | {"completion": "bad", "label": False})
    assert columns_of(path, GUESS).shown() == "prompt = prompt, response = completion, score = label"
    assert columns_of(path, Columns(label="label")) == columns_of(path, GUESS)
    report = make(path, ift_share=1.0)  # nine of ten are bad: the top quarter alone would begin with a bad one
    assert [row["messages"][1]["content"] for row in rows(report.ift)] == ["a0"]
    (tmp_path / "b").mkdir()
    path = write(tmp_path / "b" / "a.jsonl", *rows_, rows_[0] | {"completion": "bad", "label": False})
    assert ranked(make(path, ift_share=0.0)) == {"q0": [("a0", 1.0), ("bad", 0.0)]}


@pytest.mark.parametrize(
    ("row", "shown"),
    [
        (
            {"prompt_text": "q", "prompt_id": 7, "response_text": "a", "response_length": 1, "quality_score": 3},
            "prompt = prompt_text, response = response_text, score = quality_score",
        ),
        (
            {"promptText": "q", "response_a": "a", "response_b": "b", "human_preference": "a"},
            "prompt = promptText, response = response_a | response_b, label = human_preference",
        ),
        ({"question": "q", "best_answer": "a", "rank": 1}, "prompt = question, response = best_answer, rank = rank"),
    ],
)
def test_columns_are_found_by_their_parts(tmp_path: Path, row: Any, shown: str) -> None:
    assert columns_of(write(tmp_path / "a.jsonl", row), GUESS).shown() == shown


def test_all_that_is_missing_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        columns_of(write(tmp_path / "a.jsonl", {"foo": 1, "bar": 2}), GUESS)
    said = str(caught.value)
    assert "no prompt column, no answer column, no column says which answers are better (found: foo, bar)" in said
    assert "--prompt COL; --response COL; --score" in said
    two = {"good_score": 1, "bad_score": 2, "prompt": "q", "response": "a"}
    with pytest.raises(UserError, match="no column says which answers are better"):  # of two, none is guessed
        columns_of(write(tmp_path / "a.jsonl", two), GUESS)


def test_ratings_beside_an_overall_score_come_before_it(tmp_path: Path) -> None:
    def completion(text: str, overall: float, *ratings: str) -> dict[str, Any]:
        annotations = {f"aspect {n}": {"Rating": one, "Rationale": "r"} for n, one in enumerate(ratings)}
        return {"response": text, "overall_score": overall, "annotations": annotations}

    row = {"instruction": "q", "completions": [completion("a", 10.0, "1", "2"), completion("b", 6.0, "4", "N/A")]}
    path = write(tmp_path / "a.jsonl", row)
    shown = "prompt = instruction, response = completions.response, score = completions.annotations"
    assert columns_of(path, GUESS).shown() == shown
    report = make(path, ift_share=0.5)
    assert ranked(report) == {"q": [("a", 1.5), ("b", 4.0)]} or rows(report.ift)[0]["messages"][1]["content"] == "b"
    assert any("some 2,000 of overall_score are 10" in line for line in report.lines())
    with pytest.raises(UserError, match="2,000 overall_score are 10 for 1: its annotations are used"):
        seed_files([path])
    for one in row["completions"]:
        one["annotations"] = None  # as Parquet has it where nobody wrote any
    assert "score = completions.overall_score" in columns_of(write(path, row), GUESS).shown()


def test_an_answer_that_quotes_marks_of_a_conversation(tmp_path: Path) -> None:
    talk = "\n\nHuman: Hi\n\nAssistant: Hello!\n\nHuman: Write a dialogue.\n\nAssistant:"
    quoting = "Sure:\n\nHuman: Are you well?\n\nAssistant: I am."
    path = write(
        tmp_path / "a.jsonl",
        {"chosen": f"{talk} {quoting}", "rejected": f"{talk} No."},
        {"chosen": f"{talk} Never.", "rejected": f"{talk} {quoting} But no."},
        {"chosen": f"{talk} x\n\nHuman: y\n\nAssistant: z", "rejected": f"{talk} u\n\nHuman: v\n\nAssistant: w"},
    )
    report = make(path)
    found = [(row["messages"], [one["text"] for one in row["responses"]]) for row in rows(report.ranked)]
    before = [user("Hi"), assistant("Hello!"), user("Write a dialogue.")]
    assert found == [(before, [quoting, "No."]), (before, ["Never.", f"{quoting} But no."])]
    assert dropped(report) == {("row", "the two conversations differ before the last answer"): 1}
