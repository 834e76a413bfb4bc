"""`srlm judge` against a server that does not answer: each try has to run out, and so has the wait before the next."""

from pathlib import Path

from tests.helpers.chat_server import ChatServer, serve
from tests.helpers.judge_command import points, rows, run, write


def test_an_answer_that_never_comes_is_bounded(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", rows(1))
    with serve(ChatServer(points, delay=3.0)) as server:
        done = run(server, file, "--timeout", 0.3, code=2)
        assert b"no answer in time, 6 times" in done.stderr
        assert len(server.bodies) == 6
