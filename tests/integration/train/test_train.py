"""The train step on a tiny random model: reference, log, resume, bad input."""

import json
import math
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from srlm.errors import UserError
from srlm.model.chat import end_of_turn_ids
from srlm.settings import LoraSettings
from srlm.train import checkpoints
from srlm.train.job import TrainJob, batch_plan
from srlm.train.steps import STEPS
from tests.helpers.train_jobs import (
    CHATML,
    CutError,
    Make,
    dpo_rows,
    encoded,
    encoder,
    log_of,
    log_probability,
    make_tokenizer,
    run,
    sft_rows,
    weights,
)

# --- jobs ----------------------------------------------------------------------------------------------------------


def test_job_survives_its_file_and_fits_its_settings(make: Make) -> None:
    for algorithm in ("sft", "dpo"):
        job = make(algorithm)
        assert TrainJob.model_validate_json(job.model_dump_json()) == job
    with pytest.raises(ValueError, match="not those of sft"):
        make("sft").model_validate(make("dpo").model_dump() | {"algorithm": "sft"})
    with pytest.raises(ValueError, match="no training step is called 'judge'"):
        make("sft").model_validate(make("sft").model_dump() | {"algorithm": "judge"})


def test_digest_covers_the_outcome_and_no_paths(make: Make) -> None:
    digest = make(name="a").digest()
    assert make(name="b", train={"save_steps": 5, "per_device_batch": 2}).digest() == digest
    assert make(name="c", optimizer={"learning_rate": 1e-3}).digest() != digest
    assert make(name="d", rows=sft_rows(3)).digest() != digest


@pytest.mark.parametrize(
    ("batch", "per_device", "processes", "plan"),
    [(16, 8, 1, (8, 2)), (16, 16, 2, (8, 1)), (12, 8, 1, (6, 2)), (7, 4, 1, (1, 7)), (4, 64, 1, (4, 1))],
)
def test_batch_plan_is_exact(batch: int, per_device: int, processes: int, plan: tuple[int, int]) -> None:
    assert batch_plan(batch, per_device, processes) == plan


def test_batch_that_cannot_be_shared_names_the_numbers() -> None:
    with pytest.raises(UserError, match=r"16 cannot be split evenly among 3 processes.*18"):
        batch_plan(16, 8, 3)


def test_what_the_parent_reads_imports_no_torch() -> None:
    code = "import sys, srlm.iterate, srlm.train.steps, srlm.model.chat\n"
    code += "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# --- training ------------------------------------------------------------------------------------------------------


def test_sft_learns_and_leaves_a_whole_model(make: Make) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    job = make(optimizer={"epochs": 6})
    info = run(job)
    rows = log_of(job)
    assert [row["step"] for row in rows] == list(range(1, 19))
    assert {row["total_steps"] for row in rows} == {18}
    assert rows[-1]["loss"] < 0.8 * rows[0]["loss"]
    assert rows[0].keys() == {
        *("step", "total_steps", "epoch", "loss", "learning_rate", "grad_norm", "tokens", "seconds")
    }
    assert rows[-1]["learning_rate"] < 0.25 * rows[0]["learning_rate"]
    assert (info["rows"], info["steps"], info["epochs"], info["truncated"]) == (20, 18, 6, 0)
    assert (info["world_size"], info["resumed_from_step"], info["rows_dropped"]) == (1, 0, {})
    assert info["tokens"] == rows[-1]["tokens"] > 0
    assert not job.checkpoints.exists()
    AutoModelForCausalLM.from_pretrained(job.out)
    tokenizer = AutoTokenizer.from_pretrained(job.out)
    assert tokenizer.chat_template == CHATML
    assert GenerationConfig.from_pretrained(job.out).eos_token_id == end_of_turn_ids(tokenizer)
    config = json.loads((job.out / "config.json").read_text())
    assert config.get("use_cache", True)


def test_loosely_written_generation_config_does_not_stop_the_saving(make: Make, base: Path, tmp_path: Path) -> None:
    """transformers loads a temperature without do_sample with a warning, but refuses to save it."""
    from transformers import GenerationConfig

    loose = tmp_path / "loose"
    shutil.copytree(base, loose)
    (loose / "generation_config.json").write_text('{"temperature": 0.6, "top_p": 0.9, "eos_token_id": 257}')
    job = make(model=str(loose), optimizer={"epochs": 1})
    run(job)
    saved = GenerationConfig.from_pretrained(job.out)
    assert saved.eos_token_id == end_of_turn_ids(make_tokenizer())
    assert saved.temperature is None


