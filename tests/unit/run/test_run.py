"""The run folder: what is owed, what is stale, what is kept aside, who holds the lock."""

import json
from pathlib import Path
from typing import Any

import pytest

from srlm.config import MOVED
from srlm.errors import UserError
from srlm.loop.plan import check_plan, disk_use, make_plan
from srlm.loop.redo import set_aside
from srlm.loop.stages import stages
from srlm.packaged import DEMO
from srlm.run.folder import Run, find_run
from srlm.run.stage import opponents
from srlm.settings import LoraSettings, PairSettings, TrainSettings, VersusSettings
from srlm.store import read_json, write_json, write_rows
from tests.helpers.run_folder import bare_run, eval_answers, finished_run


def states(run: Run, n: int) -> dict[str, str]:
    return {item.stage.name: item.state for item in make_plan(run, n)}


def change(run: Run, old: str, new: str) -> Run:
    """Edit config.toml as a user would, and open the run again."""
    path = run.root / "config.toml"
    text = path.read_text()
    assert text.count(old) >= 1
    path.write_text(text.replace(old, new))
    return Run(run.root)


def with_settings(run: Run, **tables: Any) -> Run:
    """The run with other tables of settings, in memory only."""
    run.config = run.config.model_copy(update=tables)
    return run


def test_the_plan_counts_what_redo_makes_again(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "r")
    found = {item.stage.name: item for item in make_plan(run, 3, "M2")}
    assert [(name, item.state) for name, item in found.items() if item.state != "done"] == [
        ("M2/train", "redo"), ("M2/eval", "redo"),
        ("M2/aift", "owed"), ("M2/pairs", "owed"), ("M3/train", "owed"), ("M3/eval", "owed"),
    ]  # fmt: skip
    assert (found["M2/train"].seconds, found["M2/eval"].seconds) == (12.0, 12.0)
    assert make_plan(run, 3, "M1")[1].state == "redo"
    assert found["M2/aift"].tokens > 0


def test_the_plan_shows_what_follows_from_a_stale_stage(tmp_path: Path) -> None:
    run = change(finished_run(tmp_path / "r"), "few_shot_ift = 6", "few_shot_ift = 5")
    found = {item.stage.name: item for item in make_plan(run, 2)}
    assert "few_shot_ift was 6" in found["M1/aift"].why
    assert [name for name, item in found.items() if item.why == "made from what is out of date"] == [
        "M1/pairs", "M2/train", "M2/eval",
    ]  # fmt: skip
    assert found["M2/train"].seconds == 12.0


def test_a_partial_stage_counts_only_what_is_left(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "r")
    stage = stages(run, 3)[7]
    run.begin(stage)
    whole = {item.stage.name: item for item in make_plan(run, 3)}["M2/aift"]
    write_rows(run.at(2).rollouts, [row.rollout for row in eval_answers(2)])
    count = run.config.instructions.count
    part = {item.stage.name: item for item in make_plan(run, 3)}["M2/aift"]
    assert (whole.state, part.state) == ("partial", "partial")
    assert part.tokens == int(whole.tokens * (count - 2) / count)
    assert part.seconds == pytest.approx(11.0 * (count - 2) / count)


def test_what_has_become_a_knob_makes_nothing_stale(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "r")
    run.record.stages["M1/train"].settings["train.gradient_checkpointing"] = True  # as older versions recorded it
    run.save()
    assert set(states(Run(run.root), 2).values()) == {"done"}
    assert set(states(change(run, 'gradient_checkpointing = "auto"', "gradient_checkpointing = true"), 2).values()) == {
        "done"
    }


def test_float32_models_take_twice_the_disk_of_a_bfloat16_one(tmp_path: Path) -> None:
    run, base = bare_run(tmp_path / "r"), tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text('{"dtype": "bfloat16"}')
    (base / "model.safetensors").write_bytes(bytes(100))
    with_settings(run, model=run.config.model.model_copy(update={"path": str(base)}))
    assert disk_use(run) == (200, 1200)
    assert disk_use(with_settings(run, train=TrainSettings(save_dtype="base"))) == (100, 1200)


def test_under_lora_the_adapter_is_all_that_stays(tmp_path: Path) -> None:
    run = bare_run(tmp_path / "r")
    with_settings(run, model=run.config.model.model_copy(update={"path": str(DEMO / "base")}))
    whole, adapted = disk_use(run), disk_use(with_settings(run, train=TrainSettings(lora=LoraSettings(rank=8))))
    assert whole is not None
    assert adapted is not None
    assert 0 < adapted[0] < whole[0] / 10
    assert adapted[1] == 6 * adapted[0]  # two checkpoints, each with Adam's two moments


