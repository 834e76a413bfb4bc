"""Child processes: progress from their files, their ends, and that they never outlive the parent."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from srlm.errors import StageError, UserError
from srlm.process.job import Job
from srlm.process.launch import Watch, launch_command, run_child, run_command
from tests.helpers.kills import hear_ctrl_c


def child(tmp_path: Path, body: str) -> list[str]:
    """A command that runs `body` in a process of its own."""
    script = tmp_path / "child.py"
    script.write_text(f"import os, sys, json, time\nfrom pathlib import Path\nhere = Path({str(tmp_path)!r})\n{body}\n")
    return [sys.executable, str(script)]


def run(tmp_path: Path, body: str, watches: list[Watch] | None = None, lighter: str = "") -> dict:
    command, result = child(tmp_path, body), tmp_path / "result.json"
    with (tmp_path / "lock").open("w") as lock:
        return run_command(command, result, tmp_path / "log", watches or [], lock.fileno(), lighter)


def result(value: dict) -> str:
    return f"(here / 'result.json').write_text(json.dumps({value!r}))"


def test_what_the_child_reports_comes_back(tmp_path: Path) -> None:
    assert run(tmp_path, result({"ok": True, "info": {"rows": 3}})) == {"rows": 3}


def test_the_environment_of_a_child_may_have_more_than_ours(tmp_path: Path) -> None:
    body = "(here / 'result.json').write_text(json.dumps({'ok': True, 'info': {'seen': os.environ['SEEN']}}))"
    command, result = child(tmp_path, body), tmp_path / "result.json"
    with (tmp_path / "lock").open("w") as lock:
        found = run_command(command, result, tmp_path / "log", [], lock.fileno(), environment={"SEEN": "3"})
    assert found == {"seen": "3"}


def test_the_users_error_in_the_child_is_the_parents(tmp_path: Path) -> None:
    body = result({"ok": False, "problem": "x is wrong", "fix": "mend x"}) + "; sys.exit(2)"
    with pytest.raises(UserError, match="x is wrong: mend x"):
        run(tmp_path, body)


def test_a_crash_names_its_last_line_and_the_log(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"exit code 1: ValueError: out of luck \(see .*log\)"):
        run(tmp_path, "raise ValueError('out of luck')")
    assert "Traceback" in (tmp_path / "log").read_text()


def test_a_killed_child_is_named_and_an_old_result_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json.dumps({"ok": True, "info": {}}))
    with pytest.raises(StageError, match="was killed, probably for lack of memory: take less"):
        run(tmp_path, "os.kill(os.getpid(), 9)", lighter="take less")


def test_a_job_goes_to_the_child_and_its_report_comes_back(tmp_path: Path) -> None:
    """By the module's name, and not to a module of that name in the folder where the user stands."""
    (tmp_path / "echo_job.py").write_text(
        "import sys\nfrom srlm.process.child import main\nfrom srlm.process.job import Job\n"
        "class Echo(Job):\n    word: str\n"
        "if __name__ == '__main__':\n    sys.exit(main(Echo, lambda job: {'said': job.word}))\n"
    )

    class Echo(Job):
        word: str

    with (tmp_path / "lock").open("w") as lock, pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        with pytest.raises(StageError, match="No module named echo_job"):
            run_child("echo_job", Echo(word="hello"), tmp_path / "a.log", [], lock.fileno())
        patch.setenv("PYTHONPATH", str(tmp_path))
        found = run_child("echo_job", Echo(word="hello"), tmp_path / "b.log", [], lock.fileno())
    assert found["said"] == "hello"
    assert found["launch"] == launch_command("echo_job", tmp_path / "b.job.json")


def test_several_processes_start_as_safely_as_one() -> None:
    command = launch_command("srlm.train", Path("a.job.json"), 2)
    assert [command[at + 1 :][:2] for at, part in enumerate(command) if part == "-P"] == [
        ["-m", "torch.distributed.run"],
        ["-m", "srlm.train"],
    ]


