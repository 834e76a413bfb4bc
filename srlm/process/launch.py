"""Start a child process, show its progress from the files it writes, and see to its end.

The child's output goes to a log file. Its standard input is a pipe that nobody writes to: when this process dies,
however it dies, the pipe closes and the child ends itself (`child.die_with_parent`).
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srlm.console import progress
from srlm.errors import StageError, UserError
from srlm.process.child import DISK_FULL, NO_ROOM
from srlm.process.job import Job, result_of
from srlm.store import read_json, write_text

POLL_SECONDS = 0.2
OUT_OF_MEMORY = ("OutOfMemoryError", "out of memory", "No available memory")  # how torch and the engine call it
NOT_STARTED = "Engine core initialization failed"  # vLLM's words, which only say to look above
# An error that the engine or one of its workers logged, but for those that only miss another process.
CAUSE = re.compile(r"^\((?:EngineCore|\w*Worker)\S* pid=\d+\) ERROR .*\] (?!BrokenPipe|EOF|Connect)([\w.]+Error: .+)")
LONGEST_TEMPORARY = 56  # characters: a socket's path (at most 107) is this folder, ours in it, and 37 more
KILLED = "Signal 9 (SIGKILL) received by PID"  # how torchrun says that one of its processes was killed
GRACE_SECONDS = 5.0  # between asking a child to end and killing it
# Read by the C library before the child's first line. Memory that training gives back and takes again at each step
# stays with the process: SFT on a CPU took 18 to 20 s with these and 22 to 25 s without. What the user has set stands.
MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**25), "MALLOC_TRIM_THRESHOLD_": str(2**32)}


@dataclass
class Watch:
    """A progress bar over a growing JSONL file: what the user sees is what is safe on disk."""

    label: str
    path: Path
    total: int
    steps: bool = False  # the rows are a trainer's log, which names step and total_steps
    done: int = 0
    _offset: int = 0

    def look(self) -> None:
        """See how far the file has come; reads only what is new."""
        with suppress(FileNotFoundError), self.path.open("rb") as file:
            if self.path.stat().st_size < self._offset:  # a resumed trainer cuts its log back to the checkpoint
                self._offset = self.done = 0
            file.seek(self._offset)
            last = b""
            for line in file:  # line by line: on a rerun all that was made before is new
                if not line.endswith(b"\n"):
                    break
                self._offset += len(line)
                self.done += 1
                last = line
            if last and self.steps:
                row = json.loads(last)
                self.done, self.total = row["step"], row["total_steps"]


def hear_sigterm() -> None:
    """Take a SIGTERM for Ctrl+C from now on: the child is ended in order, and what is finished is recorded."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def run_child(
    module: str,
    job: Job,
    log: Path,
    watches: list[Watch],
    lock: int,
    processes: int = 1,
    environment: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Have a child (`python -m module JOB.json`) do the job; returns what it reports, and how it was launched.

    The job file and the result lie beside the `log`. With more `processes` than one it runs under torchrun. The
    `environment` is added to this process's own. Raises as `run_command` does.
    """
    path = log.with_suffix(".job.json")
    write_text(path, job.model_dump_json(indent=2))
    command = launch_command(module, path, processes)
    return run_command(command, result_of(path), log, watches, lock, job.lighter, environment) | {"launch": command}


def launch_command(module: str, job_file: Path, processes: int = 1) -> list[str]:
    """The command that does a job; -P: no module in the folder that the user stands in hides one of ours.

    `--standalone` takes a free port, so that runs beside each other do not collide. Under torchrun the exit code is
    torchrun's own: what counts is the job's result file.
    """
    child = [sys.executable, "-P", "-m", module, str(job_file)]
    if processes == 1:
        return child
    torchrun = ["torch.distributed.run", "--standalone", "--nproc_per_node", str(processes), "--no_python"]
    return [sys.executable, "-P", "-m", *torchrun, *child]


def run_command(
    command: list[str],
    result: Path,
    log: Path,
    watches: list[Watch],
    lock: int,
    lighter: str = "",
    environment: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Run a command to its end; returns the info in its result file.

    Raises UserError for the user's error found in the child, StageError when it crashed (`lighter`: what to do where
    its memory did not suffice), KeyboardInterrupt when the user interrupted (the child is ended first). The child
    inherits the `lock`'s file descriptor, so that a run stays locked while the child lives. Its temporary files, and
    those of all that it starts, lie in a folder that goes with it.
    """
    for old in _results(result):
        old.unlink()
    short = None if len(tempfile.gettempdir()) <= LONGEST_TEMPORARY else "/tmp"
    with (
        tempfile.TemporaryDirectory(prefix="srlm-", dir=short, ignore_cleanup_errors=True) as scratch,
        log.open("ab") as output,
    ):
        began = output.tell()
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=(lock,),
            start_new_session=True,  # Ctrl+C reaches this process alone, which then ends the child in order
            env=MEMORY | os.environ | (environment or {}) | {"PYTHONUNBUFFERED": "1", "TMPDIR": scratch},
        )
        try:
            _show(child, watches)
        finally:
            _end(child)
    return _outcome(child.returncode, result, log, began, lighter)


