"""The child's side: `main` reads the job, does the work, leaves a result; and the child dies with its parent."""

import errno
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from srlm.errors import DONE, FINDING, USER_ERROR, StageError, UserError
from srlm.process.job import Job, result_of
from srlm.store import write_json

AnyJob = TypeVar("AnyJob", bound=Job)

DISK_FULL = errno.ENOSPC  # exit code of a child that found no room
NO_ROOM = {
    "problem": "the disk is full",
    "fix": "free some space, then run the same command again: it continues where it stopped",
}


# Read by the libraries when they are imported. What the user has set stands.
ENVIRONMENT = {
    # Threads that wait actively for each other made a training on shared cores take 5 times as long.
    # A short spin before they sleep is cheap: an evaluation took 12.7 s with 5,000 turns, 16.6 s with none.
    "OMP_WAIT_POLICY": "passive",
    "GOMP_SPINCOUNT": "5000",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "warning",
    "TOKENIZERS_PARALLELISM": "false",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",  # a fork cannot use a GPU that this process has touched
    "VLLM_NO_USAGE_STATS": "1",
}


def main(kind: type[AnyJob], work: Callable[[AnyJob], dict[str, Any]]) -> int:
    """Be the child: `python -m MODULE JOB.json`. Does the job of that `kind` and returns the exit code.

    What `work` imports is imported after the environment is set. Of several processes under torchrun each does the
    work, and the first one reports; each may fail.
    """
    die_with_parent()
    path = Path(sys.argv[1])
    job = kind.model_validate_json(path.read_bytes())
    set_environment(job.weights)
    rank = int(os.environ.get("RANK", "0"))
    result = result_of(path, rank)
    result.unlink(missing_ok=True)  # of an earlier attempt
    return run_job(lambda: work(job), result, reports=rank == 0)


def set_environment(model: str = "") -> None:
    """Set `ENVIRONMENT`, before torch is imported; for a local model folder no hub is asked either."""
    os.environ.update(ENVIRONMENT | os.environ)
    if model and Path(model).is_dir():
        os.environ["HF_HUB_OFFLINE"] = "1"


def die_with_parent() -> None:
    """End this process, and the group that it leads, when standard input closes: the parent has died, however it died.

    Everything a child writes is safe against a sudden end, so there is nothing to clean up.
    """

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 1024):
            pass
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)  # with all that it started: vLLM's engine process watches nobody
        os._exit(FINDING)

    threading.Thread(target=watch, daemon=True).start()


def run_job(work: Callable[[], dict[str, Any]], result: Path, reports: bool = True) -> int:
    """Call `work()` and write to `result` what it returns, if it `reports`, or why it failed; returns the exit code.

    An exception that is neither the user's error nor a StageError is a bug: it is raised again, with its traceback in
    the log.
    """

    def fail(code: int, **why: str) -> int:
        with suppress(OSError):  # there may be no room for a result file: the exit code says the most of it
            write_json(result, {"ok": False} | why)
        return code

    try:
        info = work()
        if reports:
            write_json(result, {"ok": True, "info": info})
        return DONE
    except Exception as error:
        cause = _leaf(error)
        if isinstance(cause, UserError):
            return fail(USER_ERROR, problem=cause.problem, fix=cause.fix)
        if isinstance(cause, OSError) and cause.errno == errno.ENOSPC:
            return fail(DISK_FULL, **NO_ROOM)
        if isinstance(cause, StageError):
            return fail(FINDING, failed=str(cause))
        words = str(cause).strip().splitlines()
        fail(FINDING, failed=": ".join([type(cause).__name__, *words[:1]]))
        raise


def _leaf(error: BaseException) -> BaseException:
    """The first plain exception inside nested groups (a task group wraps what its tasks raise)."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
