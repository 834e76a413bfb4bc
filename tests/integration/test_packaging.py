"""The package as users get it: what the quick commands import, and the environment that make sets up."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.places import ROOT
from tests.helpers.run_folder import finished_run

HEAVY = ("torch", "vllm", "transformers", "trl", "datasets", "scipy")


def heavy_imports(code: str, folder: Path) -> list[str]:
    """Which of the HEAVY modules a fresh interpreter has loaded after `code`."""
    report = f"{code}\nimport sys\nprint('HEAVY', *[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", report], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1].split()[1:]


class TestQuickCommandsStayQuick:
    def test_command_line(self, tmp_path: Path) -> None:
        assert heavy_imports("import srlm.cli", tmp_path) == []

    @pytest.mark.parametrize("model", [None, "M1"])
    def test_inspect(self, tmp_path: Path, model: str | None) -> None:
        finished_run(tmp_path / "run")
        call = f"inspect_run(Run(Path('run')), {model!r}, as_json=False)"
        code = f"from pathlib import Path\nfrom srlm.report import inspect_run\nfrom srlm.run.folder import Run\n{call}"
        assert heavy_imports(code, tmp_path) == []

    def test_iterate_before_its_children(self, tmp_path: Path) -> None:
        assert heavy_imports("import srlm.iterate", tmp_path) == []

    def test_doctor(self, tmp_path: Path) -> None:
        assert heavy_imports("from srlm.doctor import doctor\ndoctor()", tmp_path) == []


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
def test_another_lock_makes_the_environment_anew(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("pyproject.toml", "requirements/cpu.txt", "requirements/gpu.txt", ".venv/.ready"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / ".venv/.ready").write_text("requirements/gpu.txt\n")

    def planned(*arguments: str) -> str:
        command = ["make", "-n", "setup", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    assert "pip install" not in planned()  # what .venv was made from is remembered
    assert "pip install" not in planned("LOCK=requirements/gpu.txt")
    other = planned("LOCK=requirements/cpu.txt")
    assert "rm -rf .venv\n" in other
    assert "pip install --no-deps -r requirements/cpu.txt" in other.partition("rm -rf .venv\n")[2]
