"""What this machine has to run on: its GPUs, and memory. The one place that says so.

Torch is asked in a child process: a broken installation is then one line, and this process stays light.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PROBE_SECONDS = 120  # importing torch from a cold disk takes tens of seconds
CGROUP = Path("/sys/fs/cgroup")  # in a container: its own limits, where it has any

_PROBE = """
import json, torch
gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
found = [{"name": gpu.name, "memory": gpu.total_memory} for gpu in gpus]
print("PROBE" + json.dumps({"cuda": torch.version.cuda, "gpus": found}))
"""


@dataclass(frozen=True)
class Machine:
    """Bytes of memory that processes can still get, and bytes that each GPU has (none: all runs on the CPU)."""

    memory: int
    gpus: tuple[int, ...] = ()

    @property
    def card(self) -> int:
        """Bytes of the smallest GPU: processes and engines share work evenly. 0 where there is none."""
        return min(self.gpus, default=0)


def this_machine() -> Machine:
    """The machine that this process runs on. A torch that does not start counts as no GPU: `srlm doctor` says why."""
    try:
        without = version("torch").endswith("+cpu")  # this build sees none, and asking takes seconds
    except PackageNotFoundError:
        without = True
    probe = {} if without else probe_torch()
    return Machine(free_memory(), tuple(gpu["memory"] for gpu in probe.get("gpus", [])))


def devices(first: int, count: int) -> dict[str, str]:
    """The environment in which a process sees only `count` of this process's GPUs, from number `first` on."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")  # numbers, or names such as GPU-..., whatever the user has given
    names = visible.split(",") if visible else [str(number) for number in range(first + count)]
    return {"CUDA_VISIBLE_DEVICES": ",".join(names[first : first + count])}


@cache
def probe_torch() -> dict[str, Any]:
    """{"cuda": version or None, "gpus": [{"name", "memory"}]} as torch sees it, or {"error": its last words}.

    Asked once: it takes seconds.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE], capture_output=True, text=True, timeout=PROBE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return {"error": f"no answer within {PROBE_SECONDS} s"}
    for line in done.stdout.splitlines():
        if line.startswith("PROBE"):
            found: dict[str, Any] = json.loads(line.removeprefix("PROBE"))
            return found
    return {"error": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]}


def free_memory(meminfo: Path = Path("/proc/meminfo"), cgroup: Path = CGROUP) -> int:
    """Bytes of memory that processes can still get: of the machine's, and of a container's limit."""
    lines = meminfo.read_text().splitlines()
    free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    try:
        limit, used = (int((cgroup / name).read_text()) for name in ("memory.max", "memory.current"))
        stat = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no such files, or "max": no limit
        return free
    return max(0, min(free, limit - used + int(stat.get("inactive_file", 0))))  # file pages are given back when needed
