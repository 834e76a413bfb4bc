"""Every recipe starts with any number of GPUs, uses what it can, and says what it leaves idle."""

import json
from pathlib import Path
from typing import Any

import pytest

from srlm.config import apply_overrides, load_recipe, parse_config, recipe_names, to_toml
from srlm.engine.load import LocalModel, local_model
from srlm.engine.replicas import shares_of_devices
from srlm.loop.gpus import gpu_line
from srlm.loop.needs import model_needs
from srlm.loop.phases import Phases
from srlm.measure.versus.verdicts import RunJudge
from srlm.packaged import DEMO
from srlm.process.machine import Machine
from srlm.report.dry_run import show_plan
from srlm.run.folder import Run
from srlm.settings import Config
from srlm.store import write_json, write_rows, write_text
from srlm.train.job import batch_plan, processes_of
from srlm.train.steps import DPO, SFT
from tests.helpers.machines import GIB, pretend, with_gpus
from tests.helpers.run_folder import finished_run
from tests.helpers.shapes import LLAMA_8B

MODELS = {"demo": json.loads((DEMO / "base" / "config.json").read_text()), "small": LLAMA_8B, "paper": LLAMA_8B}


def config_of(recipe: str, model: Path, *overrides: str) -> Config:
    values = load_recipe(recipe)
    values = values | {"model": values["model"] | {"path": str(model)}}
    return parse_config(apply_overrides(values, list(overrides)), recipe)


def run_of(recipe: str, root: Path, *overrides: str) -> Run:
    model = root.parent / "base"
    model.mkdir()
    write_json(model / "config.json", MODELS[recipe])
    run = finished_run(root)
    write_text(run.paths.config, to_toml(config_of(recipe, model, *overrides)))
    write_rows(run.paths.trained("M1").train_rows, [{}])
    return Run(root)


