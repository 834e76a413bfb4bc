"""Supervised fine-tuning, M0 -> M1 on IFT + EFT (paper: section 2.1): the loss covers the reply only.

One row of `steps.STEPS`. The parent reads this module, too: TRL is imported inside `trainer`, in the child.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from srlm.judge.prompts import Templates
from srlm.records import EFTRow, IFTRow, Messages
from srlm.run.folder import Run
from srlm.run.paths import BASELINE
from srlm.store import read_rows, write_rows
from srlm.train.encode import IGNORED, Encoded, Encoder, Reply, TrainingRow, empty
from srlm.train.job import TrainJob

# --- in the parent ---------------------------------------------------------------------------------------------------


def inputs(run: Run, model: str) -> tuple[str, ...]:
    """M_1 is made of IFT, EFT and the judge's template; the baseline of IFT alone."""
    if model == BASELINE:
        return ("seed/ift",)
    return "seed/ift", f"{BASELINE}/eft" if run.builds_eft else "seed/eft", "prompts/judge"


def rows(run: Run, model: str) -> Path:
    """Write what the model is trained on, train_rows.jsonl in its folder; returns the path."""
    path = run.paths.trained(model).train_rows
    eft = [] if model == BASELINE else read_rows(run.eft, EFTRow)
    write_rows(path, sft_rows(read_rows(run.seed("ift"), IFTRow), eft, run.templates))
    return path


def sft_rows(ift: Iterable[IFTRow], eft: Iterable[EFTRow], templates: Templates) -> Iterator[dict[str, Any]]:
    """IFT rows (all turns but the last are the prompt), then EFT rows under the same judge template as in rollout.

    In TRL's conversational prompt/completion form. Pure.
    """
    for row in ift:
        yield {"id": row.id, "prompt": row.messages[:-1], "completion": row.messages[-1:]}
    for eft_row in eft:
        prompt = eft_row.messages if eft_row.filled else templates.judge(eft_row.messages, eft_row.response)
        yield {
            "id": eft_row.id,
            "prompt": prompt,
            "completion": [{"role": "assistant", "content": eft_row.judgement}],
        }


def sources(run: Run, t: int) -> dict[str, Path]:
    """What the card of a model says that M_t was trained on."""
    return {"IFT": run.seed("ift"), "EFT": run.eft}


# --- in the child ----------------------------------------------------------------------------------------------------


class SFTRow(TrainingRow):
    """A prompt and the completion to learn."""

    completion: Messages


def encode(encoder: Encoder, row: SFTRow) -> Encoded | str:
    """TRL's pre-tokenized form: `input_ids` and `labels`, both (T,), and `length` = T."""
    if empty(row.completion):
        return "empty"
    start, ids = encoder.turn(row.prompt, row.completion)
    return {"input_ids": ids, "labels": [IGNORED] * start + ids[start:], "length": len(ids)}


def replies(row: Encoded) -> list[Reply]:
    """The completion is to be learned: what its likelihood gains is what the loss drops."""
    return [(row["input_ids"], row["labels"].count(IGNORED), 1.0)]


def trainer(job: TrainJob, model: Any, tokenizer: Any, rows: Any, callback: Any) -> Any:
    """TRL's trainer for encoded rows, which it takes as they are because they have `input_ids`."""
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    from srlm.train.arguments import training_arguments
    from srlm.train.batches import LevelledBatches
    from srlm.train.models import fresh_adapter

    class Trainer(LevelledBatches, SFTTrainer):
        """With srlm's row order."""

    return Trainer(
        model=model,
        args=training_arguments(job, SFTConfig),
        train_dataset=rows,
        processing_class=tokenizer,
        peft_config=fresh_adapter(job),
        callbacks=[callback],
    )
