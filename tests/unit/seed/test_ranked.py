"""Tables of rated, ranked, paired and labelled answers: columns, conversations, what is good enough for IFT."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from srlm.cli import app
from srlm.errors import UserError
from srlm.seed.columns import RankedColumns as Columns
from srlm.seed.divide import SeedReport, opening_key
from srlm.seed.files import stream_table
from srlm.seed.ranked import RankedOptions, columns_of, from_ranked
from srlm.seed.read import REPEATED_RESPONSE, read_ift, read_ranked
from tests.helpers.places import SHARED, needs_shared
from tests.helpers.rated import assistant, dropped, make, ranked, rows, user, write


def conserved(report: SeedReport) -> bool:
    counts = report.summary["counts"]
    return all(
        unit["read"] == unit["ift"] + unit["ranked"] + sum(unit["dropped"].values())
        for unit in (counts["prompts"], counts["answers"])
    )


# --- forms -------------------------------------------------------------------------------------------------------


def test_one_answer_a_row_with_scores_of_several_people(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl",
        {"question": "q1", "answer": "good", "rating": 5},
        {"question": "q2", "answer": "only", "rating": 1},
        {"question": "q1", "answer": "bad", "rating": "2"},
        {"question": "q1", "answer": "good", "rating": 4},
        {"question": "q1", "answer": "none", "rating": "N/A"},
    )
    assert columns_of(path, Columns()).shown() == "prompt = question, response = answer, score = rating"
    report = make(path, ift_share=0.0)
    assert ranked(report) == {"q1": [("good", 4.5), ("bad", 2.0)]}
    assert dropped(report) == {
        ("answer", "its score or rank is not a number"): 1,
        ("prompt", "fewer than two different responses"): 1,
    }
    assert conserved(report)


def test_lists_of_completions_as_ultrafeedback_has_them(tmp_path: Path) -> None:
    def completion(text: str, score: float, rating: str) -> dict[str, Any]:
        ratings = {"helpfulness": {"Rating": rating}}
        return {"model": "m", "response": text, "overall_score": 1.0, "fine-grained_score": score} | ratings

    row = {"source": "s", "instruction": "q", "models": ["m"], "completions": [completion("a", 4.5, "3")]}
    row["completions"] += [completion("b", 2.0, "5"), completion("c", 3.0, "N/A")]
    path = write(tmp_path / "a.jsonl", row)
    shown = "prompt = instruction, response = completions.response, score = completions.fine-grained_score"
    assert columns_of(path, Columns()).shown() == shown
    assert ranked(make(path, ift_share=0.0)) == {"q": [("a", 4.5), ("b", 2.0), ("c", 3.0)]}
    (tmp_path / "b").mkdir()
    asked = Columns(score="completions.helpfulness.Rating")
    assert ranked(make(write(tmp_path / "b" / "a.jsonl", row), asked, ift_share=0.0)) == {"q": [("a", 3.0), ("b", 5.0)]}


def test_lists_side_by_side_must_be_of_one_length(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl",
        {"prompt": "q", "responses": ["a", "b"], "ranks": [2, 1]},
        {"prompt": "r", "responses": ["a", "b"], "ranks": [1]},
    )
    report = make(path, ift_share=0.0)
    assert ranked(report) == {"q": [("a", -2.0), ("b", -1.0)]}
    assert dropped(report) == {("row", "it has different numbers of answers and of scores or ranks"): 1}


def test_pairs_as_hh_has_them(tmp_path: Path) -> None:
    talk = "\n\nHuman: Hi\n\nAssistant: Hello!\n\nHuman: Tell me:\n\nwho are you?\n\nAssistant:"
    path = write(
        tmp_path / "a.jsonl",
        {"chosen": f"{talk} A helper.", "rejected": f"{talk} Go away."},
        {"chosen": f"{talk} Yes.", "rejected": "\n\nHuman: Other\n\nAssistant: No."},
        {"chosen": f"{talk} Same.", "rejected": f"{talk} Same."},
        {"chosen": "\n\nHuman: a\n\nHuman: b\n\nAssistant: c", "rejected": "\n\nHuman: a\n\nHuman: b\n\nAssistant: d"},
        {"chosen": f"{talk} Fine.", "rejected": talk},
    )
    report = make(path)
    [row] = rows(report.ranked)
    assert row["messages"] == [user("Hi"), assistant("Hello!"), user("Tell me:\n\nwho are you?")]
    assert row["responses"] == [{"text": "A helper.", "human": 1.0}, {"text": "Go away.", "human": 0.0}]
    assert dropped(report) == {
        ("row", "the two conversations differ before the last answer"): 1,
        ("answer", "user and assistant do not take turns"): 2,
        ("answer", "empty answer"): 1,
        ("prompt", "fewer than two different responses"): 2,
    }
    assert conserved(report)


def test_pairs_of_message_lists_keep_system_and_earlier_turns(tmp_path: Path) -> None:
    before = [{"role": "system", "content": "Be brief."}, user("a"), assistant("b"), user("c")]
    path = write(
        tmp_path / "a.jsonl",
        {"prompt": "c", "chosen": [*before, assistant("d")], "rejected": [*before, assistant("e")]},
        {"prompt": "x", "chosen": [assistant("y")], "rejected": [assistant("z")]},
        {"prompt": "x", "chosen": [{"from": "human", "value": "f"}, {"from": "gpt", "value": "g"}], "rejected": "h"},
    )
    report = make(path)
    assert [row["messages"] for row in rows(report.ranked)] == [before, [user("x")]]
    assert dropped(report) == {("row", "the two conversations differ before the last answer"): 1}


def test_a_system_column_is_the_system_message(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"system": "Be kind.", "question": "q", "chosen": "a", "rejected": "b"})
    assert rows(make(path).ranked)[0]["messages"] == [{"role": "system", "content": "Be kind."}, user("q")]


@pytest.mark.parametrize(
    ("label", "better"),
    [
        *((1, "one"), ("2", "two"), ("output_2", "two"), ("model_a", "one"), (2.0, "two"), ("B", "two")),
        *(("A>B", "one"), ("A<<B", "two"), ("[[B]]", "two"), ("first", "one")),
    ],
)
def test_labels(tmp_path: Path, label: Any, better: str) -> None:
    row = {"input": "q", "output_1": "one", "output_2": "two", "label": label}
    assert dict(ranked(make(write(tmp_path / "a.jsonl", row)))["q"])[better] == 1.0


def test_labels_that_say_nothing(tmp_path: Path) -> None:
    row = {"input": "q", "output_1": "one", "output_2": "two"}
    good = row | {"label": 1}
    report = make(
        write(
            tmp_path / "a.jsonl", good, row | {"label": "tie (bothbad)"}, row | {"label": None}, row | {"label": "A=B"}
        )
    )
    assert dropped(report) == {("row", "no output is better"): 3}
    (tmp_path / "b").mkdir()
    with pytest.raises(
        UserError, match=r"a\.jsonl:2: label '0' does not say which output is better: labels are 1 or 2"
    ):
        make(write(tmp_path / "b" / "a.jsonl", good, row | {"label": 0}))


def test_csv_and_an_instruction_with_its_input(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("instruction,input,output,stars\nAdd.,1 2,3,5\nAdd.,1 2,4,1\nSub.,,x,\n")
    report = make(path, Columns(score="stars"), ift_share=0.0)
    assert ranked(report) == {"Add.\n\n1 2": [("3", 5.0), ("4", 1.0)]}


def test_its_own_output_can_be_read_again(tmp_path: Path) -> None:
    row = {"id": "x", "messages": [user("q")], "responses": [{"text": "a", "human": 1}, {"text": "b", "human": 0}]}
    report = make(write(tmp_path / "a.jsonl", row), ift_share=0.0)
    assert read_ranked(report.ranked).rows[0].responses == read_ranked(tmp_path / "a.jsonl").rows[0].responses


def test_the_reader_of_ranked_responses_names_what_is_wrong(tmp_path: Path) -> None:
    def said(row: Any) -> str:
        with pytest.raises(UserError) as caught:
            read_ranked(write(tmp_path / "a.jsonl", row))
        return str(caught.value)

    two = [{"text": "a", "human": 1}, {"text": "b", "human": 0}]
    assert "`srlm seed ranked` converts other tables" in said({"prompt": "q", "chosen": "a", "rejected": "b"})
    assert "a.jsonl:1: responses must be a list, found dict" in said({"messages": [user("q")], "responses": {}})
    assert "response 2 is not a ranked response" in said({"messages": [user("q")], "responses": [two[0], "b"]})
    nan = [two[0], {"text": "b", "human": float("nan")}]
    assert "human of response 2 is not a finite number" in said({"messages": [user("q")], "responses": nan})
    assert "does not end with the user's turn" in said({"messages": [user("q"), assistant("a")], "responses": two})
    assert "row 1: its responses are all rated alike" in said(
        {"messages": [user("q")], "responses": [two[0], {"text": "b", "human": 1}]}
    )


# --- what goes to IFT --------------------------------------------------------------------------------------------


def scored(path: Path, prompts: int = 200) -> Path:
    """Prompt n has answers rated n % 10 and 0."""
    answers = [(n, k, (n % 10) * k) for n in range(prompts) for k in (0, 1)]
    return write(path, *({"prompt": f"q{n}", "response": f"{n}-{k}", "score": s} for n, k, s in answers))


def test_ift_takes_best_answers_of_the_upper_quarter(tmp_path: Path) -> None:
    report = make(scored(tmp_path / "a.jsonl"), ift_share=1.0)
    taken = {row.messages[0]["content"]: row.messages[1]["content"] for row in read_ift(report.ift).rows}
    # of 400 scores 220 are 0 and 20 each are 1 to 9: the upper quarter begins at 5
    assert taken == {f"q{n}": f"{n}-1" for n in range(200) if n % 10 >= 5}
    assert "rated 5 or higher" in report.summary["note"]
    assert set(ranked(report)) == {f"q{n}" for n in range(200) if 1 <= n % 10 <= 4}
    assert conserved(report)


def test_a_score_that_the_user_calls_good(tmp_path: Path) -> None:
    report = make(scored(tmp_path / "a.jsonl"), ift_share=1.0, good=9)
    assert len(rows(report.ift)) == 20
    with pytest.raises(UserError, match="--good only works with scores"):
        make(write(tmp_path / "b.jsonl", {"prompt": "q", "chosen": "a", "rejected": "b"}), good=1)


def test_the_share_divides_what_could_serve_either(tmp_path: Path) -> None:
    report = make(scored(tmp_path / "a.jsonl", 2000), ift_share=0.6)
    assert 0.55 < len(rows(report.ift)) / 1000 < 0.65
    assert len(rows(report.ift)) + len(rows(report.ranked)) == 1800


def test_ranks_are_good_where_they_are_the_files_best(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl",
        *({"prompt": "p", "response": f"p{rank}", "rank": rank} for rank in (3, 1, 7)),
        *({"prompt": "r", "response": f"r{rank}", "rank": rank} for rank in (2, 3)),
    )
    report = make(path, ift_share=1.0)
    assert [row["messages"][1]["content"] for row in rows(report.ift)] == ["p1"]
    assert ranked(report) == {"r": [("r2", -2.0), ("r3", -3.0)]}


def test_a_comparison_is_no_praise(tmp_path: Path) -> None:
    pairs = [{"prompt": f"q{n}", "chosen": f"a{n}", "rejected": "b"} for n in range(50)]
    report = make(write(tmp_path / "a.jsonl", *pairs))
    assert rows(report.ift) == []
    assert "no IFT rows" in report.lines()[-2]
    (tmp_path / "b").mkdir()
    asked = make(write(tmp_path / "b" / "a.jsonl", *pairs), ift_share=0.5)
    assert 15 < len(rows(asked.ift)) < 35
    assert {row["messages"][1]["content"][0] for row in rows(asked.ift)} == {"a"}


def test_conversations_that_open_alike_stay_together(tmp_path: Path) -> None:
    pairs = [
        {"chosen": [user(f"q{n}"), *more, assistant(f"good {k}")], "rejected": [user(f"q{n}"), *more, assistant("bad")]}
        for n in range(40)
        for k, more in enumerate(([], [assistant("x"), user("y")], []))
    ]
    report = make(write(tmp_path / "a.jsonl", *pairs), ift_share=0.5)
    ift = [opening_key(row["messages"]) for row in rows(report.ift)]
    compared = [opening_key(row["messages"]) for row in rows(report.ranked)]
    assert not set(ift) & set(compared)
    assert len(set(ift)) + len(set(compared)) == 40
    assert len(compared) == 3 * len(set(compared))  # verdicts of two pairs do not compare: a row each
    assert conserved(report)


# --- what cannot be told -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "given", "said"),
    [
        ({"instruction": "a", "output": "b"}, Columns(), "no column says which answers are better"),
        ({"instruction": "a", "output": "b"}, Columns(), "srlm init --ift FILE"),
        (
            {"question": "a", "answer": "b", "score": 1},
            Columns(score="stars"),
            "no column stars (found: question",
        ),
        (
            {"q": "a", "answer": "b", "score": 1},
            Columns(),
            "no prompt column (found: q, answer, score): name it: --prompt",
        ),
        (
            {"prompt": "a", "text": "b", "score": 1, "rank": 1},
            Columns(score="score", rank="rank"),
            "more than one of",
        ),
        ({"prompt": "a", "reply": "b", "score": 1}, Columns(score="score"), "no answer column"),
        ({"prompt": "a", "output_1": "b", "output_2": "c"}, Columns(), "it is not clear which output is better"),
        ({"prompt": "a", "chosen": "b"}, Columns(chosen="chosen"), "no column rejected"),
        ({"prompt": "a", "response": "b", "score": [[1]]}, Columns(), "different numbers of answers"),
        ({"prompt": "a", "response": ["b"], "score": [[1]]}, Columns(), "score holds a list, not a number"),
        ({"prompt": [["a"]], "response": "b", "score": 1}, Columns(), "prompt must be text or a list of turns"),
        ({"prompt": "a", "response": 7, "score": 1}, Columns(), "response must be text, found int"),
        (
            {"prompt": "a", "response": "b", "score": float("nan")},
            Columns(),
            "its score or rank is not a number: 1",
        ),
    ],
)
def test_files_that_do_not_fit_get_one_line(tmp_path: Path, row: Any, given: Columns, said: str) -> None:
    path = write(tmp_path / "a.jsonl", row)
    with pytest.raises(UserError) as caught:
        make(path, given)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [path]  # nothing is left behind


def test_the_command_shows_its_columns_before_the_work(tmp_path: Path) -> None:
    row = {"prompt": "q", "chosen": "a", "rejected": "b"}
    path = write(tmp_path / "a.jsonl", row, row | {"chosen": 7}, row | {"chosen": 7})
    failed = CliRunner().invoke(app, ["seed", "ranked", str(path), "--out", str(tmp_path / "out")])
    assert failed.stderr.splitlines() == [f"{path}: prompt = prompt, chosen = chosen, rejected = rejected"]
    assert "a.jsonl:2: chosen must be text, found int" in str(failed.exception)


@needs_shared
def test_llmbar_by_an_independent_reading(tmp_path: Path) -> None:
    source = SHARED / "llmbar_natural.json"
    report = from_ranked(source, tmp_path / "out", columns_of(source, Columns()), RankedOptions())
    expected = {}
    for row in json.loads(source.read_text()):
        ordered = (row["output_1"], row["output_2"])
        expected[row["input"]] = ordered if row["label"] == 1 else ordered[::-1]
    found = {prompt: {human: text for text, human in answers} for prompt, answers in ranked(report).items()}
    assert found == {prompt: {1.0: better, 0.0: worse} for prompt, (better, worse) in expected.items()}
    assert len(found) == 100


def test_a_response_column_that_would_be_ignored_is_refused(tmp_path: Path) -> None:
    row = {"prompt": "q", "a": "x", "b": "y", "score": 1, "chosen": "x", "rejected": "y"}
    path = write(tmp_path / "a.jsonl", row)
    for given in (
        Columns(response=("a", "b"), score="score"),
        Columns(response=("a",), chosen="a", rejected="b"),
    ):
        with pytest.raises(UserError, match="--response a"):
            columns_of(path, given)


def test_no_share_says_that_nothing_goes_to_ift(tmp_path: Path) -> None:
    report = make(scored(tmp_path / "a.jsonl"), ift_share=0.0)
    notes = [line for line in report.lines() if line.startswith("Note")]
    assert rows(report.ift) == []
    assert notes == ["Note: no IFT rows, because --ift-share is 0."]


def test_the_next_command_has_the_files_that_were_made(tmp_path: Path) -> None:
    folder = tmp_path / "a b"
    folder.mkdir()
    report = make(scored(folder / "a.jsonl"))
    assert shlex.split(report.lines()[-1])[-3:] == [str(report.ift), "--ranked", str(report.ranked)]


def test_empty_and_repeated_responses_of_a_ranked_file_are_counted(tmp_path: Path) -> None:
    answers = [
        {"text": "a", "human": 1},
        {"text": " ", "human": 2},
        {"text": "a ", "human": 3},
        {"text": "b", "human": 0},
    ]
    found = read_ranked(write(tmp_path / "r.jsonl", {"messages": [user("q")], "responses": answers}))
    assert [answer.text for answer in found.rows[0].responses] == ["a", "b"]
    assert [(row.row, row.reason) for row in found.dropped] == [(1, REPEATED_RESPONSE)] * 2


def test_a_long_file_shows_how_far_it_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, count in (("short", 1), ("long", 22)):
        path = write(tmp_path / f"{name}.jsonl", *({"text": "x" * 10**6} for _ in range(count)))
        assert sum(1 for _ in stream_table(path, watched=True)) == count
    said = capsys.readouterr().err
    assert "short" not in said
    assert "long.jsonl (MB): finished, 22/22" in said
