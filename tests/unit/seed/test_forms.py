"""The table of accepted forms (docs/seed-data.md), over all kinds of files; and rows in any order and any format."""

import csv
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from srlm.errors import UserError
from srlm.judge_file import columns as judge_columns
from srlm.measure.versus.answers import answers_from_file
from srlm.records import Messages
from srlm.seed.columns import RankedColumns
from srlm.seed.files import sample, stream_table
from srlm.seed.forms import RESPONSES
from srlm.seed.kinds import evaluation_prompts, seed_files
from srlm.seed.ranked import RankedOptions, columns_of, from_ranked
from srlm.seed.read import read_eft, read_ift, read_prompts, read_ranked
from tests.helpers.places import ROOT

Row = dict[str, Any]


def turn(role: str, content: Any, **more: Any) -> Row:
    return {"role": role, "content": content} | more


def shared(who: str, text: str) -> Row:
    return {"from": who, "value": text}


def part(text: str, kind: str = "text") -> Row:
    return {"type": kind, "text": text}


PAIR = {"prompt": "Hi?", "response": "Hello."}
USER, ANSWER, SYSTEM = turn("user", "q"), turn("assistant", "a"), turn("system", "s")
TALK = [USER, ANSWER, turn("user", "q2"), turn("assistant", "a2")]

# A form, as the table of the docs calls it -> rows of that form, each with the prompt and the answer that are read.
FORMS: dict[str, list[tuple[Row, Messages, str]]] = {
    "prompt and response": [
        ({"prompt": "q", "response": "a"}, [USER], "a"),
        ({"prompt": [USER], "response": "a"}, [USER], "a"),
        ({"prompt": TALK[:3], "response": "a2"}, TALK[:3], "a2"),
    ],
    "prompt and completion": [
        ({"prompt": "q", "completion": "a"}, [USER], "a"),
        ({"prompt": [USER], "completion": [ANSWER]}, [USER], "a"),
        ({"prompt": [SYSTEM, USER], "completion": [ANSWER]}, [SYSTEM, USER], "a"),
    ],
    "instruction and output": [
        ({"instruction": "q", "output": "a"}, [USER], "a"),
        ({"instruction": "q", "input": "", "output": "a"}, [USER], "a"),
        ({"instruction": "q", "input": "more", "output": "a"}, [turn("user", "q\n\nmore")], "a"),
    ],
    "instruction, context and response": [
        ({"instruction": "q", "context": "", "response": "a", "category": "c"}, [USER], "a"),
        ({"instruction": "q", "context": "more", "response": "a"}, [turn("user", "q\n\nmore")], "a"),
    ],
    "question and answer": [
        ({"question": "q", "answer": "a"}, [USER], "a"),
        ({"question": "q", "context": "more", "answer": "a"}, [turn("user", "q\n\nmore")], "a"),
        ({"query": "q", "response": "a"}, [USER], "a"),
    ],
    "input and output": [({"input": "q", "output": "a"}, [USER], "a")],
    "messages": [
        ({"messages": [USER, ANSWER]}, [USER], "a"),
        ({"messages": [SYSTEM, *TALK]}, [SYSTEM, *TALK[:3]], "a2"),
        ({"messages": [turn("user", "q", name="joe", weight=0), turn("assistant", "a", weight=1)]}, [USER], "a"),
        ({"messages": [turn("developer", "s"), USER, ANSWER]}, [SYSTEM, USER], "a"),
        ({"messages": [turn("User", "q"), turn("ASSISTANT", "a")]}, [USER], "a"),
        ({"conversation": [USER, ANSWER]}, [USER], "a"),
        ({"dialog": [USER, ANSWER]}, [USER], "a"),
    ],
    "conversations": [
        ({"conversations": [shared("human", "q"), shared("gpt", "a")]}, [USER], "a"),
        (
            {"conversations": [shared("system", "s"), shared("human", "q"), shared("gpt", "a")]},
            [SYSTEM, USER],
            "a",
        ),
    ],
    "content in parts": [
        ({"messages": [turn("user", [part("q")]), turn("assistant", [part("a")])]}, [USER], "a"),
        (
            {"messages": [turn("user", [part("q"), part("2", "input_text")]), turn("assistant", [part("a")])]},
            [turn("user", "q\n2")],
            "a",
        ),
    ],
    "Human: and Assistant:": [
        ({"prompt": "\n\nHuman: q\n\nAssistant:", "response": " a"}, [USER], " a"),
        ({"messages": "\n\nHuman: q\n\nAssistant: a"}, [USER], "a"),
        ({"prompt": "Human: is it one word?", "response": "a"}, [turn("user", "Human: is it one word?")], "a"),
    ],
    "system beside any form": [
        ({"system": "s", "instruction": "q", "output": "a"}, [SYSTEM, USER], "a"),
        ({"system_prompt": "s", "question": "q", "response": "a"}, [SYSTEM, USER], "a"),
        ({"system": "s", "conversations": [shared("human", "q"), shared("gpt", "a")]}, [SYSTEM, USER], "a"),
        ({"system": "", "prompt": "q", "response": "a"}, [USER], "a"),
    ],
}
CASES = [pytest.param(*case, id=f"{form} {n}") for form, cases in FORMS.items() for n, case in enumerate(cases)]


