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
from srlm.model.chat import end_of_turn_ids
from srlm.model.tokenizer import load_tokenizer as tokenizer_of
from srlm.settings import LoraSettings
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
    """The starting model for training, and the dtype it came in.

    Weights that are trained are held in float32: steps as small as DPO's vanish in bfloat16's 8 bits, so that
    bfloat16 is for the forward pass only. With `train.save_dtype` "base", `save_model` goes back to the dtype returned
    here: of a bfloat16 model, updates smaller than half a bfloat16 step are then lost at the hand-over to the next
    iteration. Under LoRA the frozen weights keep their dtype where the device computes in it. Raises UserError for a
    folder without (safetensors) weights, and for an adapter: its base would be taken for the reference.
    """
    if (Path(job.model) / "adapter_config.json").is_file():
        raise UserError(f"{job.model} is a LoRA adapter, not a model", "merge it into its base first")
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            job.model, revision=job.revision, dtype="auto", use_safetensors=True
        )
    except (OSError, ValueError) as error:
        raise UserError(
            f"{job.model}: cannot be loaded ({_line(error)})", "use a causal language model in safetensors"
        ) from None
    if getattr(model, "_hf_peft_config_loaded", False):
        raise UserError(f"{job.model} comes with a LoRA adapter", "merge it into its base first")
    disable_dropout_in_model(model)  # TRL does so for DPO only
    model.generation_config = _saveable(model.generation_config)
    dtype = model.dtype
    if not (job.train.lora.rank and torch.cuda.is_available()):
        model = model.to(torch.float32)
    return model, dtype


def lora_config(settings: LoraSettings) -> Any:
    """peft's configuration, or None for training all weights."""
    if not settings.rank:
        return None
    from peft import LoraConfig  # a second of import that full training does not need

    return LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]  # peft takes any number
        lora_dropout=settings.dropout,
        target_modules=settings.target_modules,
        task_type="CAUSAL_LM",
    )


def saved_dtype(job: TrainJob, base: torch.dtype) -> torch.dtype:
    """The dtype in which the trained model is saved, where the starting model came in `base`."""
    return torch.float32 if job.train.save_dtype == "float32" else base


def cast(model: Any, dtype: torch.dtype) -> None:
    """All that a saved model holds in `dtype`, in place; what is not saved (the frequencies of RoPE) stays as it is."""
    for tensor in model.state_dict(keep_vars=True).values():
        if tensor.is_floating_point():
            tensor.data = tensor.data.to(dtype)


def save_model(trainer: Any, job: TrainJob, dtype: torch.dtype, config: Any) -> Any:
    """Write the trained model into the job's temporary folder: merged, in `dtype`, with tokenizer and template.

    `config` is the model's config as it was loaded: what the trainer set for itself (no cache, for one) is not part
    of the model. generation_config.json names the end-of-turn tokens, so that other tools stop there too, and keeps
    those of the starting model: vLLM stops at them as well, and M1 must stop where M0 did. Returns the model as it was
    written.
    """
    model = trainer.accelerator.unwrap_model(trainer.model)
    if job.train.lora.rank:
        # merged in float32, else the sum would be rounded to a frozen bfloat16; and where there is room for that
        model = model.to("cpu", torch.float32).merge_and_unload()
    tokenizer = trainer.processing_class
    model.config = copy.deepcopy(config)
    cast(model, dtype)
    before = model.generation_config.eos_token_id
    stops = before if isinstance(before, list) else [] if before is None else [before]
    model.generation_config.eos_token_id = list(dict.fromkeys([*end_of_turn_ids(tokenizer), *stops]))
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    shutil.rmtree(job.temporary, ignore_errors=True)
    model.save_pretrained(job.temporary)
    tokenizer.save_pretrained(job.temporary)
    return model


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
