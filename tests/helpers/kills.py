"""Small demo runs that are killed at random moments, and what must be true of them afterwards.

A kill waits until a stage is under way and has added a random number of rows (or trainer steps), then sends SIGKILL to
the parent or to the child. The finished run is compared with an uninterrupted one: every instruction has one row, no
durable row was lost or changed, a training redoes at most one interval between checkpoints, and the trained weights of
M1 are the same to the last bit.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from srlm.generate.canaries import NAMES
from srlm.records import EvalRow, Instruction, Rollout
from srlm.run.folder import Run
from srlm.store import file_digest, read_json, read_rows

# stage -> the file whose rows show that it is under way, and about how many rows it gets
STAGES = {
    "M0/eval": ("M0/eval.jsonl", 60),
    "M1/train": ("M1/train.jsonl", 60),
    "M1/eval": ("M1/eval.jsonl", 60),
    "M1/aift": ("M1/aift/rollouts.jsonl", 60),
    "M2/train": ("M2/train.jsonl", 8),
    "M2/eval": ("M2/eval.jsonl", 60),
}
DURABLE = ("eval.jsonl", "instructions.jsonl", "rollouts.jsonl")  # trainer logs are cut back to the checkpoint
SMALL = [
    "data.eval_prompts=40",
    "data.held_out_eft=0.1",
    "instructions.count=80",
    "rollout.max_in_flight=16",
    "train.save_steps=5",
]
LAST = 2


def make_run(root: Path, settings: list[str] = SMALL) -> None:
    """A small demo run."""
    options = [f"--set={value}" for value in settings]
    subprocess.run([sys.executable, "-m", "srlm.cli", "init", str(root), "--recipe", "demo", *options], check=True)


def iterate_command(root: Path) -> list[str]:
    """What a user types to go on with the run."""
    return [sys.executable, "-m", "srlm.cli", "iterate", str(LAST), "--run", str(root)]


def kill_in(root: Path, stage: str, choose: random.Random) -> str | None:
    """Start the loop and kill it once the stage has added a random number of rows; says what was done.

    None when the whole loop ended first. A stage that ends first is killed in the next one.
    """
    before = durable(root)
    parent = subprocess.Popen(iterate_command(root), stderr=subprocess.DEVNULL)
    path, most = root / STAGES[stage][0], STAGES[stage][1]
    goal = lines(path) + choose.randint(0, most // 4)
    while parent.poll() is None and status(root, stage) != "done":
        if status(root, stage) == "running" and lines(path) >= goal:
            break
        time.sleep(0.02)
    time.sleep(choose.random() * 0.5)
    children = children_of(parent.pid)
    victim = choose.choice(["parent", "child"]) if children else "parent"
    if parent.poll() is not None:
        return None
    for pid in [parent.pid] if victim == "parent" else children:
        os.kill(pid, signal.SIGKILL)
    code = parent.wait()
    wait_until_gone(children)
    after = durable(root)
    for name, rows in before.items():
        assert after[name].startswith(rows), f"{name} lost rows that were durable"
    return f"{victim} in {stage} at {lines(path)} rows (parent's exit code {code}){redone_steps(root, stage)}"


def redone_steps(root: Path, stage: str) -> str:
    """How many trainer steps the next attempt has to make again; asserts that it is at most one interval."""
    if not stage.endswith("/train") or (root / stage[:2] / "model").exists():
        return ""
    saved = [int(path.name.split("-")[1]) for path in (root / stage[:2] / "checkpoints").glob("checkpoint-*")]
    lost = lines(root / STAGES[stage][0]) - max(saved, default=0)
    assert lost <= Run(root).config.train.save_steps, f"{lost} steps are lost"
    return f", {lost} steps to redo"


def check(killed: Path, whole: Path | None = None) -> list[str]:
    """Assert that the finished run is complete and nothing is doubled; returns what was found, in words."""
    run = Run(killed)
    found = []
    for t in range(LAST + 1):
        ids = [row.rollout.id if row.kind == "answer" else row.id for row in read_rows(run.at(t).eval, EvalRow)]
        prompts = lines(run.seed("eval_prompts"))
        expected = prompts + lines(run.seed("held_out_eft")) + len(NAMES) * min(run.config.eval.canaries, prompts)
        assert len(ids) == len(set(ids)) == expected, f"M{t}: {len(ids)} evaluation rows of {expected}"
    for t in range(1, LAST):
        kept = [row.id for row in read_rows(run.at(t).instructions, Instruction) if row.dropped is None]
        rolled = [row.id for row in read_rows(run.at(t).rollouts, Rollout)]
        assert sorted(kept) == sorted(rolled), f"M{t}: rollouts and instructions differ"
        assert len(set(rolled)) == len(rolled) == run.config.instructions.count
        found.append(f"M{t}: {len(rolled)} instructions, one rollout each")
    attempts = {name: record.attempts for name, record in run.record.stages.items()}
    found.append(f"attempts: {attempts}")
    for t in range(1, LAST + 1):
        info = run.record.stages[f"M{t}/train"].info
        found.append(f"M{t}: trained {info['steps']} steps, last resumed from step {info['resumed_from_step']}")
    if whole is not None:
        digests = [file_digest(root / "M1" / "model" / "model.safetensors") for root in (killed, whole)]
        assert digests[0] == digests[1], "M1's weights differ from the uninterrupted run's"
        found.append(f"M1's weights are those of the uninterrupted run, bit for bit ({digests[0]})")
    return found


def durable(root: Path) -> dict[str, bytes]:
    """The whole rows on disk of every file whose rows count once they are written."""
    paths = [path for name in DURABLE for path in root.glob(f"M*/**/{name}")]
    return {str(path.relative_to(root)): path.read_bytes().rpartition(b"\n")[0] for path in paths}


def status(root: Path, stage: str) -> str:
    """The stage's status in run.json."""
    record = read_json(root / "run.json")["stages"].get(stage)
    return record["status"] if record else "owed"


def lines(path: Path) -> int:
    """Whole lines of a file; 0 when there is none."""
    return path.read_bytes().count(b"\n") if path.exists() else 0


def children_of(pid: int) -> list[int]:
    """The processes that a process has started."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []


def wait_until_gone(pids: list[int], seconds: float = 30) -> None:
    """Wait for processes to end by themselves. Raises TimeoutError when one outlives its parent."""
    deadline = time.monotonic() + seconds
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes {pids} outlived their parent")
        time.sleep(0.05)


def hear_ctrl_c() -> None:
    """In a new process: a test run in the background has SIGINT ignored, and its children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
