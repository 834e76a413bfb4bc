"""Models in and out: what a training starts from, and the folder it leaves behind."""

import copy
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GenerationConfig
from trl.trainer.utils import disable_dropout_in_model

from srlm.errors import UserError
from srlm.model.adapter import adapter_of, base_of
from srlm.model.chat import end_of_turn_ids
from srlm.model.tokenizer import load_tokenizer as tokenizer_of
from srlm.store import write_json
from srlm.train.checkpoints import flush
from srlm.train.job import TrainJob

RECORD = "training.json"  # in the model folder: the job's digest and what it reported


def load_tokenizer(job: TrainJob) -> Any:
    """The starting model's tokenizer, with a chat template. Raises UserError where there is none."""
    try:
        return tokenizer_of(job.model, job.revision)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{job.model}: no tokenizer ({_line(error)})", "add the tokenizer's files to the folder"
        ) from None


def load_model(job: TrainJob) -> tuple[Any, torch.dtype]:
    """The starting model for training, and the dtype it came in; with its adapter where it has one, to go on from.

    Weights that are trained are held in float32: steps as small as DPO's vanish in bfloat16's 8 bits, so that
    bfloat16 is for the forward pass only. With `train.save_dtype` "base", `save_model` goes back to the dtype returned
    here: of a bfloat16 model, updates smaller than half a bfloat16 step are then lost at the hand-over to the next
    iteration. Under LoRA the frozen weights keep their dtype where the device computes in it. Raises UserError for a
    folder without (safetensors) weights.
    """
    model = load_weights(*base_of(job.model, job.revision))
    disable_dropout_in_model(model)  # TRL does so for DPO only
    dtype = model.dtype
    if not (job.train.lora.rank and torch.cuda.is_available()):
        model = model.to(torch.float32)
    if adapter_of(job.model):
        model = with_adapter(model, job.model, is_trainable=True)
    return model, dtype


def load_weights(model: str, revision: str | None) -> Any:
    """A model's weights in the dtype that they have, with a generation config that can be saved. Raises UserError."""
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(model, revision=revision, dtype="auto", use_safetensors=True)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{model}: cannot be loaded ({_line(error)})", "use a causal language model in safetensors"
        ) from None
    if getattr(loaded, "_hf_peft_config_loaded", False):
        raise UserError(f"{model} comes with a LoRA adapter", "merge it into its base first")
    loaded.generation_config = _saveable(loaded.generation_config)
    return loaded


def with_adapter(model: Any, folder: str, is_trainable: bool = False) -> Any:
    """The model and the adapter in the folder, as a peft model; the adapter's weights are in float32."""
    from peft import PeftModel  # a second of import that full training does not need

    return PeftModel.from_pretrained(model, folder, is_trainable=is_trainable)


def fresh_adapter(job: TrainJob) -> Any:
    """peft's configuration of an adapter to begin with; None where all weights are trained, or one is gone on with."""
    settings = job.train.lora
    if not settings.rank or adapter_of(job.model):
        return None
    from peft import LoraConfig

    base, revision = base_of(job.model, job.revision)
    return LoraConfig(
        base_model_name_or_path=base,
        revision=revision,
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]  # peft takes any number
        lora_dropout=settings.dropout,
        target_modules=settings.target_modules,
        task_type="CAUSAL_LM",
    )


def saved_dtype(job: TrainJob, base: torch.dtype) -> torch.dtype:
    """The dtype in which what was trained is saved, where the starting model came in `base`. An adapter is small."""
    adapter = job.train.lora.rank and not job.merge
    return torch.float32 if adapter or job.train.save_dtype == "float32" else base


def cast(model: Any, dtype: torch.dtype) -> None:
    """All that a saved model holds in `dtype`, in place; what is not saved (the frequencies of RoPE) stays as it is."""
    for tensor in model.state_dict(keep_vars=True).values():
        if tensor.is_floating_point():
            tensor.data = tensor.data.to(dtype)


def save_model(trainer: Any, job: TrainJob, dtype: torch.dtype, config: Any) -> Any:
    """Write what was trained into the job's temporary folder, in `dtype`, with tokenizer and template.

    That is all weights, or under LoRA the adapter alone: adding it to weights in bfloat16 would lose most of what it
    learned (an adapter that was begun on plain weights of M1, as runs once had them, is merged into them all the
    same). `config` is the model's config as it was loaded: what the trainer set for itself (no cache, for one) is not
    part of the model. Returns the model as it was written.
    """
    model = trainer.accelerator.unwrap_model(trainer.model)
    shutil.rmtree(job.temporary, ignore_errors=True)
    if job.train.lora.rank and not job.merge:
        model.save_pretrained(job.temporary)
        config.save_pretrained(job.temporary)  # vLLM asks the folder of a tokenizer for it
        trainer.processing_class.save_pretrained(job.temporary)
        return model
    if job.train.lora.rank:
        model = merged(model)
    cast(model, dtype)
    write_whole(model, job.temporary, trainer.processing_class, config)
    return model


def merged(model: Any) -> Any:
    """The peft model with its adapter in its weights: in float32, else the sum is rounded; on the CPU, for room."""
    return model.to("cpu", torch.float32).merge_and_unload()


def write_whole(model: Any, folder: Path, tokenizer: Any, config: Any) -> None:
    """Write a model with all that belongs to it.

    generation_config.json names the end-of-turn tokens, so that other tools stop there too, and keeps those of the
    starting model: vLLM stops at them as well, and M1 must stop where M0 did.
    """
    model.config = copy.deepcopy(config)
    before = model.generation_config.eos_token_id
    stops = before if isinstance(before, list) else [] if before is None else [before]
    model.generation_config.eos_token_id = list(dict.fromkeys([*end_of_turn_ids(tokenizer), *stops]))
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def move_into_place(job: TrainJob, info: dict[str, Any]) -> None:
    """Make the finished model appear at `job.out` in one step, with what its training reports."""
    write_json(job.temporary / RECORD, {"job": job.digest(), "info": info})
    for path in job.temporary.iterdir():
        flush(path)
    os.replace(job.temporary, job.out)


def _saveable(config: Any) -> Any:
    """The generation config, or one with its token ids alone.

    Loading only warns of a contradiction (a temperature without do_sample, say), but saving refuses it, at the first
    checkpoint. Nothing is lost: srlm's engine is told how to sample.
    """
    try:
        config.validate(strict=True)
    except ValueError:
        names = ("bos_token_id", "eos_token_id", "pad_token_id")
        return GenerationConfig.from_dict({name: getattr(config, name) for name in names})
    return config


def _line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
