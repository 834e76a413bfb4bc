"""The train step as a process of its own, as the parent starts it."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.train_jobs import Make, dpo_rows, log_of, output_of, result, run, sft_rows, start, weights
from tests.helpers.wandb_rows import rows_of


@pytest.fixture
def processes() -> Iterator[list[Any]]:
    """Processes to be ended with the test."""
    started: list[Any] = []
    yield started
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.parametrize("algorithm", ["sft", "dpo"])
def test_killed_process_goes_on_to_the_same_weights(make: Make, processes: list[Any], algorithm: str) -> None:
    straight, job = (make(algorithm, name, optimizer={"epochs": 30}) for name in ("straight", "killed"))
    processes.append(start(straight))
    assert processes[-1].wait(300) == 0
    processes.append(victim := start(job))
    while not job.log.exists() or len(job.log.read_text().splitlines()) < 25:
        assert victim.poll() is None
        time.sleep(0.005)
    victim.kill()
    victim.wait()
    assert not job.out.exists()
    processes.append(start(job))
    assert processes[-1].wait(300) == 0
    found = result(job)
    assert found["ok"]
    assert found["info"]["resumed_from_step"] >= 22
    assert weights(job) == weights(straight)
    assert [row["step"] for row in log_of(job)] == list(range(1, 91))


def test_child_ends_with_its_parent(make: Make, processes: list[Any]) -> None:
    job = make(optimizer={"epochs": 3000})
    processes.append(child := start(job))
    while not job.log.exists():
        assert child.poll() is None
        time.sleep(0.05)
    child.stdin.close()
    assert child.wait(30) != 0
    assert not job.out.exists()


def test_users_error_of_the_process_is_in_the_result(make: Make, processes: list[Any]) -> None:
    job = make(rows=[])
    processes.append(start(job))
    assert processes[-1].wait(120) == 2
    assert result(job) == {
        "ok": False,
        "problem": f"{job.rows}: no rows to train on (the file is empty)",
        "fix": "check the rows",
    }


@pytest.mark.parametrize("algorithm", ["sft", "dpo"])
def test_two_processes_do_what_one_does(make: Make, processes: list[Any], algorithm: str) -> None:
    """16 rows in batches of 8, so that both see the same rows in each step."""
    rows = dpo_rows(16) if algorithm == "dpo" else sft_rows(16)
    one, two = make(algorithm, "one", rows), make(algorithm, "two", rows, train={"num_processes": 2})
    info = run(one)
    processes.append(start(two, 2))
    assert processes[-1].wait(300) == 0, output_of(two).read_text()[-3000:]
    assert (info["world_size"], result(two)["info"]["world_size"]) == (1, 2)
    for name in ("loss", "grad_norm"):
        assert [r[name] for r in log_of(two)] == pytest.approx([r[name] for r in log_of(one)], rel=2e-3)
    assert [r["tokens"] for r in log_of(two)] == [r["tokens"] for r in log_of(one)]
    assert len(log_of(two)) == 4


def test_wandb_offline_has_a_row_a_step_in_one_run(
    make: Make, processes: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    job = make(name="M1", train={"report_to": ["wandb"]})
    processes.append(start(job))
    assert processes[-1].wait(300) == 0
    [folder] = (job.log.parent / "wandb").glob(f"offline-run-*-M1-{job.digest()}")
    losses = [row["train/loss"] for row in rows_of(folder) if "train/loss" in row]
    assert losses == pytest.approx([row["loss"] for row in log_of(job)])
    assert result(job)["info"]["trackers"] == []


def test_a_tracker_that_fails_ends_no_training(
    make: Make, processes: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("WANDB_API_KEY", "WANDB_MODE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    job = make(train={"report_to": ["wandb"]})
    processes.append(start(job))
    assert processes[-1].wait(300) == 0
    [problem] = result(job)["info"]["trackers"]
    assert problem.startswith("wandb failed and is left out: UsageError: No API key")
    assert len(log_of(job)) == 6
