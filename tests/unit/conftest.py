"""What makes a test a unit test: no process is started and no torch is loaded. Others belong in tests/integration.

What the real machine has plays no part either: each test begins on one without a GPU.
"""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from srlm.process.machine import Machine
from tests.helpers.machines import GIB, pretend


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def refuse(*arguments: Any, **_: Any) -> None:
        pytest.fail(f"a unit test starts a process: {arguments}")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    pretend(monkeypatch, Machine(memory=64 * GIB))
    loaded = "torch" in sys.modules  # by an integration test, in a run of both
    yield
    assert loaded or "torch" not in sys.modules, "a unit test loads torch"