def test_the_order_of_stages(tmp_path: Path) -> None:
    assert [stage.name for stage in stages(bare_run(tmp_path / "r"), 2)] == [
        "M0/eval", "M1/train", "M1/eval", "M1/aift", "M1/pairs", "M2/train", "M2/eval",
    ]  # fmt: skip


def test_trainings_by_one_step_take_about_the_same_time(tmp_path: Path) -> None:
    kinds = {stage.name: stage.kind for stage in stages(bare_run(tmp_path / "r"), 3)}
    assert [kinds[name] for name in ("M1/train", "M2/train", "M3/train")] == ["sft", "dpo", "dpo"]
    assert all(kind == name.split("/")[1] for name, kind in kinds.items() if not name.endswith("/train"))


def test_head_to_head_is_a_stage_of_each_trained_model(tmp_path: Path) -> None:
    run = with_settings(bare_run(tmp_path / "r"), versus=VersusSettings(in_loop=True, mode="pairwise"))
    found = {stage.name: stage for stage in stages(run, 3)}
    assert [name for name in found if name.endswith("versus")] == ["M1/versus", "M2/versus", "M3/versus"]
    assert found["M3/versus"].inputs == ("M1/eval", "M2/eval", "M3/eval", "M1/train", "prompts/versus")
    assert [opponents(t, pairwise=False) for t in (1, 2, 4)] == [[0], [1], [1, 2, 3]]
    assert "eval" not in found["M3/eval"].settings  # another judge of head to head leaves evaluations valid


def test_options_of_pairs_that_ask_other_models_have_stages(tmp_path: Path) -> None:
    run = bare_run(tmp_path / "r")

    def made(**pairs: Any) -> dict[str, tuple[str, ...]]:
        found = stages(with_settings(run, pairs=PairSettings(**pairs)), 3)
        return {stage.name: stage.inputs for stage in found if stage.part in ("past", "previous", "pairs")}

    assert list(made(anchor="M1")) == ["M1/pairs", "M2/past", "M2/pairs"]  # M1 is not its own past
    assert list(made(anchor="M0")) == ["M1/past", "M1/pairs", "M2/past", "M2/pairs"]
    found = made(anchor="M1", consistency="soften")
    assert found["M2/pairs"] == ("M2/aift", "M2/past", "M2/previous")
    assert "M1/train" in found["M2/past"]
    assert "M1/train" in found["M2/previous"]
    assert "M0/train" not in found["M1/previous"]  # the base is not trained here


