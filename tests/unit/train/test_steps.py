"""The table of training steps: what each row says to the parent, and the digests that old checkpoints are bound to."""

from pathlib import Path
from typing import Any

import pytest

from srlm.fields import later
from srlm.loop.stages import stages
from srlm.run.paths import BASELINE
from srlm.settings import Config, DPOSettings, OptimizerSettings, PairSettings, SFTSettings, TrainSettings
from srlm.store import write_json, write_rows
from srlm.train.job import TrainJob
from srlm.train.steps import DPO, SFT, STEPS, step_of
from tests.helpers.run_folder import bare_run, finished_run


def test_each_step_has_a_table_of_settings_by_its_name() -> None:
    for name, step in STEPS.items():
        assert step.name == name
        assert isinstance(getattr(Config(model={"path": "m"}), name), OptimizerSettings)  # type: ignore[arg-type]


def test_sft_makes_m1_and_dpo_what_follows() -> None:
    assert [step_of(t) for t in (1, 2, 5)] == [SFT, DPO, DPO]
    assert step_of(1).lineage(1) == "SFT of M0 on instruction and judging examples (IFT, EFT)"
    assert step_of(3).lineage(3) == "DPO of M2 on preference pairs of the answers of M2"


def test_what_is_done_between_a_models_rollout_and_the_next_training(tmp_path: Path) -> None:
    run = bare_run(tmp_path / "r")
    assert SFT.stages(run, 1) == []
    assert [stage.name for stage in DPO.stages(run, 1)] == ["M1/pairs"]
    assert {stage.name: stage for stage in stages(run, 3)}["M2/pairs"] == DPO.stages(run, 2)[0]


def test_sft_writes_its_rows_and_dpo_finds_them(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "r")
    assert SFT.rows(run, "M1") == run.root / "M1" / "train_rows.jsonl"
    assert SFT.rows(run, BASELINE).is_file()
    assert SFT.inputs(run, BASELINE) == ("seed/ift",)
    assert DPO.rows(run, "M2") == run.root / "M1" / "aift" / "pairs.jsonl"


def test_consistency_softens_dpo_where_asked_and_defined(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "r")
    assert SFT.values(run, "M1") == DPO.values(run, "M2") == {}
    run.config = run.config.model_copy(update={"pairs": PairSettings(consistency="soften")})
    for found, wanted in ((0.7, {"consistency": 0.7}), (None, {})):
        write_json(run.at(1).consistency, {"consistency": found})
        assert DPO.values(run, "M2") == wanted


OLD = TrainSettings(save_dtype="base")  # as all trainings were before the setting came


def job(folder: Path, step: str, optimizer: OptimizerSettings, **changes: Any) -> TrainJob:
    write_rows(folder / "rows.jsonl", [{"id": "a"}])
    paths: dict[str, Any] = {name: folder / name for name in ("out", "checkpoints", "log", "reference")}
    values = {"algorithm": step, "optimizer": optimizer, "rows": folder / "rows.jsonl", "train": OLD}
    return TrainJob(**paths | values | {"model": "m", "seed": 3, "max_length": 99} | changes)


@pytest.mark.parametrize(
    ("step", "optimizer", "changes", "digest"),
    [
        ("sft", SFTSettings(), {}, "81962937fda6066d"),
        ("dpo", DPOSettings(), {}, "092961833d354d15"),
        ("dpo", DPOSettings(nll_weight=1), {"consistency": 0.7}, "df089bd5979d75f2"),
    ],
)
def test_a_job_has_the_digest_that_its_checkpoints_were_sealed_with(
    tmp_path: Path, step: str, optimizer: OptimizerSettings, changes: dict[str, Any], digest: str
) -> None:
    """Another value here throws away the checkpoints and finished models of all runs: mark new settings `later`."""
    assert job(tmp_path, step, optimizer, **changes).digest() == digest


def test_checkpointing_is_no_part_of_a_job_and_old_jobs_that_covered_it_are_the_same(tmp_path: Path) -> None:
    """The second digest is that of an older version with train.gradient_checkpointing = true."""
    thrifty = TrainSettings(save_dtype="base", gradient_checkpointing=True)
    plain, other = (job(tmp_path, "sft", SFTSettings(), train=train) for train in (OLD, thrifty))
    assert plain.digest() == other.digest()
    assert plain.digests == other.digests == {"81962937fda6066d", "e31ea1e265673c67"}
    assert job(tmp_path, "sft", SFTSettings(), train=TrainSettings()).digest() not in plain.digests


class Grown(SFTSettings):
    """SFT with a setting that came later."""

    packed: bool = later(True, "Whether rows are joined.", before=False)


def test_a_setting_that_comes_later_changes_no_digest_until_it_does_something(tmp_path: Path) -> None:
    old = job(tmp_path, "sft", SFTSettings()).digest()
    assert job(tmp_path, "sft", Grown(packed=False)).digest() == old
    assert job(tmp_path, "sft", Grown()).digest() != old
