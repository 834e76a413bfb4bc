"""`train.keep_models`: whose weights go as a run goes on, whose stay, and what is said where they are missing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from srlm.config import apply_overrides, parse_config, to_toml
from srlm.engine.scripted import ScriptedEngine
from srlm.errors import UserError
from srlm.iterate import Iteration, iterate
from srlm.judge_file.request import Options, resolve
from srlm.loop.export import export_model
from srlm.loop.plan import disk_use
from srlm.loop.promote import Best
from srlm.loop.retention import MOST_NEEDED, remove_unneeded
from srlm.measure.versus.command import _on_demand
from srlm.measure.versus.verdicts import RunJudge
from srlm.packaged import DEMO
from srlm.report import inspect_run
from srlm.report.dry_run import show_plan
from srlm.run.folder import Run
from srlm.run.stage import model_number
from srlm.store import write_json, write_text
from srlm.train.steps import TrainingStep
from tests.helpers.old_runs import old_run
from tests.helpers.ranked_run import judge, ranked_run, reply
from tests.helpers.run_folder import bare_run, write_files

NEEDED = "train.keep_models=needed"
GONE = "the weights of {} were removed"


def with_weights(run: Run) -> list[str]:
    """The models of the run that can be loaded."""
    return sorted(path.parent.parent.name for path in run.root.glob("*/model/*.safetensors"))


class Scripted(Iteration):
    """An iteration whose children write at once what the real ones would, if the weights that they load are there."""

    at_once = 0  # most models that lay there when one was saved

    def train_child(self, name: str, step: TrainingStep) -> None:
        before = model_number(name) - 1
        assert before < 1 or f"M{before}" in with_weights(self.run)
        with self.recorded(self.stages[f"{name}/train"]):
            folder = self.run.paths.trained(name).weights
            folder.mkdir(parents=True)
            for file in ("model.safetensors", "config.json", "tokenizer.json"):
                (folder / file).write_text(name)
        self.at_once = max(self.at_once, len(with_weights(self.run)))

    def generate_child(self, t: int, model: str, parts: list[str]) -> dict[str, Any]:
        assert model == self.run.config.model.path or Path(model).parent.name in with_weights(self.run)
        for part in parts:
            if part in ("eval", "aift"):
                write_files(self.run, f"M{t}/{part}")
            elif part == "judge":
                judge(self.run, ScriptedEngine(reply))
            else:
                paths = self.run.at(t)
                made = {"past": paths.past, "judge_past": paths.past_judged, "previous": paths.previous_judged}[part]
                made.write_bytes(paths.rollouts.read_bytes())
        return {}


@pytest.fixture(autouse=True)
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    """No child runs; the head to head in the loop needs the weights of its judge."""

    def compare_run(run: Run, numbers: list[int], _: int) -> dict[str, Any]:
        assert run.config.versus.judge or "M1" in with_weights(run)
        found = {f"M{t}": {"judge": {"model": "M1"}, "against": {}} for t in numbers}
        for t in numbers:
            write_json(run.at(t).versus, found[f"M{t}"])
        return found

    monkeypatch.setattr("srlm.iterate.compare_run", compare_run)
    monkeypatch.setattr("srlm.iterate.Iteration", Scripted)


@pytest.fixture
def best(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Sets the best model of a run."""
    return lambda model: monkeypatch.setattr("srlm.loop.retention.best_of", lambda run: Best(model, "so it is"))


def changed(run: Run, *overrides: str) -> Run:
    """Edit config.toml as a user would, and open the run again."""
    config = parse_config(apply_overrides(run.config.model_dump(), list(overrides)), "test")
    write_text(run.paths.config, to_toml(config))
    return Run(run.root)


def made(run: Run, n: int) -> Run:
    """Bring the run to M_n."""
    iterate(run, n, accept_judge=True)
    return Run(run.root)


def run_of(root: Path, *overrides: str) -> Run:
    return changed(bare_run(root), NEEDED, *overrides)


# --- what goes, and what stays ---------------------------------------------------------------------------------------


