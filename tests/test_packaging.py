"""The package as users get it: what the quick commands import, and an installed wheel used from another folder."""

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from run_folder import finished_run

from srlm.report.page import SCRIPTS

ROOT = Path(__file__).parent.parent
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


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run([sys.executable, "-m", "pip", *build], check=True)
    return next(folder.glob("srlm-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `srlm` command of a new environment: the wheel and the locked dependencies of this one."""
    home = tmp_path_factory.mktemp("venv")
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", str(wheel)], check=True)
    here = next(path for path in sys.path if path.endswith("site-packages"))
    there = next((home / "lib").glob("python*/site-packages"))
    (there / "locked.pth").write_text(f"{here}\n")  # behind the wheel's own files: .pth files in it are not followed
    return home / "bin" / "srlm"


@pytest.mark.slow
class TestInstalledWheel:
    def call(self, srlm: Path, folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        return subprocess.run(
            [srlm, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )

    def test_everything_is_inside(self, wheel: Path) -> None:
        names = zipfile.ZipFile(wheel).namelist()
        for name in (
            "srlm/prompts_default/judge.txt",
            "srlm/recipes/demo.toml",
            "srlm/demo/base/model.safetensors",
            "srlm/demo/data/ift.jsonl",
            "srlm/report/assets/page.html",
            "srlm/report/assets/style.css",
            *(f"srlm/report/assets/{script}" for script in SCRIPTS),
        ):
            assert name in names
        assert not [name for name in names if name.startswith(("tests", "scratch", "runs"))]

    def test_it_is_not_the_checkout_that_runs(self, installed: Path, tmp_path: Path) -> None:
        code = "import srlm; print(srlm.__file__)"
        python = installed.with_name("python")
        found = subprocess.run([python, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
        assert not found.startswith(str(ROOT))

    def test_commands_work_from_another_folder(self, installed: Path, tmp_path: Path) -> None:
        helped = self.call(installed, tmp_path, "--help")
        assert helped.returncode == 0, helped.stderr
        assert "iterate" in helped.stdout
        examined = self.call(installed, tmp_path, "doctor")
        assert examined.returncode == 0, examined.stdout
        made = self.call(installed, tmp_path, "init", "x", "--recipe", "demo")
        assert made.returncode == 0, made.stderr
        for name in ("run.json", "config.toml", "prompts/judge.txt", "seed/ift.jsonl"):
            assert (tmp_path / "x" / name).is_file()
        shown = self.call(installed, tmp_path, "inspect", "x")
        assert shown.returncode == 0, shown.stderr
        written = self.call(installed, tmp_path, "inspect", "x", "--html")
        assert written.returncode == 0, written.stderr
        assert (tmp_path / "x" / "report.html").is_file()
