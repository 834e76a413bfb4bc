"""Run folders that srlm 0.1.0 made before its modules were rearranged; tests/data/old_runs/README.md describes them."""

import tarfile
from pathlib import Path

from tests.helpers.places import DATA

PACKED = DATA / "old_runs"
NAMES = ("finished", "in_sft", "in_dpo")
BASE = "@BASE@"  # stands for the base model's folder in the packed files
HOLD_PATHS = ("config.toml", "run.json")


def old_run(name: str, folder: Path) -> Path:
    """Unpack the run `name` (one of NAMES) and the base model under `folder`; returns the run folder, ready to go on.

    Several runs may be unpacked under one folder: they share the base model.
    """
    for archive in ("base", name):
        with tarfile.open(PACKED / f"{archive}.tar.gz") as tar:
            tar.extractall(folder, filter="data")
    run, base = folder / name, (folder / "base").resolve()
    for path in (run / file for file in HOLD_PATHS):
        path.write_text(path.read_text(encoding="utf-8").replace(BASE, str(base)), encoding="utf-8")
    return run