def test_redo_of_all_that_is_stale(tmp_path: Path) -> None:
    run = change(finished_run(tmp_path / "r"), "samples = 3", "samples = 5")
    with pytest.raises(UserError, match=r"judge\.samples was 3, is now 5"):
        check_plan(run, 2, "M1/eval")  # M0/eval is stale, too
    check_plan(run, 2, "stale")
    set_aside(run, "stale")
    assert states(Run(run.root), 2) == {
        "M0/eval": "owed", "M1/train": "done", "M1/eval": "owed", "M1/aift": "owed", "M1/pairs": "owed",
        "M2/train": "owed", "M2/eval": "owed",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("redo", "gone"), [("M2", "M2, M3"), ("M2/eval", "M2, M3"), ("M1/eval", "M2, M3"), ("M2/pairs", "M3")]
)
def test_a_head_to_head_goes_with_the_answers_that_it_compared(
    tmp_path: Path, redo: str, gone: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished_run(tmp_path / "r", 3)
    for t, others in ((2, ["M1"]), (3, ["M1", "M2"])):
        write_json(run.at(t).versus, {"judge": {}, "against": {other: {"win_rate": 0.9} for other in others}})
    aside = set_aside(run, redo)
    assert f"The head to head of {gone} goes with the old answers: run `srlm eval" in capsys.readouterr().err
    for model in ("M2", "M3"):
        assert (run.root / model / "versus.json").exists() != (model in gone)
        assert (aside / model / "versus.json").exists() == (model in gone)


def test_two_redos_within_one_second_keep_the_files_of_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = finished_run(tmp_path / "r", 3)
    monkeypatch.setattr("srlm.loop.redo.time.strftime", lambda *_: "2026-11-26T10-00-00")
    folders = [set_aside(run, redo) for redo in ("M3/eval", "M2/eval")]
    assert [folder.name for folder in folders] == ["2026-11-26T10-00-00", "2026-11-26T10-00-00-2"]
    assert [sorted(read_json(folder / "stages.json")) for folder in folders] == [["M3/eval"], ["M2/eval"]]


def test_a_finished_run_owes_only_what_the_next_model_needs(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "r")
    assert set(states(run, 2).values()) == {"done"}
    owed = [name for name, state in states(run, 3).items() if state == "owed"]
    assert owed == ["M2/aift", "M2/pairs", "M3/train", "M3/eval"]


def test_a_begun_stage_is_partial_even_when_its_owner_died(tmp_path: Path) -> None:
    run = bare_run(tmp_path / "r")
    run.begin(stages(run, 1)[0])
    assert states(Run(run.root), 1)["M0/eval"] == "partial"


def test_a_setting_that_only_owed_stages_read_may_change_and_is_recorded(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "r")
    set_aside(run, "M1/aift")
    run = change(run, "few_shot_ift = 6", "few_shot_ift = 5")  # only M1/aift reads it, which is owed
    run = change(run, "candidates = 4\n# Instructions", "candidates = 8\n# Instructions")  # no evaluation reads it
    assert [item["key"] for item in check_plan(run, 2)] == ["instructions.few_shot_ift", "rollout.candidates"]
    assert Run(run.root).record.changes[0]["is"] == 5
    assert check_plan(Run(run.root), 2) == []


def test_a_setting_that_a_finished_stage_read_may_not_change(tmp_path: Path) -> None:
    run = change(finished_run(tmp_path / "r"), "few_shot_ift = 6", "few_shot_ift = 5")
    with pytest.raises(UserError, match=r"M1/aift .*few_shot_ift was 6, is now 5"):
        check_plan(run, 3)
    assert check_plan(run, 3, "M1/aift")[0]["key"] == "instructions.few_shot_ift"


def test_speed_may_change_at_any_time_but_not_what_the_engine_computes(tmp_path: Path) -> None:
    run = change(finished_run(tmp_path / "r"), 'max_in_flight = "auto"', "max_in_flight = 8")
    run = change(run, "[engine.args]", "[engine.args]\ntensor_parallel_size = 2")
    assert [item["key"] for item in check_plan(run, 2)] == ["engine.args.tensor_parallel_size", "rollout.max_in_flight"]
    run = change(run, "tensor_parallel_size = 2", 'tensor_parallel_size = 2\nquantization = "fp8"')
    with pytest.raises(UserError, match=r"engine\.args\.quantization was null, is now \"fp8\""):
        check_plan(run, 2)


def test_redo_lifts_only_what_it_makes_anew(tmp_path: Path) -> None:
    run = change(finished_run(tmp_path / "r"), "beta = 0.1", "beta = 0.2")
    assert check_plan(run, 2, "M2")
    run = change(run, "final_lr_ratio = 0.2", "final_lr_ratio = 0.3")  # of SFT
    with pytest.raises(UserError, match="M1/train"):
        check_plan(run, 2, "M2")


def test_a_stale_stage_says_what_differs_and_what_to_do(tmp_path: Path) -> None:
    run = change(finished_run(tmp_path / "r"), "beta = 0.1", "beta = 0.2")
    assert states(run, 2)["M1/train"] == "done"  # SFT does not read dpo.beta
    with pytest.raises(UserError) as error:
        check_plan(run, 2)
    assert "M2/train" in str(error.value)
    assert "dpo.beta was 0.1, is now 0.2" in str(error.value)
    assert "--redo stale" in str(error.value)


def test_how_the_seed_data_was_split_cannot_change(tmp_path: Path) -> None:
    run = change(finished_run(tmp_path / "r"), "held_out_eft = 0.25", "held_out_eft = 0.5")
    with pytest.raises(UserError, match=r"data\.held_out_eft is 0\.5, but it was 0\.25 .* new run"):
        check_plan(run, 3)


def test_a_broken_run_record_is_named(tmp_path: Path) -> None:
    run = bare_run(tmp_path / "r")
    (run.root / "run.json").write_text('{"created": 3}')
    with pytest.raises(UserError, match=r"run\.json: created"):
        Run(run.root)


def test_a_changed_seed_file_or_template_is_noticed(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "r")
    (run.root / "seed" / "ift.jsonl").write_text("\n")
    assert states(Run(run.root), 2)["M1/train"] == "stale"
    run = finished_run(tmp_path / "s")
    template = run.root / "prompts" / "judge.txt"
    template.write_text(template.read_text() + "\nBe strict.")
    found = states(Run(run.root), 2)
    assert (found["M0/eval"], found["M1/train"], found["M1/eval"]) == ("stale", "stale", "stale")


def test_a_lost_model_makes_its_stage_stale(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "r")
    (run.root / "M1" / "model").rmdir()
    assert states(run, 2)["M1/train"] == "stale"


def test_redo_keeps_the_old_files_and_owes_all_that_follows(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "r")
    aside = set_aside(run, "M1/aift")
    assert {name for name, state in states(Run(run.root), 2).items() if state == "owed"} == {
        "M1/aift", "M1/pairs", "M2/train", "M2/eval",
    }  # fmt: skip
    assert (aside / "M1" / "aift" / "rollouts.jsonl").is_file()
    assert (aside / "M2" / "eval.jsonl").is_file()
    assert not (run.root / "M2" / "eval.jsonl").exists()
    assert (run.root / "M1" / "model").is_dir()


def test_redo_of_what_was_never_made_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no M7/train"):
        set_aside(finished_run(tmp_path / "r"), "M7")


def test_a_newer_run_folder_is_refused(tmp_path: Path) -> None:
    run = bare_run(tmp_path / "r")
    path = run.root / "run.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(UserError, match="upgrade srlm"):
        Run(run.root)


def test_the_only_or_the_latest_run_is_found(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="make one with `srlm init`"):
        find_run(None, tmp_path)
    bare_run(tmp_path / "one")
    assert find_run(None, tmp_path)[1] == "the only run"
    latest = bare_run(tmp_path / "two")
    found, how = find_run(None, tmp_path)
    assert (found.root, how) == (latest.root, "the latest of 2 runs")


def test_settings_that_a_run_never_knew_count_as_their_defaults(tmp_path: Path) -> None:
    """A run that was made before a setting existed stays valid, and changes with the setting."""
    run = finished_run(tmp_path / "r")
    for stage in run.record.stages.values():
        stage.settings = {key: value for key, value in stage.settings.items() if key != "judge.mode"}
    del run.record.settings["judge.mode"]
    run.save()
    assert set(states(Run(run.root), 2).values()) == {"done"}
    assert check_plan(Run(run.root), 3) == []
    run = change(run, 'mode = "sampled"', 'mode = "expected"')
    with pytest.raises(UserError, match=r'judge.mode was "sampled", is now "expected"'):
        check_plan(run, 3)


def test_a_run_with_keys_of_an_earlier_version_goes_on_with_nothing_stale(tmp_path: Path) -> None:
    """Its config.toml and the settings in run.json call them otherwise; what was recorded of changes stays as it is."""
    root = tmp_path / "r"
    run = change(finished_run(root), "in_loop = false", "in_loop = true")
    run.accept_changes()
    for stage in stages(run, 2):
        if stage.part == "versus":
            (root / stage.outputs[0]).write_text("{}")
            run.begin(stage)
            run.end(stage, "done", 1.0, {})
    old = json.loads((root / "run.json").read_text())
    before = {name: stage["digest"] for name, stage in old["stages"].items()}
    names = {new: key for key, new in MOVED.items()}
    for holder in (old, *old["stages"].values()):
        holder["settings"] = {names.get(key, key): value for key, value in holder["settings"].items()}
    old["changes"] = [{"time": "then", "key": "eval.mode", "was": "scored", "is": "pairwise"}]
    (root / "run.json").write_text(json.dumps(old))
    assert "eval.judge_endpoint" in old["stages"]["M2/versus"]["settings"]
    text, versus = (root / "config.toml").read_text().split("[versus]\n")
    versus, rest = versus.split("[gate]\n")
    for new, key in names.items():
        versus = versus.replace(f"\n{new.split('.')[1]} =", f"\n{key.split('.')[1]} =")
    text = text.replace("[eval]\n", f"[eval]\n{versus}")
    (root / "config.toml").write_text(f"{text}[gate]\n{rest}")
    assert "head_to_head = true" in text

    run = Run(root)
    assert run.config.versus.in_loop
    assert len(states(run, 2)) == 9
    assert set(states(run, 2).values()) == {"done"}
    assert check_plan(run, 3) == []
    assert {name: stage.digest for name, stage in run.record.stages.items()} == before
    run.save()
    assert json.loads((root / "run.json").read_text())["changes"] == old["changes"]
    run = change(run, "tie_margin = 0.0", "tie_margin = 0.5")
    with pytest.raises(UserError, match=r"M1/versus .*versus\.tie_margin was 0\.0, is now 0\.5"):
        check_plan(run, 2)


def test_the_pairwise_rubric_is_an_input_of_judging_in_mode_pairwise_only(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "r")
    path = run.root / "prompts" / "pairwise.txt"
    path.write_text(path.read_text() + "\nBe strict.")
    assert set(states(Run(run.root), 2).values()) == {"done"}
    run = change(bare_run(tmp_path / "p"), 'mode = "sampled"', 'mode = "pairwise"')
    run.begin(stages(run, 1)[0])
    path = run.root / "prompts" / "pairwise.txt"
    path.write_text(path.read_text() + "\nBe strict.")
    assert states(Run(run.root), 1)["M0/eval"] == "stale"