def test_learning_rate_ends_at_its_ratio(make: Make) -> None:
    job = make(rows=sft_rows(8), optimizer={"batch_size": 2, "epochs": 5, "final_lr_ratio": 0.3, "warmup_ratio": 0.2})
    run(job)
    rates = [row["learning_rate"] / 5e-3 for row in log_of(job)]
    assert max(rates) == pytest.approx(1.0)
    assert rates.index(max(rates)) == pytest.approx(4, abs=1)
    assert rates[-1] == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize("rank", [0, 4])
def test_dpo_is_trained_against_its_starting_model(make: Make, base: Path, rank: int) -> None:
    """Step 1: loss ln 2, rewards 0. The reference's log-probabilities are those of the model as it was loaded."""
    from transformers import AutoModelForCausalLM

    job = make("dpo", train={"lora": LoraSettings(rank=rank), "per_device_batch": 4})
    info = run(job)
    rows = log_of(job)
    assert rows[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert rows[0]["rewards_chosen"] == pytest.approx(0, abs=1e-5)
    assert rows[0]["rewards_rejected"] == pytest.approx(0, abs=1e-5)
    assert rows[-1]["reward_margin"] > 0.01
    assert rows[-1]["logps_chosen"] != rows[-1]["logps_rejected"]
    assert info["reference"]["model"] == job.model
    kept, start = json.loads(job.reference.read_text()), AutoModelForCausalLM.from_pretrained(base)
    for side in ("chosen", "rejected"):
        wanted = [log_probability(start, row, side) for row in encoded(encoder(), "dpo", dpo_rows())]
        assert len(set(wanted)) > 5
        assert kept[side] == pytest.approx(wanted, rel=2e-4, abs=1e-3)


def test_no_second_model_is_held(make: Make, monkeypatch: Any) -> None:
    made: list[Any] = []
    real = STEPS["dpo"].trainer
    keeping = replace(STEPS["dpo"], trainer=lambda *args: made.append(real(*args)) or made[0])
    monkeypatch.setitem(STEPS, "dpo", keeping)
    run(make("dpo"))
    assert made[0].ref_model is None


def test_reference_of_an_interrupted_training_is_kept(make: Make, cut_after: Any) -> None:
    """It was computed of the starting model; what is loaded from a checkpoint is another one already."""
    job = make("dpo")
    cut_after(3)
    with pytest.raises(CutError):
        run(job)
    kept, stamp = job.reference.read_text(), job.reference.stat().st_mtime_ns
    cut_after(0)
    run(job)
    assert (job.reference.read_text(), job.reference.stat().st_mtime_ns) == (kept, stamp)


def test_wrong_reference_stops_the_training(make: Make) -> None:
    """A reference that is another model is noticed at the first step."""
    job = make("dpo")
    run(job)
    kept = json.loads(job.reference.read_text())
    job.reference.write_text(json.dumps(kept | {"chosen": [1.1 * value for value in kept["chosen"]]}))
    shutil.rmtree(job.out)
    with pytest.raises(RuntimeError, match="reference is not the starting model"):
        run(job)


def test_reference_of_other_rows_is_computed_anew(make: Make) -> None:
    run(make("dpo"))
    job = make("dpo", rows=dpo_rows(8))
    shutil.rmtree(job.out)
    run(job)
    assert len(json.loads(job.reference.read_text())["chosen"]) == 8


def test_gradient_checkpointing_changes_no_result(make: Make) -> None:
    run(plain := make(name="plain"))
    run(thrifty := make(name="thrifty", train={"gradient_checkpointing": True}))
    losses = [[row["loss"] for row in log_of(job)] for job in (plain, thrifty)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_same_seed_same_weights_other_seed_others(make: Make) -> None:
    jobs = [make(name="a"), make(name="b"), make(name="c", seed=8)]
    for job in jobs:
        run(job)
    assert weights(jobs[0]) == weights(jobs[1]) != weights(jobs[2])


# --- resume --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("algorithm", "rank", "end", "resumed"),
    [("sft", 0, 3, 2), ("sft", 0, 1, 0), ("dpo", 0, 3, 2), ("dpo", 0, 6, 4), ("dpo", 4, 5, 4)],
)
def test_interrupted_training_ends_with_the_same_weights(
    make: Make, cut_after: Any, algorithm: str, rank: int, end: int, resumed: int
) -> None:
    changes = {"train": {"lora": LoraSettings(rank=rank), "save_steps": 2, "per_device_batch": 4}}
    run(straight := make(algorithm, "straight", **changes))
    cut_after(end)
    job = make(algorithm, "cut", **changes)
    with pytest.raises(CutError):
        run(job)
    assert not job.out.exists()
    cut_after(0)
    info = run(job)
    assert info["resumed_from_step"] == resumed
    assert weights(job) == weights(straight)
    keep = ("step", "loss", "tokens", "learning_rate", "grad_norm")
    assert [[row[k] for k in keep] for row in log_of(job)] == [[row[k] for k in keep] for row in log_of(straight)]


def test_torn_checkpoint_is_passed_over(make: Make, cut_after: Any) -> None:
    run(straight := make(name="straight"))
    cut_after(5)
    job = make(name="cut")
    with pytest.raises(CutError):
        run(job)
    newest = checkpoints.newest(job.checkpoints, job.digests)
    assert newest is not None
    assert newest.name == "checkpoint-4"
    with (newest / "optimizer.pt").open("r+b") as file:
        file.truncate(100)
    cut_after(0)
    assert run(job)["resumed_from_step"] == 2
    assert weights(job) == weights(straight)


def test_checkpoint_of_other_settings_is_refused(make: Make, cut_after: Any) -> None:
    cut_after(3)
    with pytest.raises(CutError):
        run(make())
    with pytest.raises(UserError, match="other rows or settings"):
        run(make(optimizer={"learning_rate": 1e-4}))


def test_keep_checkpoints_keeps_the_newest(make: Make) -> None:
    job = make(train={"keep_checkpoints": 1, "save_steps": 2})
    run(job)
    assert [path.name for path in job.checkpoints.glob("checkpoint-*")] == ["checkpoint-6"]


def test_finished_job_is_not_done_again(make: Make) -> None:
    job = make()
    info = run(job)
    before = (job.out / "model.safetensors").stat().st_mtime_ns
    assert run(job) == info
    assert (job.out / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(UserError, match="made by another training"):
        run(make(optimizer={"learning_rate": 1e-4}))


# --- the user's errors ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": []}, "no rows to train on .the file is empty"),
        ({"max_length": 16}, r"no rows to train on .20 overlong.*raise model.max_length"),
        ({"model": "no/where/at-all"}, "no/where/at-all"),
        ({"optimizer": {"extra": {"max_lenght": 5}}}, "sft.extra: unknown key max_lenght.*did you mean max_length"),
        ({"optimizer": {"extra": {"max_length": 5}}}, "max_length cannot be set"),
        ({"optimizer": {"extra": {"label_smoothing_factor": 0.1}}}, "label_smoothing_factor cannot be set: remove it"),
        ({"optimizer": {"extra": {"learning_rate": 5}}}, "learning_rate is set by srlm's own settings"),
        ({"optimizer": {"extra": {"optim": "adamm"}}}, "sft.extra: "),
        ({"optimizer": {"extra": {"fsdp": "full_shard"}}}, "sft.extra: fsdp cannot be set.*must hold all weights"),
        (
            {"optimizer": {"extra": {"loss_type": ["robust"], "label_smoothing": 0.1}}},
            "sft.extra: unknown key label_smoothing",
        ),
        ({"train": {"report_to": ["tensorbored"]}}, "unknown tracker tensorbored"),
        ({"optimizer": {"learning_rate": 1e30}}, "diverged at step|lower the learning rate"),
    ],
)
def test_users_errors_are_one_line(make: Make, monkeypatch: Any, changes: dict[str, Any], message: str) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match=message) as caught:
        run(make(**changes))
    assert "\n" not in str(caught.value)


def test_missing_tracker_says_what_to_install(make: Make, monkeypatch: Any) -> None:
    monkeypatch.setattr("srlm.train.trackers.TRACKERS", {"wandb": "no_such_package"})
    with pytest.raises(UserError, match="wandb is not installed: pip install"):
        run(make(train={"report_to": ["wandb"]}))


def test_tensorboard_writes_beside_the_log(make: Make) -> None:
    pytest.importorskip("tensorboard")
    job = make(train={"report_to": ["tensorboard"]})
    run(job)
    assert list((job.log.parent / "tensorboard").glob("events*"))


def test_extra_reaches_trl(make: Make) -> None:
    job = make("dpo", optimizer={"extra": {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 1.0]}})
    run(job)
    assert log_of(job)[0]["loss"] > 1.5  # ln 2 and an untrained model's nll


def test_all_fields_of_a_step_are_finite_json(make: Make) -> None:
    job = make("dpo")
    run(job)
    for row in log_of(job):
        assert all(math.isfinite(value) for value in row.values())
        assert {"logps_chosen", "logps_rejected", "reward_accuracy", "reward_margin"} <= row.keys()
