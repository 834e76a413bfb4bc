"""Training under LoRA: one adapter over M0 for the whole run, and where it is merged all the same."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from srlm.errors import UserError
from srlm.settings import LoraSettings
from tests.helpers.train_jobs import (
    CHATML,
    CutError,
    Make,
    chain,
    dpo_rows,
    encoded,
    encoder,
    loaded,
    log_of,
    log_probability,
    make_model,
    make_tokenizer,
    run,
    weights,
)


@pytest.mark.parametrize("save_dtype", ["float32", "base"])
def test_lora_keeps_the_adapter_beside_a_base_that_is_left_as_it_is(
    make: Make, tmp_path: Path, save_dtype: str
) -> None:
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    start = make_model(tmp_path / "bf16", make_tokenizer(), "bfloat16")
    before = (start / "model.safetensors").read_bytes()
    job = make("sft", model=str(start), train={"lora": LoraSettings(rank=4), "save_dtype": save_dtype})
    info = run(job)
    adapter = load_file(job.out / "adapter_model.safetensors")
    assert not (job.out / "model.safetensors").exists()
    assert {str(tensor.dtype) for tensor in adapter.values()} == {"torch.float32"}
    assert info["dtype"]["saved"] == "float32"
    assert (start / "model.safetensors").read_bytes() == before
    told = json.loads((job.out / "adapter_config.json").read_text())
    assert (told["base_model_name_or_path"], told["r"]) == (str(start), 4)
    assert AutoTokenizer.from_pretrained(job.out).chat_template == CHATML
    row = encoded(encoder(), "dpo", dpo_rows())[0]
    plain = log_probability(AutoModelForCausalLM.from_pretrained(start), row, "chosen")
    assert abs(log_probability(loaded(job.out), row, "chosen") - plain) > 0.1


def test_one_adapter_over_m0_goes_through_the_run(make: Make, base: Path) -> None:
    """Each model goes on with the adapter of the one before, which is its reference: M3's is M2, not M0 nor M1."""
    jobs = chain(make, 3)
    assert [weights(job) for job in jobs] == list(dict.fromkeys(weights(job) for job in jobs))
    for job in jobs:
        told = json.loads((job.out / "adapter_config.json").read_text())
        assert told["base_model_name_or_path"] == str(base)
    rows = encoded(encoder(), "dpo", dpo_rows())
    found = {
        name: [log_probability(loaded(job.out), row, "chosen") for row in rows]
        for name, job in zip(("M1", "M2"), jobs, strict=False)
    }
    for job, reference in ((jobs[1], "M1"), (jobs[2], "M2")):
        assert json.loads(job.reference.read_text())["chosen"] == pytest.approx(found[reference], rel=2e-4, abs=1e-3)
        assert log_of(job)[0]["rewards_chosen"] == pytest.approx(0, abs=1e-5)
        assert log_of(job)[-1]["reward_margin"] > 0.01
    assert found["M2"] != pytest.approx(found["M1"], abs=0.05)


def test_interrupted_training_of_an_adapter_that_is_gone_on_with(make: Make, cut_after: Any) -> None:
    first = chain(make, 1)[0]
    changes = {"model": str(first.out), "train": {"lora": LoraSettings(rank=4), "save_steps": 2}}
    run(straight := make("dpo", "straight", **changes))
    cut_after(5)
    with pytest.raises(CutError):
        run(job := make("dpo", "cut", **changes))
    cut_after(0)
    assert run(job)["resumed_from_step"] == 4
    assert weights(job) == weights(straight)


@pytest.mark.parametrize(("save_dtype", "saved"), [("float32", "float32"), ("base", "bfloat16")])
def test_lora_on_plain_weights_of_m1_is_merged(make: Make, tmp_path: Path, save_dtype: str, saved: str) -> None:
    """As in runs whose M1 was merged: they go on so."""
    import torch
    from safetensors.torch import load_file

    start = make_model(tmp_path / "bf16", make_tokenizer(), "bfloat16")
    train = {"lora": LoraSettings(rank=4), "save_dtype": save_dtype}
    info = run(job := make("dpo", model=str(start), merge=True, train=train))
    assert not list(job.out.glob("adapter*"))
    old, new = load_file(start / "model.safetensors"), load_file(job.out / "model.safetensors")
    assert old.keys() == new.keys()
    assert {tensor.dtype for tensor in new.values()} == {getattr(torch, saved)}
    assert any(not torch.equal(old[name], new[name]) for name in old)
    assert info["dtype"]["saved"] == json.loads((job.out / "config.json").read_text())["dtype"] == saved


def test_adapter_that_names_no_base_is_refused(make: Make, base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    shutil.copytree(base, folder)
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match="not a LoRA adapter that names its base model"):
        run(make("dpo", model=str(folder)))


def test_adapter_over_an_adapter_is_refused(make: Make, tmp_path: Path) -> None:
    """Its base holds no weights of its own."""
    first = chain(make, 1)[0]
    folder = tmp_path / "second"
    shutil.copytree(first.out, folder)
    told = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(told | {"base_model_name_or_path": str(first.out)}))
    with pytest.raises(UserError, match="M1/model: cannot be loaded"):
        run(make("dpo", "next", model=str(folder), train={"lora": LoraSettings(rank=4)}))


def test_reference_without_the_adapter_is_refused(make: Make) -> None:
    """Where TRL cannot copy the adapter that is gone on with, it would take M0 for the reference."""
    from srlm.train.reference import with_reference

    trainer = SimpleNamespace(model=SimpleNamespace(peft_config={"default": None}))
    with pytest.raises(RuntimeError, match="the DPO reference would be M0"):
        with_reference(trainer, None, make("dpo", model=str(chain(make, 1)[0].out)))
