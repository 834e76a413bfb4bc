"""`srlm judge` as a process, against a small server on loopback."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.helpers.chat_server import ChatServer

KEY = "sk-very-secret-7f3a"


def points(prompt: str) -> str:
    """A judge that counts the exclamation marks of the answer."""
    answer = prompt.partition("### Answer\n")[2].partition("### Review")[0]
    return f"Some words.\nScore: {answer.count('!')}"


def command(server: ChatServer, *arguments: Any) -> list[str]:
    judge = ["--endpoint", server.url, "--model", "m", "--samples", "2"]
    return [sys.executable, "-m", "srlm.cli", "judge", *map(str, arguments), *judge]


def run(server: ChatServer, *arguments: Any, code: int = 0, stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    environment = os.environ | {"OPENAI_API_KEY": KEY}
    done = subprocess.run(command(server, *arguments), input=stdin, capture_output=True, env=environment, timeout=200)
    assert done.returncode == code, done.stderr.decode()
    assert KEY not in (done.stdout + done.stderr).decode()
    return done


def rows(count: int) -> list[dict[str, Any]]:
    return [{"prompt": f"question {n}", "response": "!" * (n % 6), "kept": {"n": [n, None, 0.1]}} for n in range(count)]


def write(path: Path, values: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]
