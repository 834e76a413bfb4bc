"""Checkpoints that can be trusted: sealed when complete, recognised when torn, bound to their job.

The trainer writes a checkpoint file by file; a crash can leave any part of one. A checkpoint counts once its seal lies
in it: the sizes of all its files and the digest of the job, written after the files are on the disk.
"""

import os
import shutil
from collections.abc import Container
from pathlib import Path
from typing import Any

from srlm.errors import UserError
from srlm.store import read_json, write_json

SEAL = "complete.json"


def seal(checkpoint: Path, job: str, longest_first: bool) -> None:
    """Flush the checkpoint's files to the disk, then mark it as complete and as made by this job.

    `longest_first` is the row order it was made with (`batches.StepOrder`).
    """
    files = [path for path in checkpoint.rglob("*") if path.is_file()]
    for path in files:
        flush(path)
    sizes = {str(path.relative_to(checkpoint)): path.stat().st_size for path in files}
    write_json(checkpoint / SEAL, {"job": job, "longest_first": longest_first, "files": sizes})


def newest(folder: Path, jobs: Container[str]) -> Path | None:
    """The newest complete checkpoint. Raises UserError when it was made from other rows or settings than the `jobs`."""
    for checkpoint in _by_step(folder):
        found = _sealed(checkpoint)
        if found is None:
            continue
        if found["job"] not in jobs:
            raise UserError(f"{checkpoint} was made from other rows or settings", f"move {folder} away to start over")
        return checkpoint
    return None


def step_of(checkpoint: Path | None) -> int:
    """The optimizer step a checkpoint was made at; 0 without one."""
    return int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0


def longest_first(checkpoint: Path | None) -> bool:
    """The row order to go on in. In another one, rows would be seen twice or never.

    Seals did not name it while there was only one, without the longest row first.
    """
    return bool(read_json(checkpoint / SEAL).get("longest_first", False)) if checkpoint else True


def remove_torn(folder: Path) -> None:
    """Remove what a crash left half-written."""
    for checkpoint in _by_step(folder):
        if _sealed(checkpoint) is None:
            shutil.rmtree(checkpoint)


def keep_newest(folder: Path, count: int) -> None:
    """Remove all but the newest `count` checkpoints, and the folder when nothing is left in it."""
    for checkpoint in _by_step(folder)[count:]:
        shutil.rmtree(checkpoint)
    if folder.is_dir() and not count:
        shutil.rmtree(folder)


def flush(path: Path) -> None:
    """Force a written file to the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _by_step(folder: Path) -> list[Path]:
    """The folder's checkpoints, newest first."""
    return sorted(folder.glob("checkpoint-*"), key=step_of, reverse=True)


def _sealed(checkpoint: Path) -> dict[str, Any] | None:
    """The seal of a complete checkpoint, else None."""
    if not (checkpoint / SEAL).is_file():
        return None
    found: dict[str, Any] = read_json(checkpoint / SEAL)
    files = {checkpoint / name: size for name, size in found["files"].items()}
    whole = all(path.is_file() and path.stat().st_size == size for path, size in files.items())
    return found if whole else None