def write(path: Path, *rows: Row) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(("row", "prompt", "answer"), CASES)
def test_each_form_is_read_alike_in_every_kind_of_file(tmp_path: Path, row: Row, prompt: Messages, answer: str) -> None:
    path = tmp_path / "a.jsonl"
    [ift] = read_ift(write(path, row)).rows
    assert ift.messages == [*prompt, turn("assistant", answer)]
    assert [str(file) for file in seed_files([path])] == ["IFT"]
    [asked] = read_prompts(path).rows
    assert asked.messages == prompt
    [(_, opening)] = evaluation_prompts(path)
    assert opening == next(one["content"] for one in prompt if one["role"] == "user")
    [(found, text)] = answers_from_file(path).values()
    assert (found, text) == (prompt, answer)
    item = judge_columns.item_of(judge_columns.guess(judge_columns.Columns(), sample(path)), next(stream_table(path)))
    assert (item.messages, item.responses) == (prompt, [answer])
    [eft] = read_eft(write(path, row | {"judgement": "Fine.\nScore: 4", "score": 4})).rows
    assert (eft.messages, eft.response, eft.score) == (prompt, answer, 4.0)
    assert [str(file) for file in seed_files([path])] == ["EFT"]


@pytest.mark.parametrize(("row", "prompt", "answer"), CASES)
def test_each_form_is_read_alike_where_answers_are_rated(
    tmp_path: Path, row: Row, prompt: Messages, answer: str
) -> None:
    path = write(tmp_path / "a.jsonl", row | {"score": 5})
    report = from_ranked(path, tmp_path / "out", columns_of(path, RankedColumns()), RankedOptions(ift_share=1.0))
    [made] = read_ift(report.ift).rows
    assert made.messages == [*prompt, turn("assistant", answer)]
    answers = [{"text": "x", "human": 1}, {"text": "y", "human": 0}]
    asked = {name: value for name, value in row.items() if name not in RESPONSES}
    if asked != row:
        [ranked] = read_ranked(write(path, asked | {"responses": answers})).rows
        assert ranked.messages[-1:] == prompt[-1:]
        assert [str(file) for file in seed_files([path])] == ["ranked"]


def test_the_table_in_the_docs_has_these_forms() -> None:
    lines = (ROOT / "docs" / "seed-data.md").read_text().split("## Forms", 1)[1].split("\n## ", 1)[0].splitlines()
    rows = [line.split("|")[1].strip() for line in lines if line.startswith("| ")]
    assert rows[1:] == list(FORMS)


