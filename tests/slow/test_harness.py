"""`srlm eval --tasks` with models: the harness's figures beside those of transformers, and a rerun."""

import json
import shutil
from pathlib import Path

import pytest

from srlm.config import to_toml
from srlm.packaged import DEMO
from srlm.store import write_rows, write_text
from tests.helpers.capitals import CHOICE, HEAD, WRITTEN, directly, questions, srlm, write_tasks
from tests.helpers.run_folder import finished_run

pytest.importorskip("lm_eval")


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    return write_tasks(tmp_path / "tasks")


def run_of_two(root: Path) -> Path:
    """A run with the demo's base as M0, and as M1 the same with noise on its weights."""
    from safetensors.torch import load_file, save_file
    from torch import Generator, randn

    run = finished_run(root)
    (root / "M2" / "metrics.json").unlink()
    model = run.config.model.model_copy(update={"path": str(DEMO / "base"), "max_length": 512})
    write_text(root / "config.toml", to_toml(run.config.model_copy(update={"model": model})))
    shutil.copytree(DEMO / "base", root / "M1" / "model", dirs_exist_ok=True)
    file, random = root / "M1" / "model" / "model.safetensors", Generator().manual_seed(3)
    weights = {name: tensor + 0.05 * randn(tensor.shape, generator=random) for name, tensor in load_file(file).items()}
    save_file(weights, file, {"format": "pt"})
    return root


@pytest.mark.timeout(1800)
def test_the_figures_are_those_of_the_models_and_a_rerun_asks_nothing(tasks: Path, tmp_path: Path) -> None:
    root = run_of_two(tmp_path / "r")
    (tasks / "code.py").write_text("def keep(docs):\n    return docs\n")  # at another address in each process
    with (tasks / "written.yaml").open("a") as file:
        file.write("process_docs: !function code.keep\n")
    long = tmp_path / "long"
    write_rows(long / "long.jsonl", [questions()[0] | {"question": "What is the capital of Peru? " * 200}])
    head = HEAD.replace("DATA", str(long / "long.jsonl"))
    for name, text in (("choice", CHOICE), ("written", WRITTEN)):
        (long / f"{name}.yaml").write_text(text.replace("capitals", "long") + head)
    done = srlm("eval", root, "--tasks", f"{tasks},{long}", "--json")
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    values = {
        (entry["task"], entry["metric"]): [found["value"] for found in entry["models"].values()]
        for entry in data["tasks"]
        if entry["questions"] > 1
    }
    base, trained = directly(DEMO / "base"), directly(root / "M1" / "model")
    assert base != trained
    assert values == {
        ("capitals_choice", "acc"): pytest.approx([base[0], trained[0]]),
        ("capitals_written", "exact_match"): pytest.approx([base[1], trained[1]]),
    }
    assert {(entry["questions"], entry["version"]) for entry in data["tasks"]} == {(12, "3"), (1, "3")}
    assert data["cut"] == {model: {"long_choice": 4, "long_written": 1} for model in ("M0", "M1")}
    kept = {file: file.read_bytes() for file in (root / "tasks").glob("M*.jsonl")}
    assert len(kept) == 2
    again = srlm("eval", root, "--tasks", f"{tasks},{long}", "--json")
    assert json.loads(again.stdout) == data
    assert "M0" not in again.stderr
    assert {file: file.read_bytes() for file in kept} == kept
