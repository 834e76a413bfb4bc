"""`srlm judge` with the real engine: a vLLM server on loopback, and the same model in process."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from srlm.packaged import DEMO

COUNT = 40


@contextmanager
def vllm_serve(log: Path, port: int) -> Iterator["subprocess.Popen[bytes]"]:
    """vLLM's own server of the demo model; it is ended with all that it started."""
    arguments = f"--host 127.0.0.1 --port {port} --served-model-name demo --dtype float32 --enforce-eager"
    arguments += " --max-model-len 512 --no-enable-chunked-prefill --max-num-batched-tokens 8192"
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(DEMO / "base")]
    with log.open("wb") as output:
        server = subprocess.Popen(
            [*command, *arguments.split()],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "1"},
        )
    try:
        deadline = time.monotonic() + 240
        while not healthy(port):
            assert server.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(1)
        yield server
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)
        server.wait(30)


def healthy(port: int) -> bool:
    try:
        return bool(urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).status == 200)
    except OSError:
        return False


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def judge(*arguments: Any) -> list[str]:
    fixed = ["--temperature", "0", "--samples", "1", "--set", "judge.max_tokens=96", "--set", "model.max_length=512"]
    return [sys.executable, "-m", "srlm.cli", "judge", *map(str, arguments), *fixed]


def scores(path: Path) -> list[tuple[float, str]]:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [(row["judge_score"], row["judge_judgements"][0]) for row in rows]


@pytest.mark.timeout(900)
def test_a_server_gives_the_scores_of_the_engine_in_process_and_may_die(tmp_path: Path) -> None:
    file, port = tmp_path / "eft.jsonl", free_port()
    lines = (DEMO / "data" / "eft.jsonl").read_text().splitlines()[:COUNT]
    file.write_text("\n".join(lines) + "\n")
    remote = ["--endpoint", f"http://127.0.0.1:{port}/v1", "--model", "demo"]
    local = ["--model", DEMO / "base"]
    for mode in ("sampled", "expected"):
        subprocess.run(judge(file, *local, "--mode", mode, "--out", tmp_path / f"local-{mode}.jsonl"), check=True)
    out, work = tmp_path / "remote.jsonl", tmp_path / ".remote.jsonl.work" / "rows.jsonl"
    with vllm_serve(tmp_path / "first.log", port) as server:
        slow = [*judge(file, *remote, "--out", out), "--concurrency", "1"]
        client = subprocess.Popen(slow, stderr=subprocess.PIPE)
        while client.poll() is None and not (work.exists() and work.read_bytes().count(b"\n") >= 5):
            time.sleep(0.05)
        os.killpg(server.pid, signal.SIGKILL)
        _, stderr = client.communicate(timeout=120)
    assert client.returncode == 2, stderr.decode()
    assert b"no connection" in stderr
    assert b"run the same command again to continue" in stderr
    assert 5 <= work.read_bytes().count(b"\n") < COUNT
    with vllm_serve(tmp_path / "second.log", port):
        subprocess.run(slow, check=True)
        expected = tmp_path / "remote-expected.jsonl"
        subprocess.run(judge(file, *remote, "--mode", "expected", "--out", expected), check=True)
    assert scores(out) == scores(tmp_path / "local-sampled.jsonl")
    for (mine, _), (theirs, _) in zip(scores(expected), scores(tmp_path / "local-expected.jsonl"), strict=True):
        assert mine == pytest.approx(theirs, abs=0.01)
