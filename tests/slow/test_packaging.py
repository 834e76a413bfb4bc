"""An installed wheel, used from another folder."""

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from srlm.report.page import SCRIPTS
from tests.helpers.places import ROOT


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
