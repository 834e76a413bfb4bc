"""The lock of a run folder, held by another process."""

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
