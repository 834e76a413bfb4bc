"""Seed files: every accepted form, every refusal with its place, and splits that never share a prompt."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from srlm.errors import UserError
from srlm.records import EFTRow, IFTRow, PromptRow
from srlm.seed.read import NO_SCORE, OTHER_SCORE, drop, read_eft, read_ift, read_prompts
from srlm.seed.split import Seeds, Split, prompt_key, split
from srlm.settings import DataSettings


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def jsonl(path: Path, *rows: Any) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def refusal(read: Any, path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


PAIR = {"prompt": "Hi?", "response": "Hello."}
EFT = {"prompt": "Hi?", "response": "Hello.", "judgement": "Fine.\nScore: 4", "score": 4}


# --- IFT ---------------------------------------------------------------------------------------------------------


def test_the_three_ift_forms_become_messages(tmp_path: Path) -> None:
    talk = [{"role": "system", "content": "Be brief."}, user("a"), assistant("b"), user("c"), assistant("d")]
    rows = [
        PAIR,
        {"instruction": "Add.", "input": "1 2", "output": "3"},
        {"instruction": "Greet.", "input": "", "output": "Hi"},
        {"instruction": "Go.", "output": "Gone", "generator": "x"},
        {"messages": talk},
    ]
    read = read_ift(jsonl(tmp_path / "a.jsonl", *rows))
    assert [row.messages for row in read.rows] == [
        [user("Hi?"), assistant("Hello.")],
        [user("Add.\n\n1 2"), assistant("3")],
        [user("Greet."), assistant("Hi")],
        [user("Go."), assistant("Gone")],
        talk,
    ]
    assert [row.id for row in read.rows][:2] == ["ift-000001", "ift-000002"]


def test_a_self_instruct_task_gives_a_row_an_instance(tmp_path: Path) -> None:
    task = {"id": "seed_task_0", "instruction": "Add.", "is_classification": False}
    instances = [{"input": "1 2", "output": "3"}, {"input": "", "output": ""}, {"input": "4 5", "output": "9"}]
    path = jsonl(tmp_path / "a.jsonl", PAIR, task | {"instances": instances}, task | {"instances": []})
    read = read_ift(path)
    assert [row.id for row in read.rows] == ["ift-000001", "ift-000002", "ift-000002.3"]
    assert [row.messages[0]["content"] for row in read.rows[1:]] == ["Add.\n\n1 2", "Add.\n\n4 5"]
    assert [(d.row, d.reason) for d in read.dropped] == [(2, "empty response"), (3, "empty response")]
    assert drop(read.rows[2], "why").row == 2
    assert [row.messages[0]["content"] for row in read_prompts(path).rows][1:3] == ["Add.\n\n1 2", "Add."]
    assert "instances must be a list of objects" in refusal(read_ift, jsonl(path, task | {"instances": ["x"]}))


def test_all_formats_give_the_same_rows(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    rows = [PAIR, {"prompt": 'NA, "quoted"\nlines', "response": "2020-01-01"}, {"prompt": "7", "response": "NA"}]
    files = [jsonl(tmp_path / "a.jsonl", *rows), tmp_path / "a.json", tmp_path / "a.csv", tmp_path / "a[1]*.parquet"]
    files[1].write_text(json.dumps(rows, indent=1))
    with files[2].open("w", newline="") as file:
        writer = csv.DictWriter(file, ["prompt", "response"])
        writer.writeheader()
        writer.writerows(rows)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), files[3])
    first, *others = [read_ift(path).rows for path in files]
    assert [row.messages[1]["content"] for row in first] == ["Hello.", "2020-01-01", "NA"]
    for other in others:
        assert other == first


def test_byte_order_mark_windows_lines_and_blank_lines(tmp_path: Path) -> None:
    text = json.dumps(PAIR) + "\r\n\r\n" + json.dumps(PAIR | {"prompt": "Ho?"}) + "\r\n"
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert [row.id for row in read_ift(tmp_path / "a.jsonl").rows] == ["ift-000001", "ift-000002"]
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfprompt,response\r\nHi?,Hello.\r\n")
    assert read_ift(tmp_path / "a.csv").rows[0].messages == [user("Hi?"), assistant("Hello.")]


def test_empty_and_double_rows_are_dropped_with_their_reason(tmp_path: Path) -> None:
    rows = [
        PAIR,
        PAIR,
        PAIR | {"response": "Hey."},
        PAIR | {"response": " \n"},
        PAIR | {"response": None},
        PAIR | {"prompt": ""},
    ]
    read = read_ift(jsonl(tmp_path / "a.jsonl", *rows))
    assert [row.id for row in read.rows] == ["ift-000001", "ift-000003"]  # another response is another row
    assert [(d.row, d.reason) for d in read.dropped] == [
        (2, "duplicate"),
        (4, "empty response"),
        (5, "empty response"),
        (6, "empty prompt"),
    ]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (["a"], ["a row must be an object, found list"]),
        ('{"prompt": "a", "resp', ["broken JSON"]),
        ("[" * 100_000, ["cannot be read"]),
        ('{"prompt": "a", "response": "b", "n": ' + "1" * 5000 + "}", ["cannot be read"]),
    ],
)
def test_what_is_no_row_is_refused_with_its_line(tmp_path: Path, row: Any, said: list[str]) -> None:
    message = refusal(read_ift, jsonl(tmp_path / "a.jsonl", PAIR, "", row))
    assert message.startswith(f"{tmp_path}/a.jsonl:3: ")
    assert all(part in message for part in said), message


def test_files_that_are_no_seed_files(tmp_path: Path) -> None:
    def said(name: str, data: bytes) -> str:
        (tmp_path / name).write_bytes(data)
        return refusal(read_ift, tmp_path / name)

    assert "no such file" in refusal(read_ift, tmp_path / "none.jsonl")
    (tmp_path / "folder.json").mkdir()
    assert "cannot be read" in refusal(read_ift, tmp_path / "folder.json")
    assert "the file has no rows" in said("a.jsonl", b" \n")
    assert "--ift-share" not in said("a.jsonl", b"")
    assert "add some rows; `srlm seed ranked` and `seed oasst` put some there with --ift-share" in said(
        "ift.jsonl", b""
    )
    assert "the file has no rows" in said("a.csv", b"")
    assert "no rows" in said("a.json", b"[]")
    assert "unknown format .txt: known: .jsonl, .json, .csv, .parquet" in said("a.txt", b"x")
    assert "a.jsonl:2: not UTF-8" in said("a.jsonl", json.dumps(PAIR).encode() + b'\n{"prompt": "\xe9"}')
    assert "a.jsonl:1: not UTF-8" in said("a.jsonl", json.dumps(PAIR).encode("utf-16"))
    assert "a.json:3: broken JSON" in said("a.json", b'[\n{"prompt": "a", "response": "b"},\n{"prompt" "c"}]')
    assert "a.json:3: broken JSON" in said("a.json", b'[\n{"prompt": "a"},\n{"prompt": "b"\n,{"prompt": "c"}\n]')
    assert "a.json:2: broken JSON" in said("a.json", b'[{"prompt": "a"},\n{"prompt": "b"}\n')  # no end
    assert "a.json:3: broken JSON" in said(
        "a.json", b'[{"prompt": "a"},\n{"prompt": "b"}\n{"prompt": "c"}]'
    )  # no comma
    assert "a.jsonl:2: broken JSON" in said("a.jsonl", json.dumps(PAIR).encode() + b'\n{"prompt": "a"\n{"prompt": "b"}')
    assert "a.jsonl:1: broken JSON" in said("a.jsonl", b'{"prompt": "a", "response": "b"\n')
    assert "a.csv:3: 3 cells, but the header has 2" in said("a.csv", b"prompt,response\na,b\na,b,c\n")
    assert "a.csv:2: broken CSV" in said("a.csv", b'prompt,response\na,"b\n')
    assert "the file has no rows" in said("a.csv", b"prompt,response\n")
    assert "wrong columns (found: a, b)" in said("a.csv", b"a,b\n1,2\n")
    assert "not a readable Parquet file" in said("a.parquet", b"junk")
    assert "no usable row (row 1: empty response)" in said("a.jsonl", b'{"prompt": "a", "response": ""}')


# --- evaluation prompts ------------------------------------------------------------------------------------------


def test_prompt_forms_and_answers_ignored(tmp_path: Path) -> None:
    rows = [
        {"prompt": "a"},
        {"instruction": "b", "input": "c", "output": "ignored"},
        {"messages": [user("d")]},
        {"messages": [user("e"), assistant("ignored")]},
    ]
    read = read_prompts(jsonl(tmp_path / "a.jsonl", *rows))
    assert [row.messages for row in read.rows] == [[user("a")], [user("b\n\nc")], [user("d")], [user("e")]]
    bench = jsonl(
        tmp_path / "b.jsonl", {"turns": ["f", "g"]}, {"prompt": ["h", "i"]}, {"question": "j"}, {"input": "k"}
    )
    assert [row.messages for row in read_prompts(bench).rows] == [[user(name)] for name in "fhjk"]
    assert (
        "wrong columns (found: text): accepted: messages, prompt, instruction[/input or context], question"
        in refusal(read_prompts, jsonl(tmp_path / "c.jsonl", {"text": "l"}))
    )


# --- EFT ---------------------------------------------------------------------------------------------------------


def test_eft_rows_groups_and_human_marks(tmp_path: Path) -> None:
    rows = [
        EFT,
        EFT | {"response": "", "human_rank": 2},
        EFT | {"response": "x", "prompt_group": "g", "human_score": 3.5, "human_rank": 9},
        {key: value for key, value in EFT.items() if key != "prompt"} | {"messages": [user("Hi?")], "response": "y"},
    ]
    first, empty, named, talk = read_eft(jsonl(tmp_path / "a.jsonl", *rows)).rows
    assert (first.messages, first.score, first.human, first.filled) == ([user("Hi?")], 4.0, None, False)
    assert (empty.response, empty.human) == ("", -2.0)
    assert (named.group, named.human) == ("g", 3.5)
    assert first.group == empty.group == talk.group != "g"


def test_eft_from_csv_has_numbers_and_messages(tmp_path: Path) -> None:
    with (tmp_path / "a.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["messages", "response", "judgement", "score", "human_rank"])
        writer.writerow([json.dumps([user("Hi?")]), "Hello.", "Score: 4", "4", ""])
        writer.writerow([json.dumps([user("Hi?")]), "Bye.", "Score: 0.5", "0.5", "1"])
    rows = read_eft(tmp_path / "a.csv").rows
    assert [(row.messages, row.score, row.human) for row in rows] == [
        ([user("Hi?")], 4, None),
        ([user("Hi?")], 0.5, -1),
    ]


def test_a_judgement_without_its_score_is_dropped_when_rare_and_an_error_when_common(tmp_path: Path) -> None:
    good = [EFT | {"response": str(i)} for i in range(4)]
    bad = [
        EFT | {"judgement": "Fine."},
        EFT | {"score": 5},
        EFT | {"score": 10**400},  # too long for a float
        EFT | {"score": 7, "judgement": "Score: 7"},
    ]
    read = read_eft(jsonl(tmp_path / "a.jsonl", *good, *bad))
    assert len(read.rows) == 4
    assert [(d.row, d.reason) for d in read.dropped] == [(5, NO_SCORE), (6, OTHER_SCORE), (7, NO_SCORE), (8, NO_SCORE)]
    message = refusal(read_eft, jsonl(tmp_path / "b.jsonl", good[0], *bad))
    assert f"b.jsonl:2: {NO_SCORE}" in message
    assert "4 of 5 rows" in message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"score": "8/10"}, "score must be a number, found str"),
        ({"score": "good"}, "score must be a number, found str"),
        ({"score": True}, "score must be a number, found bool"),
        ({"human_rank": "first"}, "human_rank must be a number"),
        ({"prompt_group": ["a"]}, "prompt_group must be text"),
        ({"judgement": 4}, "judgement must be text"),
        ({"response": 4}, "response must be text"),
    ],
)
def test_wrong_types_in_eft(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    [dropped] = read_eft(jsonl(tmp_path / "a.jsonl", EFT, EFT | change)).dropped
    assert dropped.reason.startswith(said)
    assert f"a.jsonl:2: {said}" in refusal(read_eft, jsonl(tmp_path / "a.jsonl", EFT, *[EFT | change] * 2))


def test_ready_filled_rows_are_for_training_only(tmp_path: Path) -> None:
    row = {"prompt": "Judge this. Score: 1", "response": "Good.\nScore: 5"}
    [read] = read_eft(jsonl(tmp_path / "a.jsonl", row)).rows
    assert (read.filled, read.messages, read.response) == (True, [user(row["prompt"])], "")
    assert (read.judgement, read.score) == (row["response"], 5.0)  # the score of the reply, not of the prompt
    made = make(eft=[*efts(4), read])
    assert read in made.eft
    assert any("1 EFT rows with complete judge prompts" in warning for warning in made.warnings)
    alone = make(eft=[read])
    assert alone.held_out_eft == []
    assert any("no EFT prompt could be held out" in warning for warning in alone.warnings)


# --- splits ------------------------------------------------------------------------------------------------------


def ifts(count: int, text: str = "ask") -> list[IFTRow]:
    return [IFTRow(id=f"ift-{i:06d}", messages=[user(f"{text} {i}"), assistant("a")]) for i in range(count)]


def efts(prompts: int, text: str = "judge") -> list[EFTRow]:
    """Three differently marked responses a prompt."""
    return [
        EFTRow(
            id=f"eft-{i * 3 + k:06d}",
            group=f"{text} {i}",
            messages=[user(f"{text} {i}")],
            response=str(k),
            judgement=f"Score: {k}",
            score=k,
        )
        for i in range(prompts)
        for k in range(3)
    ]


def make(
    ift: list[IFTRow] | None = None,
    eft: list[EFTRow] | None = None,
    prompts: list[PromptRow] | None = None,
    share: float = 0.25,
    count: int = 4,
    seed: int = 1,
) -> Split:
    settings = DataSettings(held_out_eft=share, eval_prompts=count)
    seeds = Seeds(ift or ifts(40), eft=eft or efts(20), prompts=prompts)
    return split(seeds, lambda messages: True, settings, seed)


def keys(rows: list[Any]) -> set[str]:
    return {prompt_key(row.messages[:1]) for row in rows}


def test_splits_go_by_prompt_and_share_none() -> None:
    made = make(ift=ifts(20) + [row.model_copy(update={"id": row.id + "9"}) for row in ifts(20)])
    assert made.counts == {"ift": 32, "eft": 45, "held_out_eft": 15, "eval_prompts": 4, "held_out_eft_prompts": 5}
    held_out = keys(made.held_out_eft) | keys(made.eval_prompts)
    assert not held_out & (keys(made.ift) | keys(made.eft))
    assert len(made.dropped) == 8  # two rows for each of four prompts


def test_a_split_follows_from_prompts_and_seed_alone() -> None:
    made, again = make(), make(ift=ifts(40)[::-1], eft=efts(20)[::-1])
    assert keys(made.held_out_eft) == keys(again.held_out_eft)
    assert keys(made.eval_prompts) == keys(again.eval_prompts)
    assert keys(made.held_out_eft) != keys(make(seed=2).held_out_eft)
    grown = make(eft=efts(21))
    assert len(keys(made.held_out_eft) - keys(grown.held_out_eft)) <= 1


def test_held_out_prompts_leave_training_whatever_file_or_spelling() -> None:
    made = make(ift=ifts(40, "JUDGE "), eft=efts(40), count=4)
    reasons = [row.reason for row in made.dropped if row.file == "ift"]
    assert reasons.count("its prompt is in the held-out EFT") == 10
    assert reasons.count("its prompt became an evaluation prompt") == 4
    assert not (keys(made.held_out_eft) | keys(made.eval_prompts)) & (keys(made.ift) | keys(made.eft))


def test_a_later_turn_of_a_conversation_does_not_hide_a_held_out_prompt() -> None:
    talk = [user("ask 1"), assistant("b"), user("more"), assistant("c")]
    rows = [IFTRow(id="ift-000099", messages=talk), *ifts(40)]
    made = make(ift=rows, prompts=[PromptRow(id="eval-000001", messages=[user("ask 1")])])
    assert [(d.row, d.reason) for d in made.dropped if d.file == "ift"] == [
        (99, "its prompt is an evaluation prompt"),
        (1, "its prompt is an evaluation prompt"),
    ]


def test_two_groups_with_one_prompt_cannot_be_on_both_sides() -> None:
    eft = [row.model_copy(update={"group": row.id, "messages": [user("the same")]}) for row in efts(2)]
    with pytest.raises(UserError, match="no EFT row is left"):
        make(eft=eft)


def test_evaluation_prompts_prefer_what_eft_lacks_and_take_at_most_a_fifth() -> None:
    made = make(ift=ifts(10, "judge") + ifts(10), eft=efts(10), share=0.01, count=100)
    assert 1 <= len(made.eval_prompts) <= 4
    assert not keys(made.eval_prompts) & keys(efts(10))
    assert any("fewer than data.eval_prompts = 100" in warning for warning in made.warnings)
    with pytest.raises(UserError, match="--eval-prompts"):
        make(ift=ifts(4))


def test_given_evaluation_prompts_are_cut_and_distinct() -> None:
    prompts = [PromptRow(id=f"eval-{i:06d}", messages=[user(text)]) for i, text in enumerate(["a", "A ", "b", "c"])]
    made = make(prompts=prompts, count=2)
    assert [row.messages[0]["content"] for row in made.eval_prompts] == ["a", "b"]
    assert [(d.file, d.row, d.reason) for d in made.dropped] == [("eval", 1, "duplicate")]


def test_unrankable_held_out_eft_is_warned_of() -> None:
    same = [row.model_copy(update={"human": 1.0}) for row in efts(8)]
    assert any("ranking is not measured" in warning for warning in make(eft=same).warnings)
    assert make().warnings == []
