"""From settings to TRL's arguments, with the user's own (`extra` in the step's table) checked by name."""

import difflib
import os
from dataclasses import fields
from typing import Any

import torch

from srlm.errors import UserError
from srlm.train.job import TrainJob, batch_plan
from srlm.train.trackers import PROJECT, check_trackers, run_name, set_places

SHARDED = "each process must hold all weights: sharded ones would not be gathered when the model is saved"
# Not settings of srlm, and still not the user's: each would cut rows, move the reference or leave the saved model out.
FORBIDDEN = {
    "max_length": "it would cut rows; set model.max_length, which leaves long rows out and counts them",
    "sync_ref_model": "the reference is the starting model and does not change",
    "packing": "srlm does not join rows",
    "padding_free": "srlm pads rows",
    "auto_find_batch_size": "set train.per_device_batch instead",
    "load_best_model_at_end": "the result is always the model of the last step",
    "train_sampling_strategy": "rows of similar length are already grouped within a step",
    "save_only_model": "a checkpoint must hold everything that is needed to resume",
    "label_smoothing_factor": "remove it: SFT would make the logits of all tokens at once for it, and DPO ignores it",
    "dataset_kwargs": "the rows are already tokenized",
    "fsdp": SHARDED,
    "fsdp_config": SHARDED,
    "deepspeed": SHARDED,
}


def training_arguments(job: TrainJob, kind: Any, own: dict[str, Any] | None = None) -> Any:
    """The job as TRL's `kind` (`SFTConfig`, `DPOConfig`); `own` are arguments that the step derives from its settings.

    Raises UserError for a key of `extra` that is unknown or not the user's to set, and for a tracker that is
    not installed.
    """
    owned = _owned(job) | (own or {})
    _check_extra(job, {field.name for field in fields(kind)}, owned)
    check_trackers(job.train.report_to)
    set_places(job)
    try:
        return kind(**owned | _defaults(job) | job.optimizer.extra)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{job.algorithm}.extra: {str(error).splitlines()[0]}", "give a value that TRL accepts"
        ) from None


def world_size() -> int:
    """Training processes, as torchrun says; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def in_bf16(job: TrainJob) -> bool:
    """Whether forward passes compute in bfloat16: wherever an accelerator can, unless `extra` says otherwise."""
    can = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return bool(job.optimizer.extra.get("bf16", can))


def _owned(job: TrainJob) -> dict[str, Any]:
    """The arguments that follow from settings that all steps have."""
    own, train = job.optimizer, job.train
    rows, accumulation = batch_plan(own.batch_size, train.per_device_batch, world_size())
    return {
        "output_dir": str(job.checkpoints),
        "seed": job.seed,
        "learning_rate": own.learning_rate,
        "lr_scheduler_type": "cosine_with_min_lr",
        "lr_scheduler_kwargs": {"min_lr_rate": own.final_lr_ratio},
        "warmup_steps": own.warmup_ratio,  # below 1 it is a share of the steps
        "num_train_epochs": own.epochs,
        "per_device_train_batch_size": rows,
        "gradient_accumulation_steps": accumulation,
        "weight_decay": own.weight_decay,
        "max_grad_norm": own.max_grad_norm,
        "gradient_checkpointing": train.gradient_checkpointing is True,  # the parent has decided what "auto" means
        "save_strategy": "steps",
        "save_steps": train.save_steps,
        "save_total_limit": max(2, train.keep_checkpoints),  # two: the newest one may be torn
        "logging_strategy": "steps",
        "logging_steps": 1,
        "report_to": train.report_to or "none",
        "max_length": None,  # rows that do not fit were left out before; nothing may be cut
    }


def _defaults(job: TrainJob) -> dict[str, Any]:
    """What depends on the machine, and names for trackers; `extra` may set it otherwise."""
    return {
        "project": PROJECT,
        "run_name": run_name(job),
        "bf16": in_bf16(job),
        "use_cpu": not torch.cuda.is_available(),
        "disable_tqdm": True,  # the parent draws progress from train.jsonl
        "dataloader_pin_memory": torch.cuda.is_available(),
        "ddp_find_unused_parameters": False,  # each step uses all: looking for others costs a pass over the graph
    }


def _check_extra(job: TrainJob, known: set[str], owned: dict[str, Any]) -> None:
    name = f"{job.algorithm}.extra"
    for key in job.optimizer.extra:
        if key not in known:
            close = difflib.get_close_matches(key, known, 1)
            raise UserError(f"{name}: unknown key {key}", f"did you mean {close[0]}?" if close else "remove it")
        if key in FORBIDDEN:
            raise UserError(f"{name}: {key} cannot be set", FORBIDDEN[key])
        if key in owned:
            raise UserError(f"{name}: {key} is set by srlm's own settings", "see `srlm config`")
