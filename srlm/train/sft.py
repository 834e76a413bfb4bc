"""Supervised fine-tuning, M0 -> M1 on IFT + EFT (paper: section 2.1): the loss covers the reply only."""

from typing import Any

from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from srlm.train.arguments import training_arguments
from srlm.train.batches import LevelledBatches
from srlm.train.job import TrainJob
from srlm.train.models import lora_config


class _SFT(LevelledBatches, SFTTrainer):
    """TRL's trainer with srlm's row order."""


def sft_trainer(job: TrainJob, model: Any, tokenizer: Any, rows: Any, callback: Any) -> Any:
    """The trainer for encoded rows (`Encoder.sft`), which TRL takes as they are because they have `input_ids`."""
    return _SFT(
        model=model,
        args=training_arguments(job, SFTConfig),
        train_dataset=rows,
        processing_class=tokenizer,
        peft_config=lora_config(job.train.lora),
        callbacks=[callback],
    )
