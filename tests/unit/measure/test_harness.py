"""`srlm eval --tasks`: what the harness found, as figures and changes, and options that do not go together."""

import json
from pathlib import Path
from typing import Any

import pytest

from srlm.config import to_toml
from srlm.engine.load import weights_digest
from srlm.errors import UserError
from srlm.measure.harness.__main__ import figures
from srlm.measure.harness.command import _rows, row_key
from srlm.measure.harness.job import Figure, HarnessJob, TaskRow
from srlm.measure.harness.table import change, compared, cut, show, tax
from srlm.measure.harness.tasks import _in_one_line, is_path, top_level
from srlm.run.folder import Run
from srlm.store import write_rows, write_text
from tests.helpers.run_folder import finished_run

FOUND = {
    "results": {
        "both": {"name": "both", "alias": "both", "sample_len": 30, "acc,none": 0.5, "acc_stderr,none": 0.1},
        "choice": {
            "name": "choice",
            "alias": "- choice",
            "sample_len": 10,
            "acc,none": 0.25,
            "acc_stderr,none": 0.05,
            "acc,strict": 0.125,
            "acc_stderr,strict": "N/A",
            "odd,none": [1, 2],
            "undefined,none": float("nan"),
        },
        "text": {"sample_len": 20, "perplexity,none": 7.5, "perplexity_stderr,none": float("nan"), "acc,none": "N/A"},
    },
    "groups": {"both": {}},
    "group_subtasks": {"both": ["choice"], "loose": ["text"]},
    "higher_is_better": {"both": {"acc": True}, "choice": {"acc": True}, "text": {"perplexity": False}},
    "versions": {"both": "N/A", "choice": 2.0},
    "n-shot": {"choice": 0},
}


def figure(value: float | None, stderr: float | None = 0.1, higher: bool | None = True, **more: Any) -> Figure:
    values = {"task": "t", "metric": "acc", "questions": 100, "version": "1", "few_shot": 5, "within": None} | more
    return Figure.model_validate(values | {"value": value, "stderr": stderr, "higher_is_better": higher})


def row(*found: Figure, cut: int = 0) -> TaskRow:
    return TaskRow(key="k", task="t", harness="0", seconds=1.0, cut=cut, figures=list(found))


def test_only_finite_numbers_become_figures() -> None:
    seen = [(f.task, f.metric, f.value, f.stderr, f.within) for f in figures(FOUND)]
    assert seen == [
        ("both", "acc", 0.5, 0.1, None),
        ("choice", "acc", 0.25, 0.05, "both"),
        ("choice", "acc (strict)", 0.125, None, "both"),
        ("text", "perplexity", 7.5, None, None),
    ]
    choice, text = [f for f in figures(FOUND) if f.metric in ("acc (strict)", "perplexity")]
    assert (choice.version, choice.questions, choice.higher_is_better, choice.few_shot) == ("2.0", 10, True, 0)
    assert (text.version, text.questions, text.higher_is_better, text.few_shot) == (None, 20, False, None)


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        (figure(0.5), figure(0.8), "better"),  # 0.3 > 1.96 * hypot(0.1, 0.1) = 0.277
        (figure(0.5), figure(0.75), "unclear"),
        (figure(0.8), figure(0.5), "worse"),
        (figure(0.8, higher=False), figure(0.5, higher=False), "better"),
        (figure(1.0, 0.0), figure(1.0, 0.0), "unclear"),
        (figure(0.0, 0.0, questions=20), figure(1.0, 0.0, questions=20), "better"),
        (figure(0.0, 0.0, questions=19), figure(1.0, 0.0, questions=19), "unclear"),
        (figure(0.5, higher=None), figure(0.9, higher=None), None),
        (figure(0.5, None), figure(0.9), None),
        (figure(None), figure(0.9), None),
    ],
)
def test_a_change_counts_where_it_exceeds_the_error(before: Figure, after: Figure, verdict: str | None) -> None:
    assert change(before, after)["verdict"] == verdict


def test_each_model_is_compared_with_the_base_and_with_the_first_trained_one() -> None:
    rows = {t: [row(figure(value))] for t, value in {0: 0.9, 1: 0.5, 2: 0.55, 3: 0.2}.items()}
    [entry] = compared(rows)
    changes = {name: {of: c["by"] for of, c in found["change"].items()} for name, found in entry["models"].items()}
    assert changes["M0"] == {}
    assert changes["M1"] == pytest.approx({"M0": -0.4})
    assert changes["M2"] == pytest.approx({"M0": -0.35, "M1": 0.05})
    assert changes["M3"] == pytest.approx({"M0": -0.7, "M1": -0.3})
    [unknown] = compared({t: [row(figure(0.5 + t, None))] for t in range(4)})
    assert tax([entry, unknown], "M3", "M1").endswith(
        "worse (▼) in 1 and better (▲) in 0 of 1 figures with a known error"
    )


