"""Machines that there are none of here: the one way in which tests pretend to be on another."""

import pytest

from srlm.process.machine import Machine

GIB = 2**30
CARD = 80 * GIB


def pretend(monkeypatch: pytest.MonkeyPatch, machine: Machine) -> None:
    """Whoever asks what there is to run on is told of this machine."""
    gpus = [{"name": "a GPU", "memory": memory} for memory in machine.gpus]
    monkeypatch.setattr("srlm.process.machine.version", lambda name: "2.13.0+cu130")
    monkeypatch.setattr("srlm.process.machine.probe_torch", lambda: {"cuda": "13.0", "gpus": gpus})
    monkeypatch.setattr("srlm.process.machine.free_memory", lambda: machine.memory)


def with_gpus(count: int, card: int = CARD) -> Machine:
    """So many alike, and memory to spare."""
    return Machine(memory=10**12, gpus=(card,) * count)
