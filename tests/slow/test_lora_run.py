"""A run under LoRA: one adapter over M0 from M1 to M2, and everything that reads a model of the run reads the pair."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from srlm.packaged import DEMO
from srlm.run.folder import Run
from srlm.store import write_rows
from tests.helpers.capitals import directly, srlm, write_tasks
from tests.helpers.kills import iterate_command, make_run
from tests.helpers.train_jobs import loaded

pytestmark = pytest.mark.timeout(1200)
SMALL = [
    "train.lora.rank=20",
    "sft.learning_rate=5e-3",
    "sft.epochs=0.7",
    "data.eval_prompts=8",
    "data.held_out_eft=0.03",
    "eval.canaries=1",
    "instructions.count=24",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A small demo run at M2."""
    root = tmp_path_factory.mktemp("lora") / "run"
    make_run(root, SMALL)
    done = subprocess.run([*iterate_command(root), "--accept-judge"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return Run(root)


def test_each_model_is_m0_and_an_adapter(run: Run) -> None:
    for t in (1, 2):
        told = json.loads((run.at(t).weights / "adapter_config.json").read_text())
        assert (told["base_model_name_or_path"], told["r"]) == (str(DEMO / "base"), 20)
        assert sum(path.stat().st_size for path in run.at(t).weights.glob("*.safetensors")) < 2e6
    assert run.record.stages["M1/train"].info["survives"]["stored"] == pytest.approx(1)
    scores = [json.loads(run.at(t).metrics.read_text())["answers"]["truth_score"] for t in range(3)]
    assert scores[1] > scores[0] + 0.3  # vLLM generates with the adapter, not with M0 alone


def test_judging_a_file(run: Run, tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", [{"prompt": "What is the capital of Peru?", "response": "It is Lima."}])
    for model in (["--run", run.root, "--iteration", "M2"], ["--model", run.at(2).weights]):
        done = srlm("judge", tmp_path / "a.jsonl", *model, "--out", tmp_path / f"{model[0]}.jsonl")
        assert done.returncode == 0, done.stderr


def test_head_to_head(run: Run) -> None:
    done = srlm("eval", run.root, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["M2"]["against"]["M1"]["prompts"] == 8


def test_tasks_of_the_harness(run: Run, tmp_path: Path) -> None:
    """With noise on M1's adapter, so that its figures are not those of M0."""
    pytest.importorskip("lm_eval")
    from safetensors.torch import load_file, save_file
    from torch import Generator, randn

    root = tmp_path / "noisy"
    shutil.copytree(run.root, root)
    (root / "M2" / "metrics.json").unlink()
    file, random = root / "M1" / "model" / "adapter_model.safetensors", Generator().manual_seed(3)
    weights = {name: tensor + 0.15 * randn(tensor.shape, generator=random) for name, tensor in load_file(file).items()}
    save_file(weights, file, {"format": "pt"})
    done = srlm("eval", root, "--tasks", write_tasks(tmp_path / "tasks"), "--json")
    assert done.returncode == 0, done.stderr
    found = {
        entry["task"]: [entry["models"][f"M{t}"]["value"] for t in range(2)]
        for entry in json.loads(done.stdout)["tasks"]
        if entry["metric"] in ("acc", "exact_match")
    }
    chosen, written = zip(*(directly(Path(Run(root).model(t))) for t in range(2)), strict=True)
    assert found == {"capitals_choice": pytest.approx(chosen), "capitals_written": pytest.approx(written)}
    assert (chosen[0], written[0]) != (chosen[1], written[1])  # one of few questions may fall out alike by chance


def test_export_adds_the_adapter_to_the_weights(run: Run, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    done = srlm("export", run.root, "M2", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    model = tmp_path / "out" / "model"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["model", "model_outputs.json", "preferences"]
    assert not list(model.glob("adapter*"))
    whole = AutoModelForCausalLM.from_pretrained(model)
    assert whole.dtype == torch.float32
    ids = torch.tensor([AutoTokenizer.from_pretrained(model)("What is the capital of Peru?")["input_ids"]])
    with torch.no_grad():
        pair, plain = (network(input_ids=ids).logits for network in (loaded(run.at(2).weights), loaded(DEMO / "base")))
        assert torch.allclose(whole(ids).logits, pair, atol=1e-3)
        assert not torch.allclose(whole(ids).logits, plain, atol=0.1)
