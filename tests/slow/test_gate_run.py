"""The health gate and the options of pairs on real parts: vLLM and TRL on this machine's CPU, small."""

import json
import math
import subprocess
from pathlib import Path
from typing import Any

import pytest

from srlm.records import PreferencePair, Rollout
from srlm.run.folder import Run
from srlm.store import read_json, read_rows
from tests.helpers.kills import SMALL, iterate_command, lines, make_run

pytestmark = pytest.mark.timeout(1200)


def iterate(root: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*iterate_command(root), *options], capture_output=True, text=True)


def inspect(root: Path) -> dict[str, Any]:
    shown = subprocess.run(["srlm", "inspect", str(root), "--json"], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(shown.stdout)
    return found


def test_a_broken_judge_stops_the_run_before_training_and_it_goes_on_when_accepted(tmp_path: Path) -> None:
    """Half of the reviews are longer than the judge may write, and do not come to their score."""
    root = tmp_path / "run"
    make_run(root, [*SMALL, "judge.max_tokens=46"])
    stopped = iterate(root)
    assert stopped.returncode == 1
    assert "M1, health gate: judgements that could be read:" in stopped.stderr
    assert "the health gate stopped the run: M2 should not be trained" in stopped.stderr
    assert f"srlm iterate 2 --run {root} --accept-judge" in stopped.stderr
    assert lines(root / "M1" / "aift" / "pairs.jsonl") > 0
    assert not (root / "M2").exists()
    [_, m1] = inspect(root)["models"]
    assert m1["metrics"]["aift"]["parse_rate"] < 0.8
    assert "parse" in [finding["check"] for finding in m1["metrics"]["gate"]["findings"]]
    assert m1["metrics"]["canaries"]["judgements"] == 6 * 4 * 3

    again = iterate(root)
    assert again.returncode == 1
    assert not (root / "M2").exists()

    accepted = iterate(root, "--accept-judge")
    assert accepted.returncode == 0, accepted.stderr
    assert (root / "M2" / "model").is_dir()
    [entry] = read_json(root / "run.json")["accepted"]
    assert entry["model"] == "M1"
    assert "parse" in entry["checks"]


def test_the_options_of_pairs_together(tmp_path: Path) -> None:
    """Past anchor, consistency, length control and the NLL term, from their stages to the trainer's log."""
    root = tmp_path / "run"
    options = ["pairs.anchor=M0", "pairs.consistency=soften", "pairs.rho=[0.1, 0.2]", "dpo.nll_weight=0.5"]
    make_run(root, [*SMALL, *options])
    done = iterate(root, "--accept-judge")
    assert done.returncode == 0, done.stderr
    run, aift = Run(root), root / "M1" / "aift"
    rollouts = {row.id: row for row in read_rows(aift / "rollouts.jsonl", Rollout)}
    past = {row.id: row for row in read_rows(aift / "past_judged.jsonl", Rollout)}
    previous = {row.id: row for row in read_rows(aift / "previous_judged.jsonl", Rollout)}
    assert rollouts.keys() == past.keys() == previous.keys()

    info = run.record.stages["M1/pairs"].info
    anchored = [pair for pair in read_rows(aift / "pairs.jsonl", PreferencePair) if pair.rejected_from]
    assert info["anchored"] == len(anchored) > 0
    assert info["rho"] == 0.1
    for pair in anchored:
        assert pair.rejected[0]["content"] in [c.text for c in past[pair.id].candidates]
        own = [c.score for c in rollouts[pair.id].candidates if c.score is not None and c.finish == "stop" and c.text]
        assert pair.rejected_score < min(own)

    consistency = info["consistency"]
    assert 0.5 < consistency < 1
    assert read_json(root / "logs" / "M2-train.job.json")["consistency"] == consistency
    first = json.loads((root / "M2" / "train.jsonl").read_text().splitlines()[0])
    assert first["loss"] > math.log(2) + 0.01  # at the first step DPO's own part is ln 2
    assert read_json(root / "M1" / "metrics.json")["aift"]["consistency"] == consistency
