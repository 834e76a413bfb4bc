"""Direct preference optimization, M_t -> M_{t+1} on AIFT(M_t) (paper: section 2.3), with M_t as the reference.

One row of `steps.STEPS`. The parent reads this module, too: TRL is imported inside `trainer`, in the child.
"""

from pathlib import Path
from typing import Any

from srlm.errors import UserError
from srlm.records import Messages
from srlm.run.folder import Run
from srlm.run.stage import JUDGED, SAMPLED, Stage, model_number
from srlm.settings import DPOSettings
from srlm.store import read_json
from srlm.train.encode import Encoded, Encoder, Reply, TrainingRow, empty
from srlm.train.job import TrainJob

# TRL's name of a figure -> its name in train.jsonl
LOGGED = {
    "logps/chosen": "logps_chosen",
    "logps/rejected": "logps_rejected",
    "rewards/chosen": "rewards_chosen",
    "rewards/rejected": "rewards_rejected",
    "rewards/accuracies": "reward_accuracy",
    "rewards/margins": "reward_margin",
}
SMOOTHED = {"robust", "exo_pair", "aot", "aot_unpaired"}  # TRL's losses that read label_smoothing; others ignore it

# --- in the parent ---------------------------------------------------------------------------------------------------


def inputs(run: Run, model: str) -> tuple[str, ...]:
    """M_{t+1} is made of M_t and of the pairs that M_t made."""
    t = model_number(model) - 1
    return f"M{t}/train", f"M{t}/pairs"


def stages(run: Run, t: int) -> list[Stage]:
    """From AIFT(M_t) to the pairs, and before these what options of [pairs] need of other models.

    That is an earlier model's answers, judged by M_t (`anchor`), and M_{t-1}'s judgements (`consistency`).
    """
    paths, settings, judging = run.at(t), run.config.pairs, (f"M{t}/train", f"M{t}/aift", "prompts/judge")
    asked = []
    if settings.anchor not in ("off", f"M{t}"):
        past = [f"{settings.anchor}/train"] if settings.anchor != "M0" else []
        read = (*JUDGED, *SAMPLED, "rollout.candidates", "pairs.anchor")
        asked.append(Stage(f"M{t}/past", read, (*judging, *past), (paths.past_judged, paths.past)))
    if settings.consistency != "off":
        previous = [f"M{t - 1}/train"] if t > 1 else []
        asked.append(Stage(f"M{t}/previous", JUDGED, (*judging, *previous), (paths.previous_judged,)))
    made_from = (f"M{t}/aift", *(stage.name for stage in asked))
    files = (paths.pairs, paths.dropped, paths.consistency, paths.gate)
    return [*asked, Stage(f"M{t}/pairs", ("pairs",), made_from, files)]


def rows(run: Run, model: str) -> Path:
    """The pairs that the model before it made."""
    return run.at(model_number(model) - 1).pairs


def values(run: Run, model: str) -> dict[str, Any]:
    """CREAM's C of the pairs, by which the loss is softened; 1 where that is not asked for, or C is not defined."""
    if run.config.pairs.consistency != "soften":
        return {}
    found: float | None = read_json(run.at(model_number(model) - 1).consistency)["consistency"]
    return {} if found is None else {"consistency": found}


def sources(run: Run, t: int) -> dict[str, Path]:
    """What the card of a model says that M_t was trained on."""
    return {f"pairs of M{t - 1}": rows(run, f"M{t}")}


# --- in the child ----------------------------------------------------------------------------------------------------


class DPORow(TrainingRow):
    """A prompt and two replies, the better one and the worse one; other columns (scores) are ignored."""

    chosen: Messages
    rejected: Messages


def encode(encoder: Encoder, row: DPORow) -> Encoded | str:
    """What TRL's preference collator takes: `prompt_ids`, `chosen_ids`, `rejected_ids`; `length` of the longer."""
    if empty(row.chosen) or empty(row.rejected):
        return "empty"
    chosen_start, chosen = encoder.turn(row.prompt, row.chosen)
    rejected_start, rejected = encoder.turn(row.prompt, row.rejected)
    if chosen == rejected:
        return "same"
    start = min(chosen_start, rejected_start)
    ids = {"prompt_ids": chosen[:start], "chosen_ids": chosen[start:], "rejected_ids": rejected[start:]}
    return ids | {"length": max(len(chosen), len(rejected))}