class Child:
    """What the children of an iteration are asked, in the place of running them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.jobs: list[Any] = []
        self.processes, self.environment = 0, dict[str, str]()
        monkeypatch.setattr("srlm.loop.phases.run_child", self.run)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def run(self, module: str, job: Any, *rest: Any) -> dict[str, Any]:
        self.jobs.append(job)
        if module == "srlm.train":
            *_, self.processes, self.environment = rest
        return {"overlong": 0}


@pytest.mark.parametrize("gpus", [1, 2, 3, 5, 6, 7, 8])
@pytest.mark.parametrize("recipe", recipe_names())
def test_every_recipe_starts(recipe: str, gpus: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, with_gpus(gpus))
    run, child = run_of(recipe, tmp_path / "run"), Child(monkeypatch)
    phases = Phases(run, 2, 0)
    phases.generate_child(0, run.model(0), ["eval"])
    engine = child.jobs[0].engine
    shares = [share["CUDA_VISIBLE_DEVICES"] for share in shares_of_devices(engine.replicas, engine.cards)]
    used = [device for share in shares for device in share.split(",")]
    assert len(set(used)) == len(used) <= gpus
    assert engine.replicas == (min(2, gpus) if recipe == "demo" else gpus)

    for model, step in (("M1", SFT), ("M2", DPO)):
        size = getattr(run.config, step.name).batch_size
        phases.train_child(model, step)
        rows, accumulation = batch_plan(size, run.config.train.per_device_batch, child.processes)
        assert rows * accumulation * child.processes == size
        assert not [n for n in range(child.processes + 1, gpus + 1) if size % n == 0]  # the largest there is
        # TRL, alone in its process, must not see a second GPU
        assert child.environment == {"CUDA_VISIBLE_DEVICES": ",".join(map(str, range(child.processes)))}


@pytest.mark.parametrize("recipe", recipe_names())
def test_every_recipe_starts_without_a_gpu(recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, child = run_of(recipe, tmp_path / "run"), Child(monkeypatch)
    phases = Phases(run, 1, 0)
    phases.generate_child(0, run.model(0), ["eval"])
    phases.train_child("M1", SFT)
    assert child.jobs[0].engine.replicas == (2 if recipe == "demo" else 1)
    assert (child.processes, child.environment) == (1, {})


@pytest.mark.parametrize(
    ("asked", "size", "gpus", "expected"),
    [
        *(("auto", 16, gpus, 4) for gpus in (5, 6, 7)),
        ("auto", 16, 3, 2),
        ("auto", 16, 8, 8),
        ("auto", 4, 8, 4),
        ("auto", 7, 8, 7),
        ("auto", 16, 0, 1),
        (2, 16, 8, 2),
        (2, 16, 0, 2),  # on a CPU
        (8, 16, 3, 2),  # two cannot share a GPU
        (3, 16, 8, 3),  # what the user says is not changed: `batch_plan` refuses it, with the setting's name
    ],
)
def test_processes(asked: Any, size: int, gpus: int, expected: int) -> None:
    assert processes_of(asked, size, gpus) == expected


def line(machine: Machine, tmp_path: Path, *overrides: str, model: dict[str, Any] = LLAMA_8B) -> str:
    write_json(tmp_path / "config.json", model)
    return gpu_line(config_of("small", tmp_path, *overrides), None, machine)


LARGE = LLAMA_8B | {"num_hidden_layers": 200}  # 84 GiB of weights


@pytest.mark.parametrize(
    ("gpus", "model", "overrides", "expected"),
    [
        (1, LLAMA_8B, [], "1 GPU: 1 engine, 1 training process."),
        (8, LLAMA_8B, [], "8 GPUs: 8 engines, 8 training processes."),
        (
            3,
            LLAMA_8B,
            [],
            "3 GPUs: 3 engines, 2 training processes. Training leaves the other GPUs idle: sft.batch_size = 16 and "
            "dpo.batch_size = 16 cannot be shared out evenly among 3.",
        ),
        (
            5,
            LLAMA_8B,
            ["sft.batch_size=20"],
            "5 GPUs: 5 engines, 5 processes for SFT, 4 processes for DPO. Training leaves the other GPUs idle: "
            "dpo.batch_size = 16 cannot be shared out evenly among 5.",
        ),
        (8, LARGE, [], "8 GPUs: 4 engines of 2 GPUs each, 8 training processes."),
        (
            3,
            LARGE,
            ["sft.batch_size=6", "dpo.batch_size=6"],
            "3 GPUs: 1 engine of 2 GPUs, 3 training processes. Engines leave 1 GPU idle: each takes 2.",
        ),
        (
            1,
            LLAMA_8B,
            ["engine.replicas=2", "train.num_processes=4"],
            "1 GPU: 1 engine, 1 training process. engine.replicas = 2 would need 2 GPUs. "
            "train.num_processes = 4 would need 4 GPUs.",
        ),
        (
            8,
            LLAMA_8B,
            ["engine.replicas=2", "train.num_processes=1"],
            "8 GPUs: 2 engines, 1 training process. Engines leave 6 GPUs idle: engine.replicas = 2. "
            "Training leaves 7 GPUs idle: train.num_processes = 1.",
        ),
        (
            2,
            LLAMA_8B,
            ["engine.args.tensor_parallel_size=4"],
            "2 GPUs: 1 engine of 4 GPUs, 2 training processes. One engine would need 4 GPUs.",
        ),
    ],
)
def test_what_is_used_and_what_is_not_is_said(
    gpus: int, model: dict[str, Any], overrides: list[str], expected: str, tmp_path: Path
) -> None:
    assert line(with_gpus(gpus), tmp_path, *overrides, model=model) == expected


def test_another_judge_has_a_group_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None of the arguments that were chosen for M0."""
    pretend(monkeypatch, with_gpus(8))
    write_json(tmp_path / "config.json", LARGE)
    run = run_of("small", tmp_path / "run", "engine.args.max_num_seqs=8", f"versus.judge={tmp_path}")
    judge = RunJudge(run).engine
    assert isinstance(judge, LocalModel)
    assert (judge.replicas, judge.arguments, judge.max_length) == (4, {"tensor_parallel_size": 2}, None)
    assert local_model(run.config, run.model(0), None).arguments == {"max_num_seqs": 8}


def test_without_gpus_nothing_is_said(tmp_path: Path) -> None:
    assert line(Machine(memory=64 * GIB), tmp_path) == ""


def test_the_plan_says_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pretend(monkeypatch, with_gpus(2))
    show_plan(run_of("demo", tmp_path / "run"), 3, None)
    assert "2 GPUs: 2 engines, 2 training processes.\n" in capsys.readouterr().err


def test_the_memory_plan_counts_the_processes_that_there_will_be(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", LLAMA_8B)
    one, three = (model_needs(config_of("small", tmp_path), with_gpus(count))[0].parts for count in (1, 3))
    assert one["gradient buckets"] == 0 < three["gradient buckets"]
