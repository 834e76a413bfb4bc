"""The loop on real parts: vLLM and TRL on this machine's CPU, small."""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from srlm.measure.figures import read_figures
from srlm.run.folder import Run
from tests.helpers.kills import SMALL, check, durable, hear_ctrl_c, iterate_command, kill_in, lines, make_run, status

pytestmark = pytest.mark.timeout(1200)


def srlm(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["srlm", *arguments], capture_output=True, text=True, timeout=1100)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small demo run at M2, its models compared head to head on the way."""
    root = tmp_path_factory.mktemp("run") / "whole"
    make_run(root, [*SMALL, "versus.in_loop=true"])
    done = subprocess.run(iterate_command(root), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return root


def test_m0_to_m2_from_one_command(finished: Path) -> None:
    assert check(finished)
    for t in range(3):
        metrics = json.loads((finished / f"M{t}" / "metrics.json").read_text())
        assert 0 <= metrics["answers"]["truth_score"] <= 5
        assert metrics["judge"]["judgements"] == 3 * lines(finished / "seed" / "held_out_eft.jsonl")
    stages = Run(finished).record.stages
    assert {record.status for record in stages.values()} == {"done"}
    assert stages["M2/train"].info["reference"]["model"].endswith("M1/model")
    assert stages["M1/train"].info["overlong"] == 0


def test_training_on_the_seeds_makes_better_answers(finished: Path) -> None:
    score = [json.loads((finished / f"M{t}" / "metrics.json").read_text())["answers"]["truth_score"] for t in (0, 1)]
    assert score[1] > score[0] + 0.3


def test_a_second_call_starts_nothing(finished: Path) -> None:
    def logs() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in (finished / "logs").iterdir()}

    before = logs()
    again = srlm("iterate", "2", "--run", str(finished))
    assert again.returncode == 0
    assert logs() == before


def test_inspect_and_the_plan_of_the_next_model(finished: Path) -> None:
    shown = srlm("inspect", str(finished), "--json")
    assert [model["model"] for model in json.loads(shown.stdout)["models"]] == ["M0", "M1", "M2"]
    assert srlm("inspect", str(finished), "M1").returncode == 0
    plan = srlm("iterate", "3", "--run", str(finished), "--dry-run")
    assert plan.returncode == 0
    assert {line.split()[0] for line in plan.stdout.splitlines() if " owed " in line} == {
        "M2/aift",
        "M2/pairs",
        "M3/train",
        "M3/eval",
        "M3/versus",
    }


def test_head_to_head_is_a_stage_of_the_loop(finished: Path) -> None:
    found = json.loads((finished / "M2" / "versus.json").read_text())
    assert found["judge"]["model"] == "M1"
    assert list(found["against"]) == ["M1"]
    against = found["against"]["M1"]
    assert against["prompts"] == lines(finished / "seed" / "eval_prompts.jsonl")
    assert against["win"] + against["tie"] + against["loss"] == pytest.approx(1)
    assert read_figures(Run(finished), 2)["versus"] == found
    assert Run(finished).record.stages["M2/versus"].info["judge"]["model"] == "M1"


def test_a_model_that_does_not_win_stops_the_loop_where_it_shall(finished: Path, tmp_path: Path) -> None:
    """No win rate lies above 1: said and no more, unless --strict or promote.action asks to stop there."""
    root = tmp_path / "doubtful"
    shutil.copytree(finished, root)
    config = root / "config.toml"
    config.write_text(config.read_text().replace("min_win_rate = 0.5", "min_win_rate = 1.0"))
    call = ["iterate", "2", "--run", str(root)]
    warned, stopped = srlm(*call), srlm(*call, "--strict")
    assert warned.returncode == 0, warned.stderr
    assert "M2 is not clearly better than M1. Best so far: M1. In doubt: win rate against M1:" in warned.stderr
    assert stopped.returncode == 1
    assert "M2 is not promoted" in " ".join(stopped.stderr.split())
    config.write_text(config.read_text().replace('action = "warn"', 'action = "stop"'))
    assert srlm(*call).returncode == 1


def test_killed_three_times_it_ends_as_if_nothing_had_happened(finished: Path, tmp_path: Path) -> None:
    root = tmp_path / "killed"
    make_run(root)
    choose = random.Random(3)
    for stage in ("M0/eval", "M1/train", "M1/aift"):
        assert kill_in(root, stage, choose)
    done = subprocess.run(iterate_command(root), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    check(root, finished)  # M1's weights are compared bit for bit


def test_ctrl_c_stops_within_seconds_and_says_how_to_go_on(tmp_path: Path) -> None:
    root = tmp_path / "run"
    make_run(root)
    parent = subprocess.Popen(iterate_command(root), stderr=subprocess.PIPE, text=True, preexec_fn=hear_ctrl_c)
    while lines(root / "M0" / "eval.jsonl") < 3:
        assert parent.poll() is None
        time.sleep(0.05)
    before = durable(root)
    started = time.monotonic()
    os.kill(parent.pid, signal.SIGINT)
    _, stderr = parent.communicate(timeout=60)
    assert time.monotonic() - started < 15
    assert parent.returncode == 130
    assert f"To continue: srlm iterate 2 --run {root}" in stderr
    assert status(root, "M0/eval") == "interrupted"
    assert all(durable(root)[name].startswith(rows) for name, rows in before.items())
