"""What one training is told (the job file) and how its processes are started. Imports no torch."""

import sys
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator

from srlm.config import flat
from srlm.errors import UserError
from srlm.settings import DPOSettings, SFTSettings, TrainSettings
from srlm.store import digest, file_digest


class TrainJob(BaseModel):
    """One training: a starting model and rows in; a model folder, a log and a result out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    algorithm: Literal["sft", "dpo"]
    model: str  # the model to start from: a folder, or a Hugging Face id
    revision: str | None = None
    rows: Path  # JSONL; SFT: id, prompt, completion; DPO: id, prompt, chosen, rejected (lists of messages)
    out: Path  # the model folder, moved into place when all else is done
    checkpoints: Path
    log: Path  # train.jsonl, one row per optimizer step
    result: Path  # {"ok": true, "info": ...} or {"ok": false, "problem": ..., "fix": ...}
    seed: int
    max_length: int  # tokens of prompt and reply together; longer rows are left out and counted, never cut
    train: TrainSettings
    optimizer: SFTSettings | DPOSettings
    consistency: float = 1.0  # DPO: CREAM's C, by which the loss is softened; 1: not at all

    @model_validator(mode="after")
    def _matching(self) -> Self:
        if isinstance(self.optimizer, DPOSettings) != (self.algorithm == "dpo"):
            raise ValueError(f"the optimizer settings are not those of {self.algorithm}")
        return self

    @property
    def temporary(self) -> Path:
        """Where the model is written before it is moved to `out`; beside it, so that the move is one step."""
        return self.out.with_name(f".{self.out.name}.tmp")

    def digest(self) -> str:
        """Digest of what decides the outcome: rows and settings, no paths (a run folder may be moved)."""
        settings = flat(self.train, knobs=False) | flat(self.optimizer, "optimizer.")
        return digest(self.algorithm, file_digest(self.rows), self.seed, self.max_length, settings, self.consistency)


def launch_command(job_path: Path, num_processes: int) -> list[str]:
    """The command that runs the job. `--standalone` takes a free port, so that runs beside each other do not collide.

    Under torchrun the exit code is torchrun's own: what counts is the job's result file.
    """
    module = ["-m", "srlm.train", str(job_path)]
    if num_processes == 1:
        return [sys.executable, "-P", *module]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(num_processes)]
    return [sys.executable, *launcher, *module]


def batch_plan(batch_size: int, per_device: int, processes: int) -> tuple[int, int]:
    """(rows per forward pass, accumulation steps) with rows * accumulation * processes == batch_size.

    `per_device` is an upper limit; the largest divisor below it is taken. Raises UserError when the batch cannot be
    shared out evenly.
    """
    share, rest = divmod(batch_size, processes)
    if rest:
        problem = f"batch_size = {batch_size} cannot be shared by {processes} processes"
        raise UserError(problem, f"make it a multiple of train.num_processes, e.g. {(share + 1) * processes}")
    rows = next(n for n in range(min(per_device, share), 0, -1) if share % n == 0)
    return rows, share // rows
