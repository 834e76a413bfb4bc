"""The train child on a GPU, as the parent starts it. No engine: these run where vLLM is not installed, too."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from srlm.model.memory import CUDA_CONTEXT, Training, training_memory
from srlm.model.shape import shape_of
from srlm.packaged import DEMO
from srlm.settings import LoraSettings
from srlm.train.job import TrainJob
from tests.helpers.train_jobs import Make, dpo_rows, log_of, output_of, result, start, weights

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def child(job: TrainJob) -> dict[str, Any]:
    """What the training reports, done to its end in a process of its own."""
    process = start(job)
    assert process.wait(300) == 0, output_of(job).read_text()[-3000:]
    found: dict[str, Any] = result(job)["info"]
    return found


def dtypes(job: TrainJob) -> set[str]:
    """Those of the tensors that were saved."""
    from safetensors.torch import load_file

    [file] = job.out.glob("*.safetensors")
    return {str(tensor.dtype).removeprefix("torch.") for tensor in load_file(file).values()}


@pytest.mark.parametrize("rank", [0, 8])
def test_sft_then_dpo(make: Make, rank: int) -> None:
    """Computed in bfloat16, learned and saved in float32, and the reference is the starting model."""
    train = {"lora": LoraSettings(rank=rank), "per_device_batch": 4}
    tuned = make("sft", "M1", model=str(DEMO / "base"), train=train, optimizer={"learning_rate": 1e-3})
    preferred = make("dpo", "M2", model=str(tuned.out), train=train, optimizer={"learning_rate": 1e-4})
    for job in (tuned, preferred):
        info = child(job)
        assert info["device"] == "cuda:0"
        assert info["dtype"] == {"weights": "float32", "forward": "bfloat16", "saved": "float32"}
        assert dtypes(job) == {"float32"}
        assert info["survives"]["stored"] == pytest.approx(1, abs=0.05)
        assert 0 < info["peak_memory"] < 8 * 2**30
    assert log_of(tuned)[-1]["loss"] < log_of(tuned)[0]["loss"]
    first, *_, last = log_of(preferred)
    assert first["loss"] == pytest.approx(math.log(2), abs=0.02)
    assert first["rewards_chosen"] == pytest.approx(0, abs=0.02)
    assert last["reward_margin"] > first["reward_margin"]


def test_killed_process_goes_on(make: Make) -> None:
    """To the losses that it would have had; sums on a GPU have no fixed order, so not to the bit."""
    straight, job = (make("dpo", name, dpo_rows(), optimizer={"epochs": 30}) for name in ("straight", "killed"))
    child(straight)
    victim = start(job)
    while not job.log.exists() or len(job.log.read_text().splitlines()) < 25:
        assert victim.poll() is None
    victim.kill()
    victim.wait()
    info = child(job)
    assert info["resumed_from_step"] >= 22
    assert [row["step"] for row in log_of(job)] == list(range(1, 91))
    assert log_of(job)[-1]["loss"] == pytest.approx(log_of(straight)[-1]["loss"], rel=0.05, abs=1e-3)
    assert len(weights(job)) == len(weights(straight))


@pytest.mark.parametrize("checkpointing", [False, True])
def test_memory_is_as_planned(make: Make, tmp_path: Path, checkpointing: bool) -> None:
    """On a model of 0.1 billion parameters."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from tests.helpers.train_jobs import make_tokenizer

    tokenizer, folder = make_tokenizer(), tmp_path / "base"
    config = LlamaConfig(
        vocab_size=32000,
        hidden_size=768,
        intermediate_size=2048,
        num_hidden_layers=12,
        num_attention_heads=12,
        num_key_value_heads=4,
        max_position_embeddings=1024,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    text = "x" * 960
    rows = [
        {
            "id": str(i),
            "prompt": [{"role": "user", "content": "say"}],
            "completion": [{"role": "assistant", "content": text}],
        }
        for i in range(16)
    ]
    train = {"per_device_batch": 4, "gradient_checkpointing": checkpointing}
    job = make("sft", rows=rows, model=str(folder), max_length=1024, train=train)
    info = child(job)
    shape = shape_of(json.loads((folder / "config.json").read_text()))
    tokens = info["tokens"] // info["epochs"] // 16
    plan = training_memory(shape, Training(4, int(tokens), accumulation=2, checkpointing=checkpointing))
    measured = info["peak_memory"] + CUDA_CONTEXT  # of which torch does not know
    assert sum(plan.values()) / measured == pytest.approx(1, abs=0.15)
