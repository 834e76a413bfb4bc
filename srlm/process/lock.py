"""A lock that one process holds on a folder, and that its children inherit."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from srlm.errors import UserError


@contextmanager
def locked(path: Path, what: str, fix: str) -> Iterator[int]:
    """Hold the lock file at `path` for this process; yields its file descriptor, which children inherit.

    The kernel lets go of it when the last holder ends, however it ends. Raises UserError, saying who uses `what` and
    how to go on (`fix`), while another process holds it.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.pread(file, 100, 0).decode(errors="replace").strip() or "unknown"
            raise UserError(f"{what} is in use by process {owner}", fix) from None
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()} on {os.uname().nodename}\n".encode(), 0)
        yield file
    finally:
        os.close(file)