def test_memory_that_does_not_suffice_is_told_with_what_takes_less(tmp_path: Path) -> None:
    body = "from srlm.process.child import run_job\n"
    body += "class OutOfMemoryError(RuntimeError): pass\n"
    body += "def work(): raise OutOfMemoryError('CUDA out of memory. Tried to allocate 2 GiB\\nmore')\n"
    body += "run_job(work, here / 'result.json')"
    with pytest.raises(StageError, match=r"OutOfMemoryError: CUDA out of memory. Tried .* 2 GiB: take less \(see"):
        run(tmp_path, body, lighter="take less")
    # the other process is the one that says why it failed: it misses the one that was killed
    torchrun = "(here / 'result.1.json').write_text(json.dumps({'ok': False, 'failed': 'Connection closed by peer'}));"
    torchrun += "print('  traceback : Signal 9 (SIGKILL) received by PID 77'); print('====='); sys.exit(1)"
    with pytest.raises(StageError, match="was killed, probably for lack of memory: take less"):
        run(tmp_path, torchrun, lighter="take less")


def test_why_an_engine_did_not_start_is_found_in_the_log(tmp_path: Path) -> None:
    """As vLLM prints it: the engine's own process says why, and the process that waits for it says where to look."""
    body = "from srlm.process.child import run_job\n"
    body += (
        "print('(EngineCore pid=1) ERROR 11-25 20:07:31 [core.py:9] ValueError: No available memory for the cache')\n"
    )
    body += "print('(Worker pid=2) ERROR 11-25 20:07:32 [w.py:9] BrokenPipeError: [Errno 32] Broken pipe')\n"
    body += "print('resource_tracker: There appear to be 1 leaked objects')\n"
    body += "def work(): raise RuntimeError('Engine core initialization failed. See root cause above. Failed: {}')\n"
    body += "run_job(work, here / 'result.json')"
    (tmp_path / "log").write_text("ValueError: of an earlier child\n")
    with pytest.raises(StageError, match=r"failed: ValueError: No available memory for the cache: take less \(see"):
        run(tmp_path, body, lighter="take less")


def test_an_engine_that_was_killed_while_it_loaded_says_so(tmp_path: Path) -> None:
    body = "from srlm.process.child import run_job\n"
    body += "def work(): raise RuntimeError('Engine core initialization failed. See root cause above. Failed: {}')\n"
    body += "run_job(work, here / 'result.json')"
    with pytest.raises(StageError, match="was killed, probably for lack of memory: take less"):
        run(tmp_path, body, lighter="take less")


def test_several_processes_fail_at_once_and_each_is_heard_whole(tmp_path: Path) -> None:
    """Each has a result file of its own; the user's error counts before what the others miss."""
    (tmp_path / "ranks.py").write_text(
        "import sys\nfrom srlm.errors import UserError\nfrom srlm.process.child import main\n"
        "from srlm.process.job import Job\nimport os, time\nfrom pathlib import Path\n"
        "def work(job):\n"
        "    if os.environ['RANK'] == '1':\n        raise UserError('rows are wrong', 'mend them')\n"
        "    while not Path(sys.argv[1]).with_name('a.result.1.json').exists():\n        time.sleep(0.05)\n"
        "    raise RuntimeError('the other one is gone ' * 20)\n"
        "if __name__ == '__main__':\n    sys.exit(main(Job, work))\n"
    )
    with (tmp_path / "lock").open("w") as lock, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path))
        with pytest.raises(UserError, match="rows are wrong: mend them"):
            run_child("ranks", Job(), tmp_path / "a.log", [], lock.fileno(), processes=2)


def test_temporary_files_that_somebody_still_writes_do_no_harm(tmp_path: Path) -> None:
    body = "import subprocess, tempfile\n"
    touch = "for n in range(400): pathlib.Path(sys.argv[1], str(n)).touch(); time.sleep(.01)"
    body += f"loop = 'import sys, time, pathlib\\n{touch}'\n"
    body += "subprocess.Popen([sys.executable, '-c', loop, tempfile.gettempdir()], start_new_session=True)\n"
    body += "time.sleep(0.3)\n" + result({"ok": True, "info": {"rows": 3}})
    assert run(tmp_path, body)["rows"] == 3


