"""A lock that one process holds on a folder, and that its children inherit."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from srlm.console import say
from srlm.errors import UserError

HELD = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}  # by another process
NO_LOCKS = {errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.ENOSYS, errno.EINVAL}  # the file system has none


@contextmanager
def locked(path: Path, what: str, fix: str) -> Iterator[int]:
    """Hold the lock file at `path` for this process; yields its file descriptor, which children inherit.

    The kernel lets go of it when the last holder ends, however it ends. Where the file system has no locks (some
    network and object stores), that is said, and the work goes on. Raises UserError, saying who uses `what` and how to
    go on (`fix`), while another process holds it.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in HELD:
                owner = os.pread(file, 100, 0).decode(errors="replace").strip() or "unknown"
                raise UserError(f"{what} is in use by process {owner}", fix) from None
            if error.errno not in NO_LOCKS:
                raise
            say(f"Note: the file system of {what} has no locks. See to it that only one srlm works there at a time.")
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()} on {os.uname().nodename}\n".encode(), 0)
        yield file
    finally:
        os.close(file)