def test_a_model_goes_once_the_one_after_the_next_is_to_be_made(
    tmp_path: Path, best: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    best("M2")
    run = made(run_of(tmp_path / "r"), 1)
    assert with_weights(run) == ["M1"]  # the last one: the run may go on
    run = made(run, 3)
    assert with_weights(run) == ["M2", "M3"]
    assert capsys.readouterr().err.count("M1: its weights were removed, since no later step loads them") == 1
    kept = {path.name for path in run.at(1).folder.rglob("*") if path.is_file()}
    assert kept >= {"config.json", "tokenizer.json", "eval.jsonl", "metrics.json", "rollouts.jsonl", "pairs.jsonl"}
    assert [name for name in ("M0", "M1", "M2", "M3") if run.removed(name)] == ["M1"]
    assert with_weights(made(run, 4)) == ["M2", "M4"]


def test_all_models_stay_by_default_and_those_of_old_runs_too(tmp_path: Path) -> None:
    assert with_weights(made(bare_run(tmp_path / "r"), 3)) == ["M1", "M2", "M3"]
    old = Run(old_run("finished", tmp_path))
    remove_unneeded(old, 2)
    assert with_weights(old) == ["M1", "M2"]


def test_a_finished_run_may_be_thinned_later(tmp_path: Path, best: Any) -> None:
    best("M2")
    run = made(bare_run(tmp_path / "r"), 3)
    assert with_weights(made(changed(run, NEEDED), 1)) == ["M2", "M3"]  # to a lower N, too


@pytest.mark.parametrize(
    ("overrides", "stay", "at_once"),
    [
        ([], ["M2", "M4"], 3),
        (["versus.in_loop=true"], ["M1", "M2", "M4"], MOST_NEEDED),
        (["versus.in_loop=true", "versus.judge=another"], ["M2", "M4"], 3),
        (["pairs.anchor=M1"], ["M1", "M2", "M4"], MOST_NEEDED),
        (["pairs.anchor=M0", "pairs.consistency=drop"], ["M2", "M3", "M4"], 3),
        (["versus.in_loop=true", "pairs.anchor=M1", "pairs.consistency=soften"], ["M1", "M2", "M3", "M4"], MOST_NEEDED),
    ],
)
def test_what_a_later_step_loads_stays(
    tmp_path: Path, best: Any, overrides: list[str], stay: list[str], at_once: int
) -> None:
    best("M2")
    run = run_of(tmp_path / "r", *overrides)
    loop = Scripted(run, 4, 0, accept_judge=True)
    loop.all()
    assert with_weights(run) == stay
    assert loop.at_once == at_once
    further = Scripted(Run(run.root), 5, 0, accept_judge=True)
    further.all()
    assert further.at_once == at_once


def test_the_baseline_goes_once_it_has_judged(tmp_path: Path) -> None:
    run = changed(ranked_run(tmp_path / "r"), NEEDED, "baseline.min_rows=1")
    with run.lock() as lock:
        Scripted(run, 1, lock).build_eft()
    assert with_weights(run) == ["baseline"]
    run = made(Run(run.root), 2)
    assert with_weights(run) == ["M2"]  # the best one, too: so its ground truth says
    with pytest.raises(UserError, match=GONE.format("baseline") + ".* --redo baseline$"):
        iterate(run, 2, redo="baseline/judge")


def test_a_model_that_settings_name_by_its_folder_stays(tmp_path: Path, best: Any) -> None:
    best("M3")
    root = tmp_path / "r"
    run = run_of(root, f"versus.judge={root / 'M2' / 'model'}")
    assert with_weights(made(run, 3)) == ["M2", "M3"]


def test_under_lora_the_adapters_go_and_m0_stays(tmp_path: Path, best: Any) -> None:
    best("M3")
    base = tmp_path / "base"
    base.mkdir()
    (base / "model.safetensors").touch()
    run = made(run_of(tmp_path / "r", "train.lora.rank=8", f"model.path={base}"), 3)
    assert with_weights(run) == ["M3"]
    assert (base / "model.safetensors").exists()


# --- crashes, and what was removed -----------------------------------------------------------------------------------


def test_a_kill_between_the_note_and_the_removal(tmp_path: Path, best: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    best("M2")

    def killed(run: Run, *noted: Any) -> None:
        note(run, *noted)
        raise KeyboardInterrupt

    run, note = run_of(tmp_path / "r"), Run.note_removed
    with monkeypatch.context() as patch:
        patch.setattr(Run, "note_removed", killed)
        with pytest.raises(KeyboardInterrupt):
            iterate(run, 2, accept_judge=True)
    run = Run(run.root)
    assert with_weights(run) == ["M1", "M2"]
    with pytest.raises(UserError, match=GONE.format("M1")):  # half of them may be there
        run.model(1)
    assert with_weights(made(run, 3)) == ["M2", "M3"]


def test_what_needs_a_removed_model_says_so_before_anything_runs(
    tmp_path: Path, best: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    best("M3")
    run = made(run_of(tmp_path / "r"), 4)
    again = f"srlm iterate 4 --run {run.root} --redo M1"
    with pytest.raises(UserError, match=f"^M2/aift: {GONE.format('M2')}.*{again}$"):
        iterate(run, 4, redo="M2/aift")
    with pytest.raises(UserError, match=f"^M3/train: {GONE.format('M2')}"):
        iterate(run, 4, redo="M3")
    show_plan(run, 4, "M3")
    assert f"This would stop at once: M3/train: {GONE.format('M2')}" in " ".join(capsys.readouterr().err.split())
    assert not run.paths.set_aside.exists()
    with pytest.raises(UserError, match=f"^M1/versus: {GONE.format('M1')}"):
        iterate(changed(run, "versus.in_loop=true"), 4)


def test_the_way_back_that_is_told_makes_the_model_anew(tmp_path: Path, best: Any) -> None:
    best("M3")
    run = made(run_of(tmp_path / "r"), 3)
    with pytest.raises(UserError, match=r"srlm iterate 2 --run \S+ --redo M1$"):
        run.model(2)
    best("M2")
    iterate(run, 2, redo="M1", accept_judge=True)
    assert with_weights(run) == ["M2"]
    assert Path(Run(run.root).model(2)).is_dir()
    assert list(run.paths.set_aside.glob("*/M3/model/*.safetensors"))  # nothing of it is lost


def test_who_asks_for_a_removed_model_is_told_so(tmp_path: Path, best: Any) -> None:
    best("M3")
    run = made(run_of(tmp_path / "r"), 3)
    told = rf"{GONE.format('M1')}.* --redo M1$"
    with pytest.raises(UserError, match=told):
        export_model(run, 1, tmp_path / "out")
    with pytest.raises(UserError, match=told):
        resolve(Options(file="a.jsonl", run=run.root, iteration="M1"))
    with pytest.raises(
        UserError, match=r"M1 is the judge, but its weights were removed .* another judge in versus\.judge"
    ):
        _ = RunJudge(run).engine
    assert RunJudge(run).record["model"] == "M1"  # what it said is still known


def test_a_removed_model_meets_others_by_its_answers_alone(
    tmp_path: Path, best: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    best("M3")
    run, prompts = made(run_of(tmp_path / "r"), 3), tmp_path / "prompts.jsonl"
    monkeypatch.setattr("srlm.measure.versus.command.ask", lambda run, model, *_: model)
    monkeypatch.setattr("srlm.measure.versus.command.compare", lambda judge, pairs, lock: [{}] * len(pairs))
    found = _on_demand(run, [0, 1, 2, 3], "M0", prompts, 0)
    assert list(found) == ["M3"]
    assert "Left out, as their weights were removed (train.keep_models): M1, M2" in capsys.readouterr().err
    assert list(_on_demand(run, [0, 1, 2, 3], "M0", None, 0)) == ["M1", "M2", "M3"]
    with pytest.raises(UserError, match=GONE.format("M1")):
        _on_demand(run, [0, 1, 2, 3], "M1", prompts, 0)
    with pytest.raises(UserError, match="--against M0"):
        _on_demand(run, [0, 1, 2, 3], None, prompts, 0)


def test_a_removed_model_is_shown_as_such(tmp_path: Path, best: Any, capsys: pytest.CaptureFixture[str]) -> None:
    best("M2")
    run = made(run_of(tmp_path / "r"), 2)
    capsys.readouterr()
    inspect_run(run, None, as_json=False)
    assert ["weights", "-", "removed", "-"] in [line.split() for line in capsys.readouterr().out.splitlines()]


def test_the_disk_of_models_that_lie_there_at_once(tmp_path: Path) -> None:
    run = changed(bare_run(tmp_path / "r"), f"model.path={DEMO / 'base'}")
    every, needed = (disk_use(changed(run, f"train.keep_models={kept}"), 10) for kept in ("all", "needed"))
    assert every is not None
    assert needed is not None
    assert needed[0] == every[0] * MOST_NEEDED / 10
    assert needed[1] == every[1]
    few = [disk_use(changed(run, f"train.keep_models={kept}"), 2) for kept in ("all", "needed")]
    assert few[0] == few[1]
