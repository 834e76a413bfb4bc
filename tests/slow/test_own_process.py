"""The engine in a process of vLLM's own, the path that a GPU takes: on this CPU, and it may be killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from srlm.generate.parts import PARTS, Place
from srlm.records import EvalRow
from srlm.run.folder import Run
from srlm.store import read_json, read_rows
from tests.helpers.kills import lines, make_run

pytestmark = pytest.mark.timeout(900)
SMALL = ["data.eval_prompts=24", "data.held_out_eft=0.05", "engine.replicas=1", "rollout.max_in_flight=8"]


def command(root: Path) -> list[str]:
    return [sys.executable, "-m", "srlm.cli", "iterate", "0", "--run", str(root)]


def engine_processes(parent: int) -> list[int]:
    """The engines, as vLLM names them, among all that a process has started."""
    found, open_ = [], [parent]
    while open_:
        path = Path(f"/proc/{open_.pop()}/task")
        for child in " ".join(file.read_text() for file in path.glob("*/children")).split():
            open_.append(int(child))
            if "EngineCore" in Path(f"/proc/{child}/cmdline").read_text():
                found.append(int(child))
    return found


def test_a_killed_engine_is_heard_of_at_once_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "1")
    root = tmp_path / "run"
    make_run(root, SMALL)
    parent = subprocess.Popen(command(root), stderr=subprocess.PIPE, text=True)
    rows = root / "M0" / "eval.jsonl"
    while parent.poll() is None and lines(rows) < 10:
        time.sleep(0.05)
    [engine] = engine_processes(parent.pid)
    os.kill(engine, signal.SIGKILL)
    killed = time.monotonic()
    _, said = parent.communicate()
    assert time.monotonic() - killed < 30
    assert parent.returncode == 1
    assert "vLLM's engine process ended: it was killed or ran out of memory" in said.splitlines()[-1]
    assert read_json(root / "run.json")["stages"]["M0/eval"]["status"] == "failed"
    safe = rows.read_bytes().rpartition(b"\n")[0]

    subprocess.run(command(root), check=True, capture_output=True)
    assert rows.read_bytes().startswith(safe)
    ids = [_id(row) for row in read_rows(root / "M0" / "eval.jsonl", EvalRow)]
    assert len(ids) == len(set(ids)) == PARTS["eval"].count(Place(Run(root), 0))


def _id(row: EvalRow) -> str:
    return row.rollout.id if row.kind == "answer" else row.id
