"""The command line: exit codes, one-line errors, help without heavy imports."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.run_folder import bare_run, finished_run


def srlm(*arguments: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "srlm.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["inspect", "nowhere"], "nowhere is not a run folder: make one with `srlm init`"),
        (["iterate", "3"], "there is no run in runs/: make one with `srlm init`"),
        (["init", "r", "--recipe", "dmeo"], "there is no recipe 'dmeo': known: demo, paper, small; did you mean demo?"),
        (["init", "r", "--recipe", "demo", "--set", "judge.smaples=3"], "unknown key judge.smaples"),
        (
            ["init", "r", "--recipe", "demo", "--set", "judge.samples=five"],
            "'five' is not allowed: give a whole number",
        ),
        (["init", "r"], "--model"),
        (["iterate"], "error: missing argument 'N': see `"),
        (["iterate", "x"], "error: invalid value for 'N': "),
        (["inspect", "--rwo"], "error: no such option: --rwo"),
        (["export", "a", "b", "c"], "error: got unexpected extra argument"),
    ],
)
def test_the_users_error_is_one_line_and_exit_code_2(tmp_path: Path, arguments: list[str], said: str) -> None:
    done = srlm(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "r").exists()


def test_a_command_without_arguments_shows_its_help() -> None:
    done = srlm("seed")
    assert done.returncode == 2
    assert "oasst" in done.stdout
    assert "error" not in done.stderr


def test_a_stale_run_is_refused_before_anything_starts(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "r")
    config = run.root / "config.toml"
    config.write_text(config.read_text().replace("beta = 0.1", "beta = 0.3"))
    done = srlm("iterate", "2", "--run", str(run.root))
    assert done.returncode == 2
    assert "dpo.beta was 0.1, is now 0.3" in done.stderr


def test_a_run_in_use_is_refused(tmp_path: Path) -> None:
    run = bare_run(tmp_path / "r")
    with run.lock():
        done = srlm("iterate", "1", "--run", str(run.root))
    assert done.returncode == 2
    assert "in use by process" in done.stderr


def test_the_latest_run_is_named(tmp_path: Path) -> None:
    finished_run(tmp_path / "runs" / "only")
    done = srlm("inspect", cwd=tmp_path)
    assert done.returncode == 0
    assert "runs/only (the only run)" in done.stderr


@pytest.mark.parametrize("recipe", ["demo", "small", "paper"])
def test_every_recipe_is_explained(recipe: str) -> None:
    done = srlm("config", "--recipe", recipe)
    assert done.returncode == 0
    assert "Candidates per instruction (N)." in done.stdout


def test_help_has_commands_that_can_be_run() -> None:
    done = srlm("iterate", "--help")
    assert done.returncode == 0
    assert "srlm iterate 3 --run runs/a" in done.stdout


def test_dry_run_changes_nothing(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "r")
    before = {path: path.read_bytes() for path in run.root.rglob("*") if path.is_file()}
    done = srlm("iterate", "3", "--run", str(run.root), "--dry-run", "--redo", "M2")
    assert done.returncode == 0
    assert "redo" in done.stdout
    assert {path: path.read_bytes() for path in run.root.rglob("*") if path.is_file()} == before


def test_who_takes_the_last_model_hears_of_a_better_one(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "r")
    path = run.at(2).metrics  # without a grader's word, nothing shows that M2 is better
    path.write_text(
        json.dumps({name: found for name, found in json.loads(path.read_text()).items() if name != "truth"})
    )
    said = srlm("export", str(run.root)).stderr
    assert "examples/s" not in said  # no bars of other libraries
    assert f"M2, the last measured model of {run.root}" in said
    assert f"The best model so far is M1 (see `srlm inspect {run.root}`). To export it: srlm export" in said
    assert "best" not in srlm("export", str(run.root), "M2", "--out", str(tmp_path / "o")).stderr
    said = srlm("judge", str(tmp_path / "none.jsonl"), "--run", str(run.root)).stderr
    assert "Judge: M2" in said
    assert "To judge with it: --iteration M1" in said


def test_measure_computes_figures_without_torch(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "r")
    (run.root / "M1" / "metrics.json").write_text('{"model": "M1", "judge": {}, "answers": {}}')
    assert "srlm measure" in srlm("inspect", str(run.root)).stderr
    code = "import sys; from srlm.cli import app; app(standalone_mode=False); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, "measure", str(run.root)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "M1: figures recomputed from its rows; new or changed: aift, answers.answers, " in done.stderr
    assert "srlm measure" not in srlm("inspect", str(run.root)).stderr