def test_a_table_of_the_sums_and_json_of_everything(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = figure(0.5, task="\x1b[31mall")
    part = figure(0.1, task="part", within="\x1b[31mall")
    models = {t: [row(hostile, part), row(figure(0.5 + 0.4 * t, 0.05))] for t in (0, 1)}
    data = {"harness": "0", "limit": None, "tasks": compared(models), "cut": {}}
    show(data, ["M0", "M1"], as_json=False)
    shown = capsys.readouterr()
    lines = [line.split() for line in shown.out.splitlines()]
    assert ["t", "(100,", "5)", "acc", "0.500", "±", "0.050", "0.900", "±", "0.050"] in lines
    assert ["from", "M0", "+0.400", "▲"] in lines
    assert "\\x1b[31mall" in shown.out
    assert "\x1b" not in shown.out
    assert "part" not in shown.out
    assert "better (▲) in 1 of 2" in shown.err
    show(data, ["M0", "M1"], as_json=True)
    assert [entry["task"] for entry in json.loads(capsys.readouterr().out)["tasks"]] == ["\x1b[31mall", "part", "t"]


def test_a_path_is_told_from_a_name_by_how_it_is_written() -> None:
    assert [is_path(item) for item in ("./quiz", "quiz.yaml", "a/b")] == [True] * 3
    assert not is_path("arc_easy")


def test_a_task_file_is_read_without_running_what_it_names(tmp_path: Path) -> None:
    (tmp_path / "quiz.yaml").write_text("task: quiz\nprocess_docs: !function no.such\nunsafe_code: true\n")
    assert top_level(tmp_path / "quiz.yaml")["unsafe_code"].value == "true"
    with pytest.raises(UserError, match="cannot be read"):
        top_level(tmp_path)


def test_what_was_asked_for_is_shown_although_it_is_part_of_another_group() -> None:
    alone, group = row(figure(0.5, task="stem")), row(figure(0.6, task="all"), figure(0.5, task="stem", within="all"))
    for rows in ([alone, group], [group, alone]):
        assert {entry["task"]: entry["within"] for entry in compared({0: rows})} == {"stem": None, "all": None}


def test_prompts_that_were_cut_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    rows = {0: [row(figure(0.5))], 1: [row(figure(0.5), cut=3)]}
    data = {"tasks": compared(rows), "cut": cut(rows)}
    assert data["cut"] == {"M1": {"t": 3}}
    show(data, ["M0", "M1"], as_json=False)
    assert "M1: t: 3 prompts" in capsys.readouterr().err


def test_a_row_is_that_of_the_weights_and_of_how_they_are_loaded(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "r")
    weights = run.at(1).weights / "model.safetensors"
    job = HarnessJob(asked=[], limit=None, few_shot=None, seed=1, max_length=64, measure=None)

    def key() -> str:
        return row_key(Run(run.root), 1, job, "0", "content")

    weights.write_bytes(b"first")
    first = key()
    assert key() == first
    weights.write_bytes(b"made anew")
    second = key()
    engine = run.config.engine.model_copy(update={"args": {"quantization": "fp8"}})
    write_text(run.root / "config.toml", to_toml(run.config.model_copy(update={"engine": engine})))
    assert len({first, second, key()}) == 3


def test_of_a_model_whose_weights_were_removed_only_known_rows_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished_run(tmp_path / "r")
    weights = run.at(1).weights / "model.safetensors"
    weights.write_bytes(b"weights")
    job = HarnessJob(asked=[], limit=None, few_shot=None, seed=1, max_length=64, measure=None)
    done = row(figure(0.5)).model_copy(update={"key": row_key(run, 1, job, "0", "content")})
    write_rows(run.paths.tasks / "M1.jsonl", [done])
    run.note_removed("M1", weights_digest(run.model(1)))
    weights.unlink()
    assert _rows(Run(run.root), 1, job, {"harness": "0", "tasks": {"t": "content", "new": "other"}}, 0) == [done]
    assert "M1: its weights were removed (train.keep_models), so it cannot do new" in capsys.readouterr().err


def test_a_task_that_names_what_is_not_there_says_what(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=r"quiz: .*: fix the task file: it names 'tset', which"), _in_one_line("quiz"):
        {"test": 1}["tset"]
