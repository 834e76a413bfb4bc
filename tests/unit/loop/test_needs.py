"""What a run needs of memory: told, refused, and done all the same with --force."""

import json
from pathlib import Path
from typing import Any

import pytest

from srlm.config import apply_overrides, parse_config, to_toml
from srlm.errors import UserError
from srlm.iterate import iterate
from srlm.loop.needs import Need, gradient_checkpointing, longest_row, model_needs, refuse_what_cannot_fit, run_needs
from srlm.process.machine import Machine
from srlm.report.memory import disk_line, init_lines, memory_lines
from srlm.run.folder import Run
from srlm.settings import Config
from srlm.store import write_json, write_text
from srlm.train.steps import DPO, SFT
from tests.helpers.machines import GIB, pretend, with_gpus
from tests.helpers.run_folder import bare_run, finished_run
from tests.helpers.shapes import LLAMA_8B

H100, EIGHT = with_gpus(1), with_gpus(8)
LAPTOP = Machine(memory=12 * GIB)
SMALL = LLAMA_8B | {"hidden_size": 512, "num_attention_heads": 8, "intermediate_size": 1024, "num_hidden_layers": 4}
CHEAP = ["train.lora.rank=16", "train.gradient_checkpointing=true", "train.per_device_batch=1"]


def folder_of(config: dict[str, Any], folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", config)
    return folder


def config_of(model: Path | str, *overrides: str) -> Config:
    return parse_config(apply_overrides({"model": {"path": str(model)}}, list(overrides)), "test")


def run_of(root: Path, model: dict[str, Any], *overrides: str, finished: bool = False) -> Run:
    """A run of a model of which nothing is there but its config."""
    run = finished_run(root) if finished else bare_run(root)
    config = config_of(folder_of(model, root.parent / "base"), *overrides)
    write_text(run.paths.config, to_toml(config))
    return Run(root)


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Pretend to be on another machine."""
    return lambda machine: pretend(monkeypatch, machine)


def by_kind(found: list[Need]) -> dict[str, Need]:
    return {need.kind: need for need in found}


# --- what is needed --------------------------------------------------------------------------------------------------


def test_a_full_training_of_8_billion_parameters_does_not_fit_one_card(tmp_path: Path) -> None:
    found = by_kind(model_needs(config_of(folder_of(LLAMA_8B, tmp_path / "m")), H100))
    assert [need.stage for need in found.values()] == ["M1/train", "M2/train", "M0/eval"]
    assert found["SFT"].short
    assert min(found["DPO"].bytes, found["SFT"].bytes) > 16 * 8e9
    assert str(found["SFT"]).startswith("M1/train (SFT) needs about ")
    assert "memory, but each GPU has 80.0 GiB. THIS IS NOT ENOUGH; it would fit with" in str(found["SFT"])
    assert not found["engine"].short
    assert "memory; vLLM's share of each GPU (92%) is 73.6 GiB" in str(found["engine"])
    assert "sequences of 2,048 tokens" in str(found["engine"])


def test_what_would_fit_fits(tmp_path: Path) -> None:
    model = folder_of(LLAMA_8B, tmp_path / "m")
    found = by_kind(model_needs(config_of(model), H100))
    assert found["SFT"].fits == () or all("train.lora.rank = 16" in way for way in found["SFT"].fits)
    cheap = by_kind(model_needs(config_of(model, *CHEAP), H100))
    assert not cheap["SFT"].short
    assert cheap["SFT"].fits == ()


def test_single_changes_come_before_several(tmp_path: Path) -> None:
    model = folder_of(SMALL, tmp_path / "m")
    plain = config_of(model, "train.gradient_checkpointing=false")
    job = by_kind(model_needs(plain, H100))["SFT"]
    card = Machine(10**12, (job.bytes - 1,))
    ways = by_kind(model_needs(plain, card))["SFT"].fits
    assert [way.split(" (")[0] for way in ways] == [
        "train.gradient_checkpointing = true",
        "train.per_device_batch = 4",
        "train.lora.rank = 16",
        "model.max_length = 1024",
    ]
    least = by_kind(model_needs(config_of(model, *CHEAP), H100))["SFT"]
    ways = by_kind(model_needs(plain, Machine(10**12, (least.bytes + 1,))))["SFT"].fits
    assert len(ways) == 1
    assert " and ".join(key.replace("=", " = ") for key in (CHEAP[1], CHEAP[2], CHEAP[0])) in ways[0]


def test_no_setting_helps_where_weights_alone_are_too_much(tmp_path: Path) -> None:
    huge = LLAMA_8B | {"num_hidden_layers": 400}
    found = by_kind(model_needs(config_of(folder_of(huge, tmp_path / "m")), H100))
    assert "no setting makes it fit on this machine: use a smaller model, or one with more memory" in str(found["SFT"])
    assert "or more GPUs" in str(found["engine"])


def test_an_engine_is_spread_over_cards_unless_the_user_says_otherwise(tmp_path: Path) -> None:
    large = folder_of(LLAMA_8B | {"num_hidden_layers": 200}, tmp_path / "m")
    assert by_kind(model_needs(config_of(large), H100))["engine"].short
    assert not by_kind(model_needs(config_of(large), EIGHT))["engine"].short
    alone = by_kind(model_needs(config_of(large, "engine.args.tensor_parallel_size=1"), EIGHT))["engine"]
    assert alone.short
    assert alone.fits[0].startswith("engine.args.tensor_parallel_size = 2 (")


def test_on_a_cpu_all_processes_and_replicas_share_the_memory(tmp_path: Path) -> None:
    model = folder_of(SMALL, tmp_path / "m")
    one = by_kind(model_needs(config_of(model), LAPTOP))
    two = by_kind(model_needs(config_of(model, "train.num_processes=2", "engine.replicas=2"), LAPTOP))
    assert two["engine"].bytes == 2 * one["engine"].bytes
    assert two["SFT"].parts["imports"] == 2 * one["SFT"].parts["imports"] > 0
    assert "of memory; 12.0 GiB are free" in str(one["SFT"])


def test_the_context_of_the_model_counts(tmp_path: Path) -> None:
    short = folder_of(SMALL | {"max_position_embeddings": 512}, tmp_path / "m")
    assert "rows of at most 512 tokens" in str(by_kind(model_needs(config_of(short), H100))["SFT"])


def test_a_model_that_is_not_known_is_told_and_not_refused(tmp_path: Path, on: Any) -> None:
    found = model_needs(config_of(folder_of({"model_type": "mamba"}, tmp_path / "m")), H100)
    assert not any(need.short for need in found)
    assert "not known: models of type mamba are not known here" in str(found[0])
    on(H100)
    refuse_what_cannot_fit(bare_run(tmp_path / "run"), 3, None, force=False)  # its model is nowhere
    assert "no config.json of base-model can be read" in memory_lines(Run(tmp_path / "run"), 3, None)[0]


def test_rows_are_as_long_as_the_data_lets_them_be() -> None:
    config = config_of("m", "model.max_length=4096", "rollout.max_tokens=1024", "instructions.max_tokens=256")
    assert longest_row(config, SFT, None) == 4096
    assert longest_row(config, SFT, 700) == 700
    assert longest_row(config, DPO, None) == 256 + 1024 + 64
    file = config_of("m", "model.max_length=4096", "instructions.source=file", "instructions.path=a")
    assert longest_row(file, DPO, 700) == 4096


# Name -> (how its config.json differs from Llama 3.1 8B's, billions of parameters, what fits on one card of 80 GiB:
# training all weights, LoRA, generating).
PUBLISHED: dict[str, tuple[dict[str, Any], float, tuple[bool, bool, bool]]] = {
    "Llama 3.2 1B": (
        {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "head_dim": 64}
        | {"tie_word_embeddings": True},
        1.24,
        (True, True, True),
    ),
    "Llama 3.1 8B": ({}, 8.03, (False, True, True)),
    "Llama 3.1 70B": (
        {"hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80, "num_attention_heads": 64},
        70.55,
        (False, False, False),
    ),
    "Qwen3 8B": (
        {"model_type": "qwen3", "vocab_size": 151936, "intermediate_size": 12288, "num_hidden_layers": 36}
        | {"head_dim": 128},
        8.19,
        (False, True, True),
    ),
    "Gemma 2 9B": (
        {"model_type": "gemma2", "vocab_size": 256000, "hidden_size": 3584, "num_hidden_layers": 42}
        | {"num_attention_heads": 16, "head_dim": 256, "tie_word_embeddings": True},
        9.24,
        (False, True, True),
    ),
    "Mixtral 8x7B": (
        {"model_type": "mixtral", "vocab_size": 32000, "num_local_experts": 8, "num_experts_per_tok": 2},
        46.7,
        (False, False, False),
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_models_on_one_card(name: str, tmp_path: Path) -> None:
    changes, billions, expected = PUBLISHED[name]
    model = folder_of(LLAMA_8B | changes, tmp_path / "m")
    whole = by_kind(model_needs(config_of(model), H100))
    adapted = by_kind(model_needs(config_of(model, *CHEAP), H100))
    assert (not whole["SFT"].short, not adapted["SFT"].short, not whole["engine"].short) == expected
    assert (not whole["DPO"].short, not adapted["DPO"].short) == expected[:2]
    # weights, gradients and two moments in float32; 16 bits a weight for what is frozen, or only generates
    parts = whole["SFT"].parts
    assert parts["weights"] + parts["gradients"] + parts["optimizer"] == pytest.approx(16e9 * billions, rel=0.01)
    assert whole["engine"].parts["weights"] == pytest.approx(2e9 * billions, rel=0.01)
    assert 2e9 * billions < adapted["SFT"].bytes < 3e9 * billions + 4 * GIB


def test_checkpointing_is_automatic_where_training_would_not_fit_without(tmp_path: Path, on: Any) -> None:
    def run_with(name: str, *overrides: str) -> Run:
        return run_of(tmp_path / name / "run", SMALL, *overrides)

    def planned(run: Run, machine: Machine) -> Need:
        return by_kind(run_needs(run, 1, machine=machine))["SFT"]

    auto, off = run_with("auto"), run_with("off", "train.gradient_checkpointing=false")
    on_ = run_with("on", "train.gradient_checkpointing=true")
    kept = planned(off, H100).bytes
    assert planned(on_, H100).bytes < kept
    for card, expected in ((2 * kept, False), (kept, True)):  # the plan is not exact: what just fits may not
        machine = Machine(10**12, (card,))
        on(machine)
        assert gradient_checkpointing(auto, SFT) is expected
        assert planned(auto, machine).bytes == planned(on_ if expected else off, machine).bytes
        assert ("gradient checkpointing" in str(planned(auto, machine))) is expected
        assert gradient_checkpointing(off, SFT) is False
    assert gradient_checkpointing(run_of(tmp_path / "new" / "run", {"model_type": "mamba"}), SFT) is False


# --- of a run --------------------------------------------------------------------------------------------------------


def test_a_run_is_told_once_for_each_kind_of_stage(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", SMALL)
    found = [(need.stage, need.kind) for need in run_needs(run, 3, machine=H100)]
    assert found == [("M0/eval", "engine"), ("M1/train", "SFT"), ("M2/train", "DPO")]
    assert run_needs(run, 0, machine=H100)[0].kind == "engine"


def test_the_longest_seed_row_counts(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", SMALL)
    most = by_kind(run_needs(run, 1, machine=H100))["SFT"].bytes
    write_json(run.paths.split, {"longest": 300})
    assert by_kind(run_needs(run, 1, machine=H100))["SFT"].bytes < most


def test_other_models_that_are_loaded_here_count(tmp_path: Path) -> None:
    other = folder_of(LLAMA_8B, tmp_path / "other")
    run = run_of(tmp_path / "run", SMALL, "instructions.source=model", f"instructions.path={other}")
    engines = [need for need in run_needs(run, 2, machine=H100) if need.kind == "engine"]
    assert [need.stage for need in engines] == ["M0/eval", "M1/aift"]
    assert engines[1].bytes > engines[0].bytes + 10 * GIB
    served = run_of(
        tmp_path / "served",
        SMALL,
        *("instructions.source=model", "instructions.path=a", "instructions.endpoint=http://a"),
    )
    assert len([need for need in run_needs(served, 2, machine=H100) if need.kind == "engine"]) == 1
    judge = run_of(tmp_path / "judged", SMALL, "versus.in_loop=true", f"versus.judge={other}")
    assert [need.stage for need in run_needs(judge, 2, machine=H100) if need.kind == "engine"] == [
        "M0/eval",
        "M1/versus",
    ]


def test_what_is_done_needs_nothing(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run")
    assert run_needs(run, 2, machine=H100) == []
    assert {need.kind for need in run_needs(run, 2, "M2", machine=H100)} == {"DPO", "engine"}


def test_lines_at_init_and_in_the_plan(tmp_path: Path, on: Any) -> None:
    run = run_of(tmp_path / "run", SMALL)
    on(H100)
    assert len(memory_lines(run, 3, None)) == 3
    line, disk = init_lines(run.root)
    assert line.startswith("Memory: M1/train (SFT) needs about")  # the one that needs most
    assert disk == disk_line(run, 3)
    assert "for new weights, up to" in disk
    on(Machine(memory=GIB))
    assert len(init_lines(run.root)) == 4
    assert all("THIS IS NOT ENOUGH" in line for line in init_lines(run.root)[:-1])


# --- refused, or not -------------------------------------------------------------------------------------------------


def test_what_cannot_fit_is_refused_before_the_first_child(tmp_path: Path, on: Any) -> None:
    run = run_of(tmp_path / "run", LLAMA_8B)
    on(H100)
    with pytest.raises(UserError, match=r"M1/train .SFT. needs about .* each GPU has 80.0 GiB; M2/train") as error:
        iterate(run, 3)
    assert "\n" not in str(error.value)
    assert error.value.fix.startswith("M1/train: it would fit with train.lora.rank = 16 (")
    assert error.value.fix.endswith(f"or try it all the same: srlm iterate 3 --run {run.root} --force")
    assert Run(run.root).record.stages == {}
    assert Run(run.root).record.forced == []


def test_force_goes_on_and_is_recorded(tmp_path: Path, on: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    monkeypatch.setattr("srlm.iterate.Iteration.all", lambda self: begun.append(self.n))
    run = run_of(tmp_path / "run", LLAMA_8B)
    on(H100)
    iterate(run, 3, force=True)
    assert begun == [3]
    (entry,) = Run(run.root).record.forced
    assert [claim.split(" needs")[0] for claim in entry["needs"]] == ["M1/train (SFT)", "M2/train (DPO)"]
    on(Machine(memory=10**12, gpus=(10**12,)))
    iterate(Run(run.root), 3, force=True)
    assert len(Run(run.root).record.forced) == 1  # there was nothing to force


def test_run_json_from_before_still_loads(tmp_path: Path) -> None:
    run = bare_run(tmp_path / "run")
    found = json.loads(run.paths.record.read_text())
    assert found.pop("forced") == []
    write_json(run.paths.record, found)
    assert Run(run.root).record.forced == []


def test_redo_counts_as_owed(tmp_path: Path, on: Any) -> None:
    run = run_of(tmp_path / "run", LLAMA_8B)
    on(H100)
    refuse_what_cannot_fit(run, 0, None, force=False)  # only the engine is owed, and fits
    with pytest.raises(UserError, match="M1/train"):
        refuse_what_cannot_fit(run, 1, None, force=False)
