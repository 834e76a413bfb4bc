"""DPO's reference: the starting model's log-probabilities of each row, computed once, before the first step.

They are kept beside the training's log, so that no second copy of the weights is held, and a training that goes on from
a checkpoint does not compute them again. TRL's own way keeps them in a cache that each process looks for in a folder of
its own.
"""

from typing import Any

from torch.utils.data import DataLoader

from srlm.model.adapter import adapter_of
from srlm.store import read_json, write_json
from srlm.train.job import TrainJob

SIDES = ("chosen", "rejected")


def with_reference(trainer: Any, rows: Any, job: TrainJob) -> Any:
    """The encoded rows with TRL's columns `ref_chosen_logps` and `ref_rejected_logps`: sums over a reply's tokens."""
    adapters = getattr(trainer.model, "peft_config", {})
    if adapter_of(job.model) and "ref" not in adapters:
        raise RuntimeError("the DPO reference would be M0: TRL has not copied the adapter that is gone on with")
    kept = read_json(job.reference) if job.reference.exists() else {}
    if kept.get("job") != job.digest():
        kept = {"job": job.digest()} | _log_probabilities(trainer, rows)
        if trainer.accelerator.is_main_process:
            write_json(job.reference, kept)
    if "ref" in adapters:  # that copy, which nothing needs any more
        trainer.model.delete_adapter("ref")
    for side in SIDES:
        rows = rows.add_column(f"ref_{side}_logps", kept[side])
    return rows


def _log_probabilities(trainer: Any, rows: Any) -> dict[str, list[float]]:
    """Side -> one number a row, from all processes together; rows of like length share a forward pass."""
    lengths = rows["length"]
    order = sorted(range(len(rows)), key=lambda row: -lengths[row])
    batches = DataLoader(
        rows.select(order), batch_size=trainer.args.per_device_train_batch_size, collate_fn=trainer.data_collator
    )
    found: dict[str, list[float]] = {side: [0.0] * len(rows) for side in SIDES}
    done = 0
    for batch in trainer.accelerator.prepare(batches):
        sums = trainer.accelerator.gather_for_metrics(trainer.compute_ref_log_probs(trainer.model, batch))
        for side, values in zip(SIDES, sums, strict=True):
            for number, value in enumerate(values.tolist(), done):
                found[side][order[number]] = value
        done += len(sums[0])
    return found
