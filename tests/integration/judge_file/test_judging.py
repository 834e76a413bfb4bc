"""`srlm judge` as a whole, with real child processes and the real client, against a small server on loopback."""

import csv
import json
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from tests.helpers.chat_server import ChatServer, serve
from tests.helpers.judge_command import KEY, command, points, read, rows, run, write
from tests.helpers.places import SHARED, needs_shared


def test_scores_stand_beside_the_rows_in_their_order(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", rows(40))
    with serve(ChatServer(points)) as server:
        done = run(server, file, "--concurrency", 4)
        assert 1 < server.most_at_once <= 4
    found = read(tmp_path / "a.judged.jsonl")
    assert [{k: row[k] for k in ("prompt", "response", "kept")} for row in found] == rows(40)
    assert [row["score"] for row in found] == [n % 6 for n in range(40)]
    assert found[1]["judgements"] == ["Some words.\nScore: 1"] * 2
    assert found[1]["valid"] == 2
    assert found[1]["spread"] == 0.0
    assert server.keys == {KEY}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "a.judged.jsonl"]
    assert b"80 of 80 (100.0%)" in done.stderr
    assert b"0: 14, 1: 14, 2: 14, 3: 14, 4: 12, 5: 12" in done.stderr


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", rows(1))
    (tmp_path / "a.judged.jsonl").write_text("mine")
    with serve(ChatServer(points)) as server:
        assert b"a.judged.jsonl already exists: choose another file with --out" in run(server, file, code=2).stderr
        assert not server.bodies
    assert (tmp_path / "a.judged.jsonl").read_text() == "mine"


def test_a_reply_without_a_score_is_missing_and_counted(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", rows(3))
    with serve(ChatServer(lambda prompt: "no idea" if "question 1" in prompt else "Score: 4")) as server:
        done = run(server, file)
    found = read(tmp_path / "a.judged.jsonl")
    assert [row["score"] for row in found] == [4.0, None, 4.0]
    assert [row["valid"] for row in found] == [2, 0, 2]
    assert re.search(rb"no score in the reply +2", done.stderr)


def test_columns_of_the_same_names_are_kept_and_that_is_said(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", [{"prompt": "a", "response": "!!", "score": "mine"}])
    with serve(ChatServer(points)) as server:
        done = run(server, file)
    found = read(tmp_path / "a.judged.jsonl")[0]
    assert (found["score"], found["judge_score"]) == ("mine", 2.0)
    assert b"judge_score" in done.stderr


@pytest.mark.parametrize("suffix", [".json", ".csv", ".parquet"])
def test_the_other_formats(tmp_path: Path, suffix: str) -> None:
    file, out = tmp_path / f"a{suffix}", tmp_path / f"a.judged{suffix}"
    values = [{"prompt": "a, b", "output_1": "!", "output_2": "!!!", "n": "007"} for _ in range(3)]
    if suffix == ".parquet":
        types = pyarrow.schema([(name, pyarrow.large_string()) for name in values[0]])
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(values, schema=types), file)
    elif suffix == ".csv":
        with file.open("w", newline="") as handle:
            writer = csv.DictWriter(handle, values[0])
            writer.writeheader()
            writer.writerows(values)
    else:
        file.write_text(json.dumps(values))
    with serve(ChatServer(points)) as server:
        run(server, file)
    found: Any
    if suffix == ".parquet":
        table = pyarrow.parquet.read_table(out)
        assert table.schema.field("n").type == pyarrow.large_string()
        found = table.to_pylist()
    elif suffix == ".csv":
        found = list(csv.DictReader(out.open(newline="")))
        for row in found:
            row |= {name: json.loads(row[name]) for name in ("score", "valid")}
    else:
        found = json.loads(out.read_text())
    assert [{name: row[name] for name in values[0]} for row in found] == values
    assert [row["score"] for row in found] == [[1.0, 3.0]] * 3
    assert [row["valid"] for row in found] == [[2, 2]] * 3


def test_stdin_is_answered_on_stdout_in_order(tmp_path: Path) -> None:
    values = rows(12)
    with serve(ChatServer(points, delay=0.01)) as server:
        done = run(server, "-", stdin="".join(json.dumps(value) + "\n" for value in values).encode())
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["prompt"] for row in found] == [row["prompt"] for row in values]
    assert [row["score"] for row in found] == [n % 6 for n in range(12)]