# --- rows that are left out --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"messages": [USER, turn("assistant", None, tool_calls=[{"id": 1}])]}, "a tool is called in its conversation"),
        ({"messages": [*TALK[:2], turn("tool", "x"), ANSWER]}, "a tool is called in its conversation"),
        ({"conversations": [shared("human", "q"), shared("function_call", "{}"), shared("gpt", "a")]}, "a tool is"),
        ({"messages": [turn("user", [part("q"), {"type": "image"}]), ANSWER]}, "no text (image)"),
        ({"messages": [turn("user", [{"type": "image_url", "image_url": {"url": "x"}}]), ANSWER]}, "(image_url)"),
        ({"messages": [USER, USER, ANSWER]}, "user and assistant do not take turns"),
        ({"messages": [ANSWER, USER, ANSWER]}, "user and assistant do not take turns"),
        ({"messages": [USER, SYSTEM, ANSWER]}, "user and assistant do not take turns"),
        ({"messages": [USER]}, "its conversation does not end with an answer"),
        ({"messages": []}, "no prompt"),
        ({"messages": None}, "no prompt"),
        ({"messages": [USER, turn("assistant", "a", weight=0)]}, "weight 0"),
        ({"prompt": "q", "completion": "a", "label": False}, "its label is false"),
        ({"prompt": "q", "completion": "a", "label": "False"}, "its label is false"),
    ],
)
def test_a_row_that_cannot_be_used_is_left_out_and_stops_nothing(tmp_path: Path, row: Row, reason: str) -> None:
    path = write(tmp_path / "a.jsonl", row, {"prompt": "p", "response": "r"}, row, row)
    read = read_ift(path)
    assert [one.messages[0]["content"] for one in read.rows] == ["p"]
    assert [dropped.row for dropped in read.dropped] == [1, 3, 4]
    assert all(reason in dropped.reason for dropped in read.dropped), read.dropped


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"query": "a", "reply": "b"}, ["wrong columns (found: query, reply)", "prompt/response"]),
        ({"text": "a"}, ["wrong columns (found: text)", "split it in two columns"]),
        ({"prompt": "a", "response": 3}, ["response must be text, found int"]),
        ({"prompt": ["a"], "response": "b"}, ["prompt must be text or a list of turns"]),
        ({"messages": "a"}, ["messages must be a list"]),
        (
            {"messages": [turn("user", "a"), {"role": "villain", "content": "a"}]},
            ["turn 2 of messages has role 'villain'"],
        ),
        ({"messages": [turn("user", "a"), {"role": "assistant"}]}, ["turn 2 of messages has no role or no content"]),
        ({"messages": [{"content": "a"}]}, ["turn 1 of messages has no role or no content"]),
        ({"messages": [turn("user", "a"), {"role": "assistant", "content": [1]}]}, ["a part of a turn must be text"]),
        ({"messages": [turn("user", "a"), {"role": "assistant", "content": 1}]}, ["turn 2 of messages must be text"]),
        ({"instruction": "a", "instances": ["x"]}, ["instances must be a list of objects"]),
        ({"prompt": "a", "response": "\ud800"}, ["an invalid Unicode character"]),
    ],
)
def test_a_row_of_the_wrong_shape_is_left_out_when_rare_and_an_error_when_common(
    tmp_path: Path, row: Any, said: list[str]
) -> None:
    read = read_ift(write(tmp_path / "a.jsonl", PAIR, row))
    assert [row.messages for row in read.rows] == [[turn("user", "Hi?"), turn("assistant", "Hello.")]]
    [dropped] = read.dropped
    assert (dropped.row, dropped.reason) == (2, refusal_of(row, tmp_path / "b.jsonl"))
    with pytest.raises(UserError) as caught:
        read_ift(write(tmp_path / "a.jsonl", PAIR, row, row))
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}/a.jsonl:2: {dropped.reason}: ")
    assert "2 of 3 rows" in message
    assert all(part in message for part in said), message


