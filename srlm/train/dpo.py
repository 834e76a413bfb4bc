"""Direct preference optimization, M_t -> M_{t+1} on AIFT(M_t) (paper: section 2.3), with M_t as the reference."""

from typing import Any

from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from srlm.train.arguments import training_arguments
from srlm.train.batches import LevelledBatches
from srlm.train.job import TrainJob
from srlm.train.models import load_model, lora_config


class _DPO(LevelledBatches, DPOTrainer):
    """TRL's trainer with srlm's row order, on rows that are encoded already."""

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset


def dpo_trainer(job: TrainJob, model: Any, tokenizer: Any, rows: Any, callback: Any) -> Any:
    """The trainer for encoded rows (`Encoder.dpo`).

    The reference is the starting model. Training all weights: a second copy, loaded from the same place in the same
    dtype, which no optimizer knows. LoRA: the model with its adapter switched off; the adapter is always a fresh
    one on plain weights (`load_model` refuses others), so that what is left is the starting model.
    """
    lora = lora_config(job.train.lora)
    trainer: Any = _DPO(
        model=model,
        ref_model=None if lora else load_model(job)[0],
        args=training_arguments(job, DPOConfig),
        train_dataset=rows,
        processing_class=tokenizer,
        peft_config=lora,
        callbacks=[callback],
    )
    if lora and (trainer.ref_model is not None or list(trainer.model.peft_config) != ["default"]):
        raise RuntimeError("under LoRA the reference must be the starting model with its one adapter switched off")
    return trainer


def reference_note(job: TrainJob) -> dict[str, str]:
    """Which model is the reference, for the run's record."""
    how = "the starting model with the LoRA adapter switched off" if job.train.lora.rank else "a frozen copy of it"
    return {"model": job.model, "how": how}