def test_a_wrong_row_stops_before_anything_is_asked(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", [*rows(2), {"prompt": "x"}])
    with serve(ChatServer(points)) as server:
        assert b"a.jsonl:3: no column response" in run(server, file, code=2).stderr
        assert not server.bodies


def test_busy_and_failing_answers_are_tried_again(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", rows(30))
    with serve(ChatServer(points, status=lambda n: {0: 429, 1: 500}.get(n % 5, 200))) as server:
        run(server, file)
    assert [row["score"] for row in read(tmp_path / "a.judged.jsonl")] == [n % 6 for n in range(30)]
    assert len(server.prompts) == 30


def test_a_server_that_fails_half_way_loses_and_doubles_nothing(tmp_path: Path) -> None:
    file, work = write(tmp_path / "a.jsonl", rows(30)), tmp_path / ".a.judged.jsonl.work"
    with serve(ChatServer(points, status=lambda n: 200 if n <= 12 else 503)) as server:
        done = run(server, file, "--concurrency", 2, code=2)
        assert b"error 503, 6 times in a row" in done.stderr
        assert b"run the same command again to continue" in done.stderr
        assert len(server.bodies) <= 12 + 2 * 6
    safe = read(work / "rows.jsonl")
    assert len(safe) == 12
    assert not [path for path in work.iterdir() if KEY in path.read_text(errors="replace")]
    with serve(ChatServer(points)) as another:
        # the work folder remembers the endpoint: another one is another judge
        assert b"url:" in run(another, file, code=2).stderr
        (work / "asked.json").write_text((work / "asked.json").read_text().replace(server.url, another.url))
        assert b"temperature: 0.7 before, 0.0 now" in run(another, file, "--temperature", 0, code=2).stderr
        run(another, file, "--concurrency", 7)
        assert len(another.prompts) == 30 - 12
    found = read(tmp_path / "a.judged.jsonl")
    assert [row["prompt"] for row in found] == [row["prompt"] for row in rows(30)]
    assert [row["score"] for row in found] == [n % 6 for n in range(30)]
    assert not work.exists()


def test_ctrl_c_leaves_what_is_judged(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", rows(30))
    work = tmp_path / ".a.judged.jsonl.work" / "rows.jsonl"
    with serve(ChatServer(points, delay=0.2)) as server:
        parent = subprocess.Popen(
            command(server, file, "--concurrency", 1),
            stderr=subprocess.PIPE,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        deadline = time.monotonic() + 60
        while not (work.exists() and work.read_bytes().count(b"\n") > 3) and time.monotonic() < deadline:
            time.sleep(0.05)
        parent.send_signal(signal.SIGINT)
        _, stderr = parent.communicate(timeout=30)
        assert parent.returncode == 130
        assert b"To continue, run the same command again" in stderr
        before = len(read(work))
    with serve(ChatServer(points), server.port) as again:  # a new one: the request cut off may still reach the old one
        run(again, file)
        assert len(again.prompts) == 30 - before
    assert [row["score"] for row in read(tmp_path / "a.judged.jsonl")] == [n % 6 for n in range(30)]


def test_a_refused_key_is_one_line_without_the_key(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", rows(1))
    with serve(ChatServer(points, status=lambda n: 401)) as server:
        done = run(server, file, code=2)
        assert b"the server refused the key (401): set OPENAI_API_KEY" in done.stderr
        assert len(server.bodies) == 1


def test_mode_expected_says_what_it_needs(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", rows(1))
    with serve(ChatServer(points)) as server:
        assert (
            b'judge in mode "sampled", or use a vLLM server' in run(server, file, "--mode", "expected", code=2).stderr
        )


@needs_shared
def test_preference_labels_of_a_real_file(tmp_path: Path) -> None:
    def longer(prompt: str) -> str:
        a, b = re.findall(r"answer [AB]\n(.*?)\n===", prompt, re.DOTALL)
        return f"Verdict: {'A' if len(a) > len(b) else 'B' if len(b) > len(a) else 'tie'}"

    given = json.loads((SHARED / "llmbar_natural.json").read_text())
    with serve(ChatServer(longer)) as server:
        file, out = SHARED / "llmbar_natural.json", tmp_path / "out.jsonl"
        done = run(server, file, "--mode", "pairwise", "--out", out).stderr.decode()
    assert "prompt = input, responses = output_1 | output_2, human label = label" in done
    assert re.search(r"same verdict in both orders +400 of 400", done)
    right = 0.0
    for row, found in zip(given, read(out), strict=True):
        longest = (len(row["output_1"]) > len(row["output_2"])) - (len(row["output_1"]) < len(row["output_2"]))
        assert found["score"] == {1: [1.0, 0.0], -1: [0.0, 1.0], 0: [0.5, 0.5]}[longest]
        right += 0.5 if not longest else float((longest == 1) == (row["label"] == 1 or row["label"] == "1"))
    assert re.search(rf"pairwise accuracy +{right / len(given):.3f} \(95% interval", done)


def test_a_benchmark_of_chosen_and_rejected_responses(tmp_path: Path) -> None:
    row = {"subset": "Focus", "num_correct": 1, "models": ["m", "n", "o"]}
    given = [
        {"id": "0", "prompt": "question 0", "chosen": ["!!!!"], "rejected": ["!", "!!"], **row},
        {"id": "1", "prompt": "question 1", "chosen": ["!"], "rejected": ["!!!", "!!!!!"], **row},
    ]
    with serve(ChatServer(points)) as server:
        done = run(server, write(tmp_path / "a.jsonl", given)).stderr.decode()
    assert "Columns: prompt = prompt, responses = chosen | rejected" in done
    assert [row["score"] for row in read(tmp_path / "a.judged.jsonl")] == [[4, 1, 2], [1, 3, 5]]
    assert re.search(r"pairs that people tell apart, with scores +4 of 4", done)
    assert re.search(r" pairwise accuracy +0.500 ", done)
    assert re.search(r"by the longer response alone +0.500", done)


@needs_shared
def test_whole_judge_prompts_of_a_real_file(tmp_path: Path) -> None:
    file, out = SHARED / "prometheus_vicuna_eval.json", tmp_path / "out.jsonl"
    given = json.loads(file.read_text())
    human = {row["instruction"]: row["gpt4_score"][0] for row in given}
    with serve(ChatServer(lambda prompt: f"Feedback: fine. [RESULT] {human[prompt]}")) as server:
        done = run(server, file, "--judge-prompt", "instruction", "--scale", "1-5", "--out", out).stderr.decode()
        assert b"--judge-prompt also needs --scale" in run(server, file, "--judge-prompt", "x", code=2).stderr
    assert [row["score"] for row in read(out)] == [float(row["gpt4_score"][0]) for row in given]
    assert "human score = gpt4_score" in done
    assert "320 responses to different prompts" in done
    assert float(re.search(r"Spearman +(\S+)", done)[1]) > 0.8  # type: ignore[index]


def test_a_command_that_judged_nothing_binds_no_other(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", rows(1))
    with serve(ChatServer(points, status=lambda n: 401 if n == 1 else 200)) as server:
        run(server, file, "--temperature", "0.5", code=2)
        run(server, file)
    assert len(read(tmp_path / "a.judged.jsonl")) == 1


def test_a_key_in_the_url_is_refused_and_not_repeated(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", rows(1))
    assert b"--endpoint" in run(ChatServer(points, url=f"http://user:{KEY}@host/v1"), file, code=2).stderr


@needs_shared
def test_a_judge_that_nobody_can_read_has_a_summary_too(tmp_path: Path) -> None:
    file, out = SHARED / "prometheus_vicuna_eval.json", tmp_path / "out.jsonl"
    with serve(ChatServer(lambda prompt: "Fine.")) as server:
        asked = (file, "--judge-prompt", "instruction", "--scale", "1-5", "--out", out)
        done = run(server, *asked, code=1).stderr.decode()
    assert "judgements with a score" in done
    assert "error: no response got a score" in done
    assert {row["score"] for row in read(out)} == {None}
    assert not (tmp_path / ".out.jsonl.work").exists()
