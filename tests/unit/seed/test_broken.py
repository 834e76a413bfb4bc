"""Ten kinds of broken file through the commands: one line with the place, or a counted drop; never a traceback."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from srlm.cli import app
from srlm.errors import UserError

TREE: dict[str, Any] = {
    "message_tree_id": "t",
    "tree_state": "ready_for_export",
    "prompt": {"message_id": "t", "text": "q", "role": "prompter", "lang": "en", "review_result": True, "replies": []},
}
RATED = [{"prompt": "q", "response": "a", "score": 2}, {"prompt": "q", "response": "b", "score": 1}]


def reply(number: int, rank: Any, **more: Any) -> dict[str, Any]:
    common = {"role": "assistant", "lang": "en", "review_result": True, "replies": []}
    return common | {"message_id": f"r{number}", "text": f"a{number}", "rank": rank} | more


def tree(*replies: Any, name: str = "t") -> dict[str, Any]:
    prompt = TREE["prompt"] | {"message_id": name, "text": f"What is {name}?", "replies": list(replies)}
    return TREE | {"message_tree_id": name, "prompt": prompt}


def lines(*values: Any) -> bytes:
    return "".join((value if isinstance(value, str) else json.dumps(value)) + "\n" for value in values).encode()


def run(command: str, path: Path, data: bytes) -> Result:
    path.write_bytes(data)
    return CliRunner().invoke(app, ["seed", command, str(path), "--out", str(path.parent / "out")])


def refused(command: str, path: Path, data: bytes) -> str:
    """The one line that the user sees; nothing is left behind."""
    result = run(command, path, data)
    assert isinstance(result.exception, UserError), result.exception
    assert "\n" not in str(result.exception)
    assert not (path.parent / "out").exists()
    assert [file for file in path.parent.iterdir() if file != path] == []
    return str(result.exception)


def counts(command: str, path: Path, data: bytes) -> dict[str, Any]:
    """The counts of a run that went through."""
    result = run(command, path, data)
    assert result.exit_code == 0, result.exception
    found: dict[str, Any] = json.loads((path.parent / "out" / "summary.json").read_text())["counts"]
    return found


GOOD = tree(reply(0, 0), reply(1, 1))


@pytest.mark.parametrize(("command", "row"), [("oasst", GOOD), ("ranked", RATED[0])])
def test_torn_gzip(tmp_path: Path, command: str, row: Any) -> None:
    whole = gzip.compress(lines(*([row] * 2000)))
    said = refused(command, tmp_path / "a.jsonl.gz", whole[: len(whole) // 2])
    assert "a.jsonl.gz: broken gzip file after row" in said
    assert "a.jsonl.gz: broken gzip file after row 0" in refused(command, tmp_path / "a.jsonl.gz", lines(row))


@pytest.mark.parametrize(("command", "data"), [("oasst", lines(GOOD)), ("ranked", lines(*RATED))])
def test_byte_order_mark_and_windows_line_ends(tmp_path: Path, command: str, data: bytes) -> None:
    (tmp_path / "plain").mkdir()
    expected = counts(command, tmp_path / "plain" / "a.jsonl", data)
    assert counts(command, tmp_path / "a.jsonl", b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n")) == expected


def test_mixed_schemas(tmp_path: Path) -> None:
    said = refused("oasst", tmp_path / "a.jsonl", lines(GOOD, GOOD["prompt"]))
    assert "a.jsonl:2: not a tree, unlike the rows before it" in said
    said = refused("oasst", tmp_path / "a.jsonl", lines(GOOD["prompt"] | {"parent_id": None}, {"prompt": "a"}))
    assert "a.jsonl:2: neither a tree nor a message" in said
    wrong = [RATED[0] | {"response": 7}] * 3
    assert "a.jsonl:3: response must be text" in refused("ranked", tmp_path / "a.jsonl", lines(*RATED, *wrong))
    assert "a.jsonl:2: a row must be an object" in refused("ranked", tmp_path / "a.jsonl", lines(RATED[0], "[1]"))
    (tmp_path / "b").mkdir()
    found = counts("ranked", tmp_path / "b" / "a.jsonl", lines(*RATED, {"chosen": "a", "rejected": "b"}))
    assert list(found["rows"]["dropped"].values()) == [1]


def test_nan_scores_and_ranks(tmp_path: Path) -> None:
    found = counts("oasst", tmp_path / "a.jsonl", lines(GOOD, tree(reply(2, float("nan")), name="u")))
    assert found["answers"]["dropped"]["no rank"] == 1
    (tmp_path / "b").mkdir()
    nan = {"prompt": "q", "response": "c", "score": float("nan")}
    found = counts("ranked", tmp_path / "b" / "a.jsonl", lines(*RATED, nan, nan | {"score": float("inf")}))
    assert found["answers"]["dropped"]["its score or rank is not a number"] == 2


def test_ranks_with_gaps(tmp_path: Path) -> None:
    found = counts("oasst", tmp_path / "a.jsonl", lines(tree(reply(1, 1), reply(4, 4), reply(9, 9))))
    assert (found["prompts"]["ift"], found["prompts"]["ranked"], found["answers"]["ranked"]) == (0, 1, 3)
    said = refused_in(tmp_path / "b", "oasst", lines(tree(reply(0, "first"))))
    assert "a.jsonl:1, reply 1: rank must be a number, found str" in said


def refused_in(folder: Path, command: str, data: bytes) -> str:
    folder.mkdir()
    return refused(command, folder / "a.jsonl", data)


def test_a_response_of_2_megabytes(tmp_path: Path) -> None:
    rows = [*RATED, {"prompt": "q", "response": "x" * 2_000_000, "score": 3}]
    found = counts("ranked", tmp_path / "a.jsonl", lines(*rows))
    assert found["answers"]["dropped"]["longer than --max-chars"] == 1
    (tmp_path / "b").mkdir()
    path = tmp_path / "b" / "a.csv"
    text = "prompt,response,score\n" + "".join(f"{r['prompt']},{r['response']},{r['score']}\n" for r in rows)
    assert counts("ranked", path, text.encode())["answers"] == found["answers"]


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
@pytest.mark.parametrize(
    ("command", "name", "text"),
    [
        ("oasst", "a.jsonl", json.dumps(GOOD) + '\n{"prompt": "Où?"}\n'),
        ("ranked", "a.jsonl", json.dumps(RATED[0]) + '\n{"prompt": "Où?"}\n'),
        ("ranked", "a.csv", 'prompt,response,score\n"Où?",a,1\n'),
    ],
)
def test_wrong_encoding(tmp_path: Path, command: str, name: str, text: str, encoding: str) -> None:
    line = 1 if encoding == "utf-16" else 2
    assert f"{name}:{line}: not UTF-8 text" in refused(command, tmp_path / name, text.encode(encoding))


def test_nested_lists(tmp_path: Path) -> None:
    said = refused("oasst", tmp_path / "a.jsonl", lines(TREE | {"prompt": TREE["prompt"] | {"replies": [[]]}}))
    assert "a.jsonl:1: prompt and replies are not messages" in said
    assert "prompt and replies" in refused("oasst", tmp_path / "a.jsonl", lines(TREE | {"prompt": [[]]}))
    said = refused("oasst", tmp_path / "a.jsonl", lines(tree(reply(0, 0, text=["a"]))))
    assert "text of message r0 must be text, found list" in said
    deep = "[" * 200_000 + "]" * 200_000
    said = refused("ranked", tmp_path / "a.jsonl", lines(RATED[0], f'{{"prompt": {deep}}}'))
    assert "a.jsonl:2: JSON that cannot be read" in said
    said = refused("ranked", tmp_path / "a.jsonl", lines({"prompt": "q", "response": [["a"]], "score": [1]}))
    assert "response must be text or a list of turns" in said


def test_empty_trees(tmp_path: Path) -> None:
    found = counts("oasst", tmp_path / "a.jsonl", lines(GOOD, TREE | {"prompt": None}, tree(name="bare")))
    assert found["prompts"]["dropped"] == {"an empty tree": 1, "no usable ranked reply": 1}
    said = refused_in(tmp_path / "b", "oasst", lines(TREE | {"prompt": None}))
    assert "nothing usable (an empty tree: 1)" in said
    assert "a.jsonl: the file has no rows" in refused_in(tmp_path / "c", "oasst", b"")


def test_half_a_surrogate_and_a_torn_line(tmp_path: Path) -> None:
    half = '{"prompt": "q", "response": "\\ud800", "score": 1}'
    assert "response holds an invalid Unicode character" in refused("ranked", tmp_path / "a.jsonl", lines(half))
    assert "a.jsonl:2: broken JSON" in refused("oasst", tmp_path / "a.jsonl", lines(GOOD) + lines(GOOD)[:50])


def test_two_columns_of_one_name(tmp_path: Path) -> None:
    said = refused("ranked", tmp_path / "a.csv", b"prompt,response,score,score\nq,a,1,2\nq,b,2,1\n")
    assert "a.csv:1" in said
    assert "'score'" in said
