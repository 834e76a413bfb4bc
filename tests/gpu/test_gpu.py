"""The loop on a GPU: `make test-gpu` in an environment made from requirements/gpu.txt."""

import subprocess
from pathlib import Path

import pytest

from srlm.run.folder import Run
from tests.helpers.kills import check, iterate_command, make_run

pytestmark = pytest.mark.timeout(1800)


def test_the_loop_on_a_gpu(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    root = tmp_path / "run"
    make_run(root)
    done = subprocess.run(iterate_command(root), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert check(root)
    assert Run(root).record.stages["M2/train"].info["device"].startswith("cuda")
