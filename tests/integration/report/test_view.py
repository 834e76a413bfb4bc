"""What `srlm view` serves, and what it refuses."""

import http.client
import json
import re
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from srlm.errors import UserError
from srlm.report.view import serve
from srlm.run.folder import Run
from srlm.store import read_rows
from tests.helpers.page_run import ROWS, page_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return page_run(tmp_path_factory.mktemp("run") / "large")


@pytest.fixture(scope="module")
def port(run: Run) -> Iterator[int]:
    """The port of a real `srlm view`."""
    call = [sys.executable, "-m", "srlm.cli", "view", str(run.root), "--port", "0"]
    with subprocess.Popen(call, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            yield int(server.stdout.readline().strip().strip("/").rpartition(":")[2])
        finally:
            server.terminate()


def ask(port: int, path: str, host: str | None = None, method: str = "GET") -> tuple[int, str, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, headers={"Host": host or f"127.0.0.1:{port}"})
    answer = connection.getresponse()
    return answer.status, answer.read().decode(), dict(answer.getheaders())


class TestServer:
    def test_page_and_rows(self, port: int) -> None:
        status, text, headers = ask(port, "/")
        assert status == 200
        assert "connect-src 'self'" in text
        assert headers["x-frame-options"] == "DENY"
        query = urllib.parse.urlencode({"text": "question 41?", "count": 5})
        found = json.loads(ask(port, f"/rows?{query}")[1])
        assert [item["id"] for item in found["items"]] == ["M1-000041"]

    @pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "192.168.0.1"])
    @pytest.mark.parametrize("path", ["/", "/rows"])
    def test_names_that_were_made_to_point_here_get_nothing(self, port: int, host: str, path: str) -> None:
        status, text, _ = ask(port, path, host=host)
        assert status == 400
        assert "Question" not in text

    def test_localhost_is_this_machine(self, port: int) -> None:
        assert ask(port, "/rows", host=f"localhost:{port}")[0] == 200

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
    def test_nothing_can_be_written(self, port: int, method: str) -> None:
        assert ask(port, "/rows", method=method)[0] == 405

    @pytest.mark.parametrize("query", ["start=-1", "count=0", "count=101", "start=x"])
    def test_out_of_range(self, port: int, query: str) -> None:
        assert ask(port, f"/rows?{query}")[0] == 400

    @pytest.mark.parametrize("path", ["/run.json", "/../run.json", "/%2e%2e/run.json", "/etc/passwd"])
    def test_no_files_are_served(self, port: int, path: str) -> None:
        assert ask(port, path)[0] == 404

    def test_only_this_machine_is_listened_to(self, port: int) -> None:
        sockets = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
        assert re.findall(rf"^ *\d+: ([0-9A-F]+):{port:04X} \S+ 0A", sockets, re.MULTILINE) == ["0100007F"]

    def test_a_port_in_use_is_the_users_error(self, run: Run, port: int) -> None:
        with pytest.raises(UserError, match="in use"):
            serve(run, port)


def test_a_look_changes_nothing(run: Run, port: int) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.root.rglob("*")}
    ask(port, "/")
    ask(port, "/rows?text=question")
    assert {path: path.stat().st_mtime_ns for path in run.root.rglob("*")} == before
    assert len(list(read_rows(run.at(1).rollouts, dict[str, Any]))) == ROWS
