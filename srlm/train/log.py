"""train.jsonl and the checkpoints' seals: what happens beside each optimizer step."""

import math
import time
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from srlm.errors import UserError
from srlm.store import Appender, read_rows, write_rows
from srlm.train.checkpoints import seal
from srlm.train.job import TrainJob
from srlm.train.steps import STEPS

# TRL's name -> the name in train.jsonl, of what every training has; a step may have more (`TrainingStep.figures`)
NAMES = {"loss": "loss", "learning_rate": "learning_rate", "grad_norm": "grad_norm"}


def cut_back(log: Path, step: int) -> dict[str, Any]:
    """Drop the rows after `step`, which are going to be made again; returns the last row kept ({} without one)."""
    rows: list[dict[str, Any]] = [row for row in read_rows(log, dict[str, Any]) if row["step"] <= step]
    write_rows(log, rows)
    return rows[-1] if rows else {}


class StepLog(TrainerCallback):
    """Writes one row per optimizer step, seals each checkpoint and tells the row order its epoch.

    `before` is the last row of an earlier attempt: tokens and seconds count on from it.
    """

    def __init__(self, job: TrainJob, before: dict[str, Any]) -> None:
        self.job, self.before, self.names = job, before, NAMES | STEPS[job.algorithm].figures
        self.last: dict[str, Any] = before
        self.first: dict[str, Any] = {}
        self.started = time.monotonic()
        self.trainer: Any = None

    def on_epoch_begin(self, args: TrainingArguments, state: TrainerState, *_: Any, **__: Any) -> None:
        """Set the epoch of the row order, also after a resume in the middle of one."""
        self.trainer.order.epoch = int(state.epoch or 0)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """No checkpoint after the last step, unless one is to be kept: the model itself is saved next."""
        if state.global_step >= state.max_steps and not self.job.train.keep_checkpoints:
            control.should_save = False

    def on_log(self, args: TrainingArguments, state: TrainerState, *_: Any, **found: Any) -> None:
        """Append the optimizer step's row. Raises UserError when the loss is not a number, and what `check` raises."""
        logs: dict[str, float] = found["logs"]
        if "loss" not in logs:  # the summary at the end
            return
        row: dict[str, Any] = {
            "step": state.global_step,
            "total_steps": state.max_steps,
            "epoch": round(state.epoch or 0, 4),
        }
        row |= {name: logs[key] for key, name in self.names.items() if key in logs}
        row["tokens"] = int(self.before.get("tokens", 0) + logs.get("num_tokens", 0))
        row["seconds"] = round(self.before.get("seconds", 0.0) + time.monotonic() - self.started, 2)
        if not all(math.isfinite(value) for value in row.values()):
            raise UserError(f"the training diverged at step {state.global_step}", "lower the learning rate")
        if state.global_step == 1:
            STEPS[self.job.algorithm].check(row, self.job)
        self.first = self.first or row
        self.last = row
        if state.is_world_process_zero:
            with Appender(self.job.log) as log:
                log.append(row)

    def on_save(self, args: TrainingArguments, state: TrainerState, *_: Any, **__: Any) -> None:
        """Seal the checkpoint once every process has written its part."""
        if torch.distributed.is_initialized():
            torch.distributed.barrier()
        if state.is_world_process_zero:
            checkpoint = self.job.checkpoints / f"checkpoint-{state.global_step}"
            seal(checkpoint, self.job.digest(), self.trainer.longest_first)