def refusal_of(row: Any, path: Path) -> str:
    """The problem, without its place, of a file with this row alone."""
    with pytest.raises(UserError) as caught:
        read_ift(write(path, row))
    return caught.value.problem.removeprefix(f"{path}:1: ")


# --- any order of rows, any format -------------------------------------------------------------------------------


def in_json(path: Path, rows: list[Row]) -> Path:
    path.write_text(json.dumps(rows))
    return path


def in_csv(path: Path, rows: list[Row], shown: Callable[[Any], str] = json.dumps) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for row in rows:
            writer.writerow({name: shown(value) if isinstance(value, list) else value for name, value in row.items()})
    return path


def in_parquet(path: Path, rows: list[Row]) -> Path:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def in_all_formats(folder: Path, rows: list[Row]) -> list[Path]:
    return [
        write(folder / "a.jsonl", *rows),
        in_json(folder / "a.json", rows),
        in_csv(folder / "a.csv", rows),
        in_csv(folder / "b.csv", rows, repr),  # as pandas writes a list
        in_parquet(folder / "a.parquet", rows),
    ]


def orders(rows: list[Row]) -> list[list[Row]]:
    return [rows, rows[::-1], random.Random(0).sample(rows, len(rows))]


def test_chat_rows_of_which_some_are_null_are_the_same_in_any_order_and_format(tmp_path: Path) -> None:
    texts = [{"messages": None, "prompt": f"q{n}", "response": "a"} for n in range(3)]
    talks = [{"messages": [turn("user", f"t{n}"), ANSWER], "prompt": None, "response": None} for n in range(3)]
    nothing = [{"messages": None, "prompt": None, "response": None}] * 3
    for rows in orders([*nothing, *texts, *talks]):
        for path in in_all_formats(tmp_path, rows):
            read = read_ift(path)
            assert sorted(row.messages[0]["content"] for row in read.rows) == ["q0", "q1", "q2", "t0", "t1", "t2"]
            assert {dropped.reason for dropped in read.dropped} <= {"no prompt", "empty response"}
            assert len(read.dropped) == 3
            assert [str(file) for file in seed_files([path])] == ["IFT"]


def test_rated_rows_of_which_some_are_null_are_the_same_in_any_order_and_format(tmp_path: Path) -> None:
    rows: list[Row] = [{"prompt": None, "response": None, "score": None}] * 2
    rows += [{"prompt": [turn("user", f"q{n % 2}")], "response": f"a{n}", "score": float(n)} for n in range(4)]
    for number, ordered in enumerate(orders(rows)):
        for path in in_all_formats(tmp_path, ordered):
            columns = columns_of(path, RankedColumns())
            assert columns.shown() == "prompt = prompt, response = response, score = score"
            out = tmp_path / f"{number}-{path.name}"
            report = from_ranked(path, out, columns, RankedOptions(ift_share=0.0))
            found = {
                row.messages[-1]["content"]: sorted((one.text, one.human) for one in row.responses)
                for row in read_ranked(report.ranked).rows
            }
            assert found == {"q0": [("a0", 0.0), ("a2", 2.0)], "q1": [("a1", 1.0), ("a3", 3.0)]}
            assert sum(report.summary["counts"]["answers"]["dropped"].values()) == 2


def test_a_stray_row_does_not_change_what_the_columns_are(tmp_path: Path) -> None:
    rows: list[Row] = [{"prompt": "q", "response": f"a{n}", "score": n} for n in range(3)]
    stray: Row = {"chosen": "x", "rejected": "y"}
    for ordered in orders([stray, *rows]):
        shown = columns_of(write(tmp_path / "a.jsonl", *ordered), RankedColumns()).shown()
        assert shown == "prompt = prompt, response = response, score = score"
