"""Progress on a terminal."""

import subprocess
import sys


def test_several_bars_share_a_terminal() -> None:
    code = (
        "from srlm.console import progress, say\n"
        "with progress('one', 2) as one, progress('two', 4) as two:\n"
        "    one.update(2, 2); two.update(1, 4); say('[b]between[/b]')\n"
    )
    env = {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "100"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert "finished, 2/2" in done.stderr
    assert "stopped, 1/4" in done.stderr
    assert "[b]between[/b]" in done.stderr
    assert done.stdout == ""