def replies(row: Encoded) -> list[Reply]:
    """Chosen against rejected: what the difference of their log-probabilities gains is DPO's margin over beta."""
    start = len(row["prompt_ids"])
    return [
        (row["prompt_ids"] + row[f"{side}_ids"], start, sign) for side, sign in (("chosen", 1.0), ("rejected", -1.0))
    ]


def trainer(job: TrainJob, model: Any, tokenizer: Any, rows: Any, callback: Any) -> Any:
    """TRL's trainer for encoded rows.

    The reference is the starting model, which the trainer's still is when it is made. Its log-probabilities are
    computed then (`reference`), so that it need not be held.
    """
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer

    from srlm.train.arguments import training_arguments
    from srlm.train.batches import LevelledBatches
    from srlm.train.models import fresh_adapter
    from srlm.train.reference import with_reference

    class Trainer(LevelledBatches, DPOTrainer):
        """With srlm's row order, on rows that are encoded already."""

        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset

        def _precompute_ref_logps(self, dataset: Any, *_: Any) -> Any:
            return with_reference(self, dataset, job)

    return Trainer(
        model=model,
        args=training_arguments(job, DPOConfig, own_arguments(job)),
        train_dataset=rows,
        processing_class=tokenizer,
        peft_config=fresh_adapter(job),
        callbacks=[callback],
    )


def own_arguments(job: TrainJob) -> dict[str, Any]:
    """TRL's arguments that follow from [dpo] and the job. Raises UserError for a label_smoothing that nothing reads."""
    settings = job.optimizer
    assert isinstance(settings, DPOSettings)  # the job has seen to it
    losses = settings.extra.get("loss_type", "sigmoid")
    if "label_smoothing" in settings.extra and not SMOOTHED & {*([losses] if isinstance(losses, str) else losses)}:
        fix = f"set loss_type to one that uses it: {', '.join(sorted(SMOOTHED))}"
        raise UserError("dpo.extra: label_smoothing does nothing with this loss", fix)
    return {"beta": settings.beta, "precompute_ref_log_probs": True} | dpo_losses(settings.nll_weight, job.consistency)


def dpo_losses(nll_weight: float, consistency: float) -> dict[str, Any]:
    """TRL's arguments for DPO with an NLL term on chosen, and softened by CREAM's C; {} for plain DPO.

    With A = DPO(chosen, rejected) and B = DPO(rejected, chosen), soft DPO is C * A + (1 - C) * B. None of TRL's losses
    is that: "sigmoid" ignores `label_smoothing`, and "robust" takes ((1 - e) * A - e * B) / (1 - 2 * e), which
    sharpens. But at e = 1/3 "robust" is 2 * A - B, so that C * A + (1 - C) * B = (2 - C) * A - (1 - C) * robust.
    TRL's "sft" is the mean over all chosen tokens of a forward pass, not first over each answer.
    """
    weights = {"sigmoid": 1.0}
    if consistency < 1:
        weights = {"sigmoid": 2 - consistency, "robust": consistency - 1}
    if nll_weight:
        weights["sft"] = nll_weight
    if len(weights) == 1:
        return {}
    smoothing = {"label_smoothing": 1 / 3} if "robust" in weights else {}
    return {"loss_type": list(weights), "loss_weights": list(weights.values())} | smoothing


def check_reference(row: dict[str, Any], job: TrainJob) -> None:
    """At the first step policy and reference are one model, so that the implicit rewards are 0 but for rounding.

    Rounding differs with the rows that share a forward pass, and those are others than for the reference. Raises
    RuntimeError otherwise: training against a wrong reference looks healthy and is worthless.
    """
    from srlm.train.arguments import in_bf16

    assert isinstance(job.optimizer, DPOSettings)
    rounding = 1e-2 if in_bf16(job) else 1e-3  # of a log-probability
    for side in ("chosen", "rejected"):
        if (reward := row.get(f"rewards_{side}")) is None:
            return
        if abs(reward) > rounding * job.optimizer.beta * (1 + abs(row[f"logps_{side}"])):
            raise RuntimeError(f"the DPO reference is not the starting model: reward of {side} is {reward} at step 1")


def note(job: TrainJob) -> dict[str, Any]:
    """Which model is the reference, for the run's record."""
    return {"reference": {"model": job.model, "how": "its log-probabilities, computed before the first step"}}
