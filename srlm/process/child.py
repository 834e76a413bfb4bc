"""What a child process and its parent agree on: a job file, a result file, and that the child dies with the parent."""

import errno
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from srlm.errors import DONE, FINDING, USER_ERROR, UserError
from srlm.store import write_json

DISK_FULL = errno.ENOSPC  # exit code of a child that found no room
NO_ROOM = {
    "problem": "the disk is full",
    "fix": "make room, then run the same command again: it goes on where it stopped",
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
    "VLLM_NO_USAGE_STATS": "1",
}


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


def run_job(work: Callable[[], dict[str, Any]], result: Path) -> int:
    """Call `work()` and write what it reports, or the user's error, to `result`; returns the exit code.

    Any other exception is a bug: it goes on, to end the process with its traceback in the log.
    """
    try:
        write_json(result, {"ok": True, "info": work()})
        return DONE
    except Exception as error:
        cause = _leaf(error)
        if isinstance(cause, UserError):
            write_json(result, {"ok": False, "problem": cause.problem, "fix": cause.fix})
            return USER_ERROR
        if isinstance(cause, OSError) and cause.errno == errno.ENOSPC:
            with suppress(OSError):  # there may be no room for a result file either, hence the exit code
                write_json(result, {"ok": False} | NO_ROOM)
            return DISK_FULL
        raise


def _leaf(error: BaseException) -> BaseException:
    """The first plain exception inside nested groups (a task group wraps what its tasks raise)."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