def _show(child: "subprocess.Popen[bytes]", watches: list[Watch]) -> None:
    with ExitStack() as stack:
        bars = [(watch, stack.enter_context(progress(watch.label, watch.total))) for watch in watches]
        running = True
        while running:
            running = child.poll() is None
            for watch, bar in bars:
                watch.look()
                bar.update(watch.done, watch.total)
            if running:
                time.sleep(POLL_SECONDS)


def _end(child: "subprocess.Popen[bytes]") -> None:
    """See that the child and all its own children are gone: ask, wait, kill."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(child.pid, sign)
        with suppress(subprocess.TimeoutExpired):
            child.wait(GRACE_SECONDS)


def _results(result: Path) -> list[Path]:
    """The result files that are there, of one process or of several, in the order in which they were written."""
    found = [path for path in (result, *result.parent.glob(f"{result.stem}.*.json")) if path.exists()]
    return sorted(found, key=lambda path: path.stat().st_mtime_ns)


def _outcome(code: int, result: Path, log: Path, began: int, lighter: str) -> dict[str, Any]:
    """What the result files say counts, whatever the exit code: under torchrun the code is torchrun's own."""
    found: list[dict[str, Any]] = [read_json(path) for path in _results(result)]
    for done in found:
        if done.get("ok"):
            return dict(done["info"])
    for wrong in found:
        if "problem" in wrong:
            raise UserError(wrong["problem"], wrong["fix"])
    if code == DISK_FULL:
        raise UserError(**NO_ROOM)
    said = [line for line in _since(log, began).splitlines() if line.strip()]
    failed = next((wrong["failed"] for wrong in found), None)
    if failed and NOT_STARTED in failed:  # an engine in a process of its own leaves in the log why
        failed = next((why[1] for line in reversed(said) if (why := CAUSE.search(line))), None)
        code = code if failed else -signal.SIGKILL
    # before what the others failed with: they only miss the one that was killed
    if code == -signal.SIGKILL or any(KILLED in line for line in said):
        way = f": {lighter}" if lighter else ""
        raise StageError(f"the child process was killed, probably for lack of memory{way} (see {log})")
    if failed:
        way = f": {lighter}" if lighter and any(word in failed for word in OUT_OF_MEMORY) else ""
        raise StageError(f"the child process failed: {failed}{way} (see {log})")
    ended = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    raise StageError(f"the child process ended with {ended}: {said[-1][:300] if said else 'no output'} (see {log})")


def _since(log: Path, began: int) -> str:
    """What this child wrote into the log: earlier ones may have written into it before."""
    with log.open("rb") as file:
        file.seek(began)
        return file.read().decode(errors="replace")
