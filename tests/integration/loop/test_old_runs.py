"""Run folders that version 0.1.0 left behind, before modules and settings moved, go on: nothing is stale or lost."""

from pathlib import Path

import pytest
from safetensors.torch import load_file

from srlm.iterate import Iteration, iterate
from srlm.loop.plan import make_plan
from srlm.run.folder import Run
from srlm.store import file_digest, read_json
from tests.helpers.old_runs import NAMES, old_run


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_an_old_run_is_stale(name: str, tmp_path: Path) -> None:
    run = Run(old_run(name, tmp_path))
    states = {planned.stage.name: planned.state for planned in make_plan(run, 2)}
    assert "stale" not in states.values()
    assert states["M0/eval"] == "done"
    begun = {"finished": None, "in_sft": "M1/train", "in_dpo": "M2/train"}[name]
    assert [stage for stage, state in states.items() if state == "partial"] == ([begun] if begun else [])


def test_a_finished_one_stays_as_it_is(tmp_path: Path) -> None:
    root = old_run("finished", tmp_path)
    weights = {path: file_digest(path) for path in root.glob("M*/model/*.safetensors")}
    rows = {path: file_digest(path) for path in root.rglob("*.jsonl")}
    assert len(weights) == 2
    iterate(Run(root), 2)
    assert weights | rows == {path: file_digest(path) for path in (*weights, *rows)}


@pytest.mark.parametrize(("name", "model", "step"), [("in_sft", "M1", 30), ("in_dpo", "M2", 10)])
def test_a_training_goes_on_from_its_checkpoint_to_the_weights_of_the_old_code(
    name: str, model: str, step: int, tmp_path: Path
) -> None:
    """As the version that began it would have done: the finished run was made of the same seeds."""
    root, whole = old_run(name, tmp_path), old_run("finished", tmp_path)
    run = Run(root)
    with run.lock() as lock:
        Iteration(run, 2, lock).train(int(model[1:]))
    info = Run(root).record.stages[f"{model}/train"].info
    assert info["resumed_from_step"] == step
    ours, theirs = (load_file(folder / model / "model" / "model.safetensors") for folder in (root, whole))
    for tensor, values in theirs.items():  # to the last bit on the kind of CPU that made them
        assert (ours[tensor] - values).norm() <= 1e-2 * values.norm(), tensor


def test_what_the_gate_found_stays_accepted(tmp_path: Path) -> None:
    """The old record holds texts; the wording has changed since, the figures have not."""
    run = Run(old_run("in_dpo", tmp_path))
    [entry] = run.record.accepted
    assert entry["checks"] == ["canaries", "entropy"]
    with run.lock() as lock:
        Iteration(run, 2, lock).check_judge(1)
    assert read_json(run.at(1).gate)["accepted"]
    assert Run(run.root).record.accepted == [entry]
