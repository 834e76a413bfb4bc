"""Scored responses with rationales -> EFT rows: what is written, refused and left out."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from srlm.cli import app
from srlm.errors import UserError
from srlm.seed.from_scores import ScoresReport, columns_of_scores, from_scores
from srlm.seed.read import read_eft
from tests.helpers.places import SHARED, needs_shared

PROMETHEUS = SHARED / "prometheus_vicuna_eval.json"
ROW = {"prompt": "q", "response": "a", "score": 4, "feedback": "Mostly right."}


def write(path: Path, *values: Any) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return path


def make(path: Path, **given: str) -> ScoresReport:
    return from_scores(path, path.parent / "eft.jsonl", columns_of_scores(path, dict(given)))


def test_rows_become_eft_that_init_reads(tmp_path: Path) -> None:
    talk = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "q"}]
    report = make(
        write(
            tmp_path / "a.jsonl",
            ROW,
            ROW | {"response": "b", "score": 1.5, "feedback": "First score: 3, but then no.\nSo it is poor."},
            ROW | {"response": "", "score": 0, "feedback": "Nothing.\nScore: 0"},
            ROW | {"prompt": talk, "response": "c"},
            {"prompt": "q", "response": "d", "score": 3, "feedback": "Fine.\n**Score: 3/5**"},
        )
    )
    found = read_eft(report.out)
    assert [(row.response, row.judgement, row.score, row.human) for row in found.rows] == [
        ("a", "Mostly right.\nScore: 4", 4.0, 4.0),
        ("b", "First score: 3, but then no.\nSo it is poor.\nScore: 1.5", 1.5, 1.5),
        ("", "Nothing.\nScore: 0", 0.0, 0.0),
        ("c", "Mostly right.\nScore: 4", 4.0, 4.0),
        ("d", "Fine.\n**Score: 3/5**", 3.0, 3.0),
    ]
    assert found.rows[3].messages == talk
    assert found.dropped == []
    assert report.lines()[0].endswith("5 EFT rows; rows by score: 0: 1, 1.5: 1, 3: 1, 4: 2.")


def test_scores_in_words_and_columns_found_by_their_parts(tmp_path: Path) -> None:
    rows = [{"prompt_text": "q", "response_text": str(n), "review_score": f"{n}/5", "review": "w"} for n in range(3)]
    path = write(tmp_path / "a.jsonl", *rows)
    assert columns_of_scores(path, {})["score"] == "review_score"
    assert [row.score for row in read_eft(make(path).out).rows] == [0.0, 1.0, 2.0]
    with pytest.raises(UserError, match=r"a.jsonl:4: review_score 4/10 is not on the rubric's scale, 0 to 5"):
        make(write(path, *rows, rows[0] | {"review_score": "4/10"}))
    with pytest.raises(UserError, match=r"no prompt column, no response column .*name them: --prompt COL --response"):
        columns_of_scores(write(path, {"score": 1, "why": "w", "review": "w"}), {})


def test_what_is_left_out_is_counted_with_its_place(tmp_path: Path) -> None:
    rows = [ROW, ROW | {"score": float("nan")}, ROW | {"feedback": " "}, ROW | {"prompt": ""}]
    rows += [ROW | {"feedback": "Fine.\nScore: 2"}, ROW | {"score": "high"}]
    report = make(write(tmp_path / "a.jsonl", *rows))
    reasons = ["no score", "no rationale", "empty prompt", "the judgement's score is not the row's score", "no score"]
    left = [json.loads(line) for line in (tmp_path / "eft.dropped.jsonl").read_text().splitlines()]
    assert [(row["where"].rpartition(":")[2], row["reason"]) for row in left] == list(
        zip("23456", reasons, strict=True)
    )
    assert report.rows == 1


def test_another_scale_and_other_files_are_refused(tmp_path: Path) -> None:
    def refusal(*rows: Any) -> str:
        with pytest.raises(UserError) as caught:
            make(write(tmp_path / "a.jsonl", *rows))
        assert not (tmp_path / "eft.jsonl").exists()
        return str(caught.value)

    assert "a.jsonl:2: score 8 is not on the rubric's scale, 0 to 5" in refusal(ROW, ROW | {"score": 8})
    assert "score holds a list: give one score per row" in refusal(ROW | {"score": [1, 2]})
    assert "no rationale column (found: prompt, response, score): name it: --rationale COL" in refusal(
        {"prompt": "q", "response": "a", "score": 1}
    )
    assert "no usable row" in refusal(ROW | {"score": None})


def test_marks_from_1_to_5_are_doubted(tmp_path: Path) -> None:
    report = make(write(tmp_path / "a.jsonl", *(ROW | {"response": str(n), "score": n} for n in range(1, 6))))
    assert "no score is below 1" in report.lines()[-1]


def test_a_file_is_never_replaced(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", ROW)
    make(path)
    assert make(path).already
    before = (tmp_path / "eft.jsonl").read_bytes()
    write(path, ROW | {"score": 2})
    with pytest.raises(UserError, match="already exists, with other rows"):
        make(path)
    assert (tmp_path / "eft.jsonl").read_bytes() == before
    assert {file.name for file in tmp_path.iterdir()} == {"a.jsonl", "eft.jsonl", "eft.dropped.jsonl"}


@needs_shared
def test_prometheus_gets_one_line() -> None:
    with pytest.raises(UserError, match="complete judge prompts, each with its own rubric and marks from 1 to 5"):
        columns_of_scores(PROMETHEUS, {})


def test_the_command_shows_its_columns_and_needs_one_source(tmp_path: Path) -> None:
    path, out = write(tmp_path / "a.jsonl", ROW), str(tmp_path / "eft.jsonl")
    done = CliRunner().invoke(app, ["seed", "eft", "--from-scores", str(path), "--out", out])
    assert done.exit_code == 0
    assert "prompt = prompt, response = response, score = score, rationale = feedback" in done.stderr.splitlines()[0]
    assert len(read_eft(Path(out)).rows) == 1
    for arguments in ([], ["--from-scores", str(path), "--ranked", str(path)]):
        failed = CliRunner().invoke(app, ["seed", "eft", "--out", out, *arguments])
        assert isinstance(failed.exception, UserError)


@pytest.mark.parametrize("extra", [["--model", "m"], ["--ift", "i.jsonl"], ["--recipe", "demo"], ["--set", "a=1"]])
def test_options_that_would_be_ignored_are_refused(tmp_path: Path, extra: list[str]) -> None:
    path, out = write(tmp_path / "a.jsonl", ROW), tmp_path / "eft.jsonl"
    failed = CliRunner().invoke(app, ["seed", "eft", "--from-scores", str(path), "--out", str(out), *extra])
    assert isinstance(failed.exception, UserError)
    assert extra[0] in str(failed.exception)
    assert not out.exists()
    failed = CliRunner().invoke(app, ["seed", "eft", "--ranked", str(path), "--score", "s", "--out", str(out)])
    assert isinstance(failed.exception, UserError)
    assert "--score" in str(failed.exception)


def test_eft_goes_to_jsonl_and_nothing_beside_it_is_replaced(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", ROW)
    failed = CliRunner().invoke(app, ["seed", "eft", "--from-scores", str(path), "--out", str(tmp_path / "eft.csv")])
    assert isinstance(failed.exception, UserError)
    assert ".jsonl" in str(failed.exception)
    (tmp_path / "eft.dropped.jsonl").write_text("mine")
    with pytest.raises(UserError, match="already exists"):
        make(path)
    assert (tmp_path / "eft.dropped.jsonl").read_text() == "mine"
    assert not (tmp_path / "eft.jsonl").exists()


def test_help_tells_the_defaults() -> None:
    for command, defaults in (
        ("oasst", ["(en)"]),
        ("ranked", ["top quarter", "pairs and labels"]),
        ("eft", ["(paper)"]),
    ):
        said = " ".join(CliRunner().invoke(app, ["seed", command, "--help"]).output.replace("│", " ").split())
        assert all(default in said for default in defaults), said