def test_temporary_files_go_with_the_child(tmp_path: Path) -> None:
    body = "import tempfile; Path(tempfile.gettempdir(), 'left').touch()\n"
    body += "(here / 'place').write_text(tempfile.gettempdir())\n" + result({"ok": True, "info": {}})
    run(tmp_path, body)
    assert not Path((tmp_path / "place").read_text()).exists()


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    body = "from srlm.process.child import run_job\n"
    body += "def work(): raise ExceptionGroup('g', [OSError(28, 'No space left on device')])\n"
    body += "sys.exit(run_job(work, here / 'result.json'))"
    with pytest.raises(UserError, match="the disk is full: free some space"):
        run(tmp_path, body)


def test_the_result_counts_whatever_the_exit_code(tmp_path: Path) -> None:
    """torchrun ends with 1 whatever its processes end with."""
    assert run(tmp_path, result({"ok": True, "info": {"rows": 3}}) + "; sys.exit(1)") == {"rows": 3}
    body = "from srlm.process.child import run_job\n"
    body += "def work(): raise OSError(28, 'No space left on device')\n"
    body += "run_job(work, here / 'result.json')\n"
    with pytest.raises(UserError, match="the disk is full: free some space"):
        run(tmp_path, body + "sys.exit(1)")


def test_a_full_disk_without_room_for_a_result_is_told_by_the_exit_code(tmp_path: Path) -> None:
    body = "from srlm.process import child\n"
    body += "def full(*_): raise OSError(28, 'No space left on device')\n"
    body += "child.write_json = full\n"
    body += "sys.exit(child.run_job(dict, here / 'result.json'))"
    with pytest.raises(UserError, match="the disk is full: free some space"):
        run(tmp_path, body)


def test_progress_counts_whole_rows_and_a_trainers_steps(tmp_path: Path) -> None:
    rows, log = tmp_path / "rows.jsonl", tmp_path / "train.jsonl"
    watch, steps = Watch("rows", rows, 3), Watch("steps", log, 9, steps=True)
    watch.look()
    assert watch.done == 0
    rows.write_bytes(b"{}\n{}\n{torn")
    watch.look()
    assert watch.done == 2
    rows.write_bytes(b"{}\n{}\n{}\n")
    watch.look()
    assert watch.done == 3
    log.write_text('{"step": 1, "total_steps": 40}\n{"step": 2, "total_steps": 40}\n')
    steps.look()
    assert (steps.done, steps.total) == (2, 40)
    log.write_text('{"step": 1, "total_steps": 40}\n')  # a resumed trainer cuts its log back
    steps.look()
    assert steps.done == 1


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(condition: object, seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks at /proc")
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_the_child_and_its_own_children_end_with_the_parent(tmp_path: Path, sign: int) -> None:
    body = "from srlm.process.child import die_with_parent; die_with_parent()\n"
    body += "grandchild = os.fork()\n"
    body += "if grandchild == 0: die_with_parent()\n"
    body += "(here / f'pid-{os.getpid()}').touch()\n"
    body += "time.sleep(300)"
    command = child(tmp_path, body)
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from pathlib import Path; from srlm.process.launch import run_command\n"
            f"run_command({command!r}, Path('r.json'), Path('log'), [], sys.stderr.fileno())",
        ],
        cwd=tmp_path,
        stderr=subprocess.DEVNULL,
        preexec_fn=hear_ctrl_c,
    )
    assert wait_for(lambda: len(list(tmp_path.glob("pid-*"))) == 2)
    pids = [int(path.name[4:]) for path in tmp_path.glob("pid-*")]
    os.kill(parent.pid, sign)
    parent.wait(20)
    assert wait_for(lambda: not any(alive(pid) for pid in pids))
