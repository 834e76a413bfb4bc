"""What this machine has, from the files that say so."""

from pathlib import Path

import pytest

from srlm.process.machine import Machine, devices, free_memory, this_machine

GIB = 2**30


def meminfo(folder: Path, free: int) -> Path:
    path = folder / "meminfo"
    path.write_text(f"MemTotal: {64 * 2**20} kB\nMemAvailable: {free // 1024} kB\n")
    return path


def container(folder: Path, limit: str, used: int = 0, inactive: int = 0) -> Path:
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 1\ninactive_file {inactive}\n")
    return folder


def test_free_memory_is_what_the_kernel_says(tmp_path: Path) -> None:
    assert free_memory(meminfo(tmp_path, 20 * GIB), tmp_path / "none") == 20 * GIB
    assert free_memory(meminfo(tmp_path, 20 * GIB), container(tmp_path, "max")) == 20 * GIB


def test_a_container_may_have_less(tmp_path: Path) -> None:
    limited = container(tmp_path, str(8 * GIB), used=3 * GIB, inactive=GIB)
    assert free_memory(meminfo(tmp_path, 20 * GIB), limited) == 6 * GIB
    assert free_memory(meminfo(tmp_path, 2 * GIB), limited) == 2 * GIB
    assert free_memory(meminfo(tmp_path, 2 * GIB), container(tmp_path, str(GIB), used=2 * GIB)) == 0


def test_the_smallest_gpu_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Machine(0, (80 * GIB, 24 * GIB)).card == 24 * GIB
    assert Machine(0).card == 0
    gpus = [{"name": "A", "memory": 80 * GIB}]
    monkeypatch.setattr("srlm.process.machine.version", lambda name: "2.13.0+cu130")
    monkeypatch.setattr("srlm.process.machine.probe_torch", lambda: {"cuda": "13.0", "gpus": gpus})
    assert this_machine().gpus == (80 * GIB,)
    monkeypatch.setattr("srlm.process.machine.probe_torch", lambda: {"error": "libcuda is torn"})
    assert this_machine().gpus == ()
    monkeypatch.setattr("srlm.process.machine.version", lambda name: "2.13.0+cpu")  # then torch is not asked
    monkeypatch.setattr("srlm.process.machine.probe_torch", lambda: pytest.fail("asked"))
    assert this_machine().gpus == ()


def test_a_process_is_shown_some_of_the_gpus_by_the_names_that_this_one_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # as without: the machine decides
    assert devices(2, 2) == {"CUDA_VISIBLE_DEVICES": "2,3"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b,MIG-c")
    assert devices(0, 1) == {"CUDA_VISIBLE_DEVICES": "GPU-a"}
    assert devices(1, 2) == {"CUDA_VISIBLE_DEVICES": "GPU-b,MIG-c"}
