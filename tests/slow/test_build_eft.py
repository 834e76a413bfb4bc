"""EFT from ranked responses on real parts: vLLM and TRL on this machine's CPU, the demo's base model, our own data."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from srlm.packaged import DEMO
from srlm.records import JudgeEval, RatedRow
from srlm.run.folder import Run
from srlm.seed.read import read_eft, read_ranked
from srlm.store import read_json, read_rows
from tests.helpers.kills import children_of, lines, wait_until_gone
from tests.helpers.ranked_file import write_ranked

pytestmark = pytest.mark.timeout(1200)

SMALL = ["--recipe", "demo", "--set", "sft.batch_size=16", "--set", "rollout.max_in_flight=8"]


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "srlm.cli", *map(str, arguments)]


def srlm(*arguments: str | Path) -> str:
    """Run a command to its end; returns what it said."""
    done = subprocess.run(command(*arguments), capture_output=True, text=True, timeout=1100)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def ranked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ranked(tmp_path_factory.mktemp("ranked") / "ranked.jsonl", 28)


@pytest.fixture(scope="module")
def ift(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ift") / "ift.jsonl"
    rows = (DEMO / "data" / "ift.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(rows[:64]), encoding="utf-8")
    return path


def judges_above_chance(run: Run) -> None:
    judge = read_json(run.at(1).metrics)["judge"]
    assert judge["parse_rate"] > 0.9
    assert judge["pairwise_interval"][0] > 0.5, judge


def test_seed_eft_then_init_then_iterate(tmp_path: Path, ranked: Path, ift: Path) -> None:
    out, held_out = tmp_path / "eft.jsonl", tmp_path / "eft.held-out.jsonl"
    build = ("seed", "eft", "--ranked", ranked, "--ift", ift, "--out", out, *SMALL)
    said = srlm(*build)
    eft, rows = read_eft(out), read_ranked(held_out).rows
    assert eft.dropped == []
    assert len(eft.rows) >= 20
    assert {row.human for row in eft.rows} <= {0, 1, 2, 3, 4, 5}
    given = {json.dumps(row.messages): row.responses for row in read_ranked(ranked).rows}
    assert all(row.responses == given[json.dumps(row.messages)] for row in rows)  # every response, agreed with or not
    assert not {json.dumps(row.messages) for row in eft.rows} & {json.dumps(row.messages) for row in rows}
    assert f"{len(eft.rows)} judgements to learn from" in said

    before = out.read_bytes()
    assert "already exists" in srlm(*build)  # again: nothing is done, nothing changes
    assert out.read_bytes() == before
    out.write_text("mine\n")
    refused = subprocess.run(command(*build), capture_output=True, text=True, timeout=600)
    assert refused.returncode == 2
    assert "eft.jsonl" in refused.stderr.splitlines()[-1]
    assert out.read_text() == "mine\n"
    out.write_bytes(before)

    root = tmp_path / "run"
    srlm("init", root, "--ift", ift, "--eft", out, "--held-out-eft", held_out, "--set", "data.eval_prompts=4", *SMALL)
    srlm("iterate", "1", "--run", root)
    assert lines(root / "seed" / "held_out_eft.jsonl") == sum(len(row.responses) for row in rows)
    judges_above_chance(Run(root))


def test_init_ranked_then_iterate_killed_while_it_judges(tmp_path: Path, ranked: Path, ift: Path) -> None:
    root = tmp_path / "run"
    as_it_is = ("--set", "baseline.train=false", "--set", "data.eval_prompts=4")  # the other test trains a baseline
    srlm("init", root, "--ift", ift, "--ranked", ranked, *as_it_is, *SMALL)
    planned = subprocess.run(command("iterate", "1", "--run", root, "--dry-run"), capture_output=True, text=True)
    assert [line.split()[0] for line in planned.stdout.splitlines() if " owed " in line] == [
        "M0/eval", "baseline/judge", "baseline/eft", "M1/train", "M1/eval",
    ]  # fmt: skip
    judged = root / "baseline" / "judgements.jsonl"
    parent = subprocess.Popen(command("iterate", "1", "--run", root), stderr=subprocess.DEVNULL)
    while lines(judged) < 20:
        assert parent.poll() is None
        time.sleep(0.02)
    children = children_of(parent.pid)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    wait_until_gone(children)
    safe = judged.read_bytes().rpartition(b"\n")[0]
    owed = lines(root / "seed" / "ranked.jsonl") - lines(judged)
    assert owed > 0

    srlm("iterate", "1", "--run", root)
    assert judged.read_bytes().startswith(safe)
    run = Run(root)
    ids = [row.id for row in read_rows(judged, JudgeEval)]
    assert sorted(ids) == sorted(row.id for row in read_rows(run.seed("ranked"), RatedRow))
    stages = run.record.stages
    assert {name: record.attempts for name, record in stages.items() if record.attempts != 1} == {"baseline/judge": 2}
    assert {record.status for record in stages.values()} == {"done"}
    info = stages["baseline/eft"].info
    assert info["kept"] == lines(run.eft) >= 16
    trained = [json.loads(line)["id"] for line in (root / "M1" / "train_rows.jsonl").open()]
    assert sum(name.startswith("ranked-") for name in trained) == info["kept"]
    judges_above_chance(run)
    shown = subprocess.run(command("inspect", root), capture_output=True, text=True, timeout=120)
    assert "EFT from ranked responses" in shown.stdout
