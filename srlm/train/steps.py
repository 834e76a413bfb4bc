"""The training steps: everything that turns M_t into M_{t+1}, one entry each. Imports no torch.

A step's functions lie in a file of its own (`sft`, `dpo`). The parent asks what the training reads and for its rows
(`loop.stages`, `loop.phases`), the child how to encode them and for the trainer (`common`). A new way of training is
a file like these, a row in this table, and a table of config.toml by the same name (`settings`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from srlm.run.folder import Run
from srlm.run.stage import Stage
from srlm.train import dpo, sft
from srlm.train.encode import Encoded, Encoder, Reply, TrainingRow
from srlm.train.job import TrainJob


@dataclass(frozen=True)
class TrainingStep:
    """One way of training. A `model` below is named as its folder is, "M2" or "baseline"."""

    name: str  # its table of config.toml; in a job, and the first of what the job's digest covers
    label: str  # for people: "M2: DPO of M1"
    learns_from: str  # for people: a clause in which {before} is the number of the starting model

    # In the parent:
    inputs: Callable[[Run, str], tuple[str, ...]]  # what the training of a model reads, as `Stage.inputs` names it
    rows: Callable[[Run, str], Path]  # what to train a model on: written now, or found
    sources: Callable[[Run, int], dict[str, Path]]  # files that the card of M_t names, with the rows that they have

    # In the child:
    row: type[TrainingRow]  # the form of its rows
    encode: Callable[[Encoder, Any], Encoded | str]  # such a row as token ids; or why it cannot be used
    trainer: Callable[[TrainJob, Any, Any, Any, Any], Any]  # of job, model, tokenizer, encoded rows and log callback
    replies: Callable[[Encoded], list[Reply]]  # what an encoded row makes more likely, and what less (`survives`)

    # In the parent, where there is more to it:
    stages: Callable[[Run, int], list[Stage]] = lambda run, t: []  # between AIFT(M_t) and the training of M_{t+1}
    values: Callable[[Run, str], dict[str, Any]] = lambda run, model: {}  # more of the job
    on_pairs: bool = False  # its rows are preference pairs, which `srlm export` hands on

    # In the child, likewise:
    figures: dict[str, str] = field(default_factory=dict)  # TRL's name -> name in train.jsonl, beside the common ones
    final: tuple[str, ...] = ()  # those of them whose last values the run's record keeps
    check: Callable[[dict[str, Any], TrainJob], None] = lambda row, job: None  # of the first step's row; may raise
    note: Callable[[TrainJob], dict[str, Any]] = lambda job: {}  # more for the run's record

    def lineage(self, t: int) -> str:
        """How this step makes M_t, in words."""
        return f"{self.label} of M{t - 1} on {self.learns_from.format(before=t - 1)}"


SFT = TrainingStep(
    name="sft",
    label="SFT",
    learns_from="instruction and judging examples (IFT, EFT)",
    inputs=sft.inputs,
    rows=sft.rows,
    sources=sft.sources,
    row=sft.SFTRow,
    encode=sft.encode,
    trainer=sft.trainer,
    replies=sft.replies,
)

DPO = TrainingStep(
    name="dpo",
    label="DPO",
    learns_from="preference pairs of the answers of M{before}",
    inputs=dpo.inputs,
    stages=dpo.stages,
    rows=dpo.rows,
    values=dpo.values,
    sources=dpo.sources,
    on_pairs=True,
    row=dpo.DPORow,
    encode=dpo.encode,
    trainer=dpo.trainer,
    replies=dpo.replies,
    figures=dpo.LOGGED,
    final=("reward_margin", "reward_accuracy", "logps_chosen", "logps_rejected"),
    check=dpo.check_reference,
    note=dpo.note,
)

STEPS = {SFT.name: SFT, DPO.name: DPO}


def step_of(t: int) -> TrainingStep:
    """What makes M_t of M_{t-1}."""
    return SFT if t == 1 else DPO
