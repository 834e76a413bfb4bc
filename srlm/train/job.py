"""What one training is told: the job file. Imports no torch."""

from pathlib import Path
from typing import Any

from pydantic import SerializeAsAny, ValidationError, ValidationInfo, field_validator

from srlm.config import flat
from srlm.errors import UserError
from srlm.fields import Count
from srlm.model.adapter import base_of
from srlm.process.job import Job
from srlm.settings import Config, OptimizerSettings, TrainSettings
from srlm.store import digest, file_digest


class TrainJob(Job):
    """One training: a starting model and rows in; a model folder, a log and a result out."""

    algorithm: str  # the training step: a name in `steps.STEPS`, and the table of config.toml that `optimizer` is
    model: str  # the model to start from: a folder, or a Hugging Face id
    revision: str | None = None
    rows: Path  # JSONL, in the step's form (`sft.SFTRow`, `dpo.DPORow`)
    out: Path  # the model folder, moved into place when all else is done
    checkpoints: Path
    log: Path  # train.jsonl, one row per optimizer step
    reference: Path  # DPO: the reference's log-probabilities of the rows, computed once (see `reference`)
    seed: int
    max_length: int  # tokens of prompt and reply together; longer rows are left out and counted, never cut
    train: TrainSettings
    optimizer: SerializeAsAny[OptimizerSettings]
    merge: bool = False  # LoRA: whether the result is plain weights again, not an adapter (no part of the digest)
    consistency: float = 1.0  # DPO: CREAM's C, by which the loss is softened; 1: not at all

    @field_validator("optimizer", mode="before")
    @classmethod
    def _of_the_steps_table(cls, value: Any, info: ValidationInfo) -> OptimizerSettings:
        algorithm = info.data.get("algorithm", "")
        table = Config.model_fields.get(algorithm)
        kind = table.annotation if table else None
        if not (isinstance(kind, type) and issubclass(kind, OptimizerSettings)):
            raise ValueError(f"no training step is called {algorithm!r}")
        try:
            return kind.model_validate(value)
        except ValidationError as error:
            raise ValueError(f"the optimizer settings are not those of {algorithm}: {error}") from None

    @property
    def weights(self) -> str:
        """See `Job.weights`."""
        return base_of(self.model, None)[0]

    @property
    def lighter(self) -> str:
        """See `Job.lighter`."""
        return "lower train.per_device_batch or model.max_length, or set train.gradient_checkpointing or train.lora"

    @property
    def temporary(self) -> Path:
        """Where the model is written before it is moved to `out`; beside it, so that the move is one step."""
        return self.out.with_name(f".{self.out.name}.tmp")

    def digest(self) -> str:
        """Digest of what decides the outcome: rows and settings, no paths (a run folder may be moved).

        A job of today must have the digest that it had when it was sealed: parts and order stay as they are, and a
        setting that comes later (`settings.later`) is left out while it does what was done before.
        """
        return self._digest(gradient_checkpointing=False)

    @property
    def digests(self) -> set[str]:
        """The digests of which a checkpoint or a finished model is this job's.

        `train.gradient_checkpointing`, which changes no result, was once covered: either of its values will do.
        """
        return {self._digest(gradient_checkpointing=value) for value in (False, True)}

    def _digest(self, gradient_checkpointing: bool) -> str:
        settings = flat(self.train, knobs=False, unchanged=False) | {"gradient_checkpointing": gradient_checkpointing}
        settings |= flat(self.optimizer, "optimizer.", unchanged=False)
        return digest(self.algorithm, file_digest(self.rows), self.seed, self.max_length, settings, self.consistency)


def processes_of(asked: Count, batch_size: int, gpus: int) -> int:
    """Training processes: one for each of the GPUs, or the largest number below that shares the batch out evenly.

    Two processes cannot share one GPU. On a CPU it is one, unless the user says otherwise.
    """
    if asked != "auto" and (asked <= gpus or not gpus):
        return asked
    return next(count for count in range(gpus or 1, 0, -1) if batch_size % count == 0)


def batch_plan(batch_size: int, per_device: int, processes: int) -> tuple[int, int]:
    """(rows per forward pass, accumulation steps) with rows * accumulation * processes == batch_size.

    `per_device` is an upper limit; the largest divisor below it is taken. Raises UserError when the batch cannot be
    shared out evenly.
    """
    share, rest = divmod(batch_size, processes)
    if rest:
        problem = f"batch_size = {batch_size} cannot be split evenly among {processes} processes"
        raise UserError(problem, f"make it a multiple of train.num_processes, e.g. {(share + 1) * processes}")
    rows = next(n for n in range(min(per_device, share), 0, -1) if share % n == 0)
    return rows, share // rows
