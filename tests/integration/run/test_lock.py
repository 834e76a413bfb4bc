"""The lock of a run folder, held by another process."""

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from srlm.errors import UserError
from tests.helpers.run_folder import bare_run


def test_the_lock_holds_against_another_process_and_goes_with_its_owner(tmp_path: Path) -> None:
    run = bare_run(tmp_path / "r")
    hold = "import sys, time; from pathlib import Path; from srlm.run.folder import Run\n"
    hold += "with Run(Path(sys.argv[1])).lock(): print('held', flush=True); time.sleep(60)"
    other = subprocess.Popen([sys.executable, "-c", hold, str(run.root)], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    with pytest.raises(UserError, match=f"in use by process {other.pid} "), run.lock():
        pass
    other.kill()
    other.wait()
    with run.lock():
        pass


@pytest.mark.parametrize("number", [errno.ENOTSUP, errno.ENOLCK, errno.EINVAL])
def test_a_file_system_without_locks_is_no_run_in_use(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def flock(*_: int) -> None:
        raise OSError(number, os.strerror(number))

    run = bare_run(tmp_path / "r")
    monkeypatch.setattr(fcntl, "flock", flock)
    with run.lock() as file:
        assert os.fstat(file)
    said = capsys.readouterr().err
    assert said.count("has no locks") == 1
    assert str(os.getpid()) in (run.root / "run.lock").read_text()


def test_another_error_of_the_lock_is_not_taken_for_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: int) -> None:
        raise OSError(errno.EIO, "broken disk")

    run = bare_run(tmp_path / "r")
    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match="broken disk"), run.lock():
        pass
