"""metrics.json: one writer, a version, and run folders of earlier versions."""

from pathlib import Path

import pytest

from srlm.errors import UserError
from srlm.iterate import Iteration, iterate
from srlm.loop.redo import set_aside
from srlm.loop.stages import stages
from srlm.measure import figures
from srlm.measure.figures import measure_run, outdated, read_figures, write_figures
from srlm.measure.metrics import FIGURES
from srlm.report import inspect_run
from srlm.run.folder import Run
from srlm.store import read_json, write_json, write_rows
from tests.helpers.run_folder import bare_run, eval_answers, finished_run

GATE = {"accepted": True, "findings": [], "unmeasured": ["canaries"]}


def made_by_an_earlier_version(root: Path) -> Run:
    """A finished run whose figures know no version, lack some, and hold what is in files of its own today."""
    run = finished_run(root)
    for t in run.measured:
        path = run.at(t).metrics
        found = {name: value for name, value in read_json(path).items() if name not in ("version", "truth")}
        if t == 1:
            found |= {"gate": GATE}
            found["judge"] = {name: value for name, value in found["judge"].items() if name != "tied_pairs"}
            write_json(run.at(1).versus, {"against": {"M0": {"win_rate": 0.75}}})
            found |= {"versus": {"against": {"M0": {"win_rate": 0.75}}}}
        write_json(path, found)
    return run


def test_what_other_files_say_stands_beside_the_figures(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "r")
    assert read_json(run.at(1).metrics)["version"] == FIGURES
    assert not read_figures(run, 1).keys() & {"version", "gate", "versus"}
    write_json(run.at(1).gate, GATE)
    write_json(run.at(1).versus, {"against": {}})
    found = read_figures(run, 1)
    assert (found["gate"], found["versus"]) == (GATE, {"against": {}})
    assert write_figures(run, 1).keys() & {"gate", "versus"} == set()
    assert read_figures(run, 1) == found
    with pytest.raises(UserError, match=r"M7 has not been evaluated yet: run `srlm iterate 7"):
        read_figures(run, 7)


def test_a_run_of_an_earlier_version_is_read_as_before(tmp_path: Path) -> None:
    run = made_by_an_earlier_version(tmp_path / "r")
    found = read_figures(run, 1)
    assert found["gate"] == GATE
    assert found["versus"]["against"]["M0"]["win_rate"] == 0.75
    assert outdated(run) == [0, 1, 2]


def test_measured_anew_it_has_todays_figures_and_nothing_is_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, today = made_by_an_earlier_version(tmp_path / "r"), finished_run(tmp_path / "today")
    measure_run(run)
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "M0: figures recomputed from its rows; nothing has changed"
    assert said[1] == "M1: figures recomputed from its rows; new or changed: judge.tied_pairs, truth"
    for t in (0, 1, 2):
        assert read_json(run.at(t).metrics) == read_json(today.at(t).metrics)
    assert read_json(run.at(1).gate) == GATE
    assert read_figures(run, 1)["versus"]["against"]["M0"]["win_rate"] == 0.75
    assert outdated(run) == []
    scores = [read_figures(run, t)["answers"]["truth_score"] for t in (0, 1, 2)]
    assert read_figures(run, 2)["truth"]["against"]["M0"]["score"] == pytest.approx(scores[2] - scores[0])


def test_inspect_names_the_command_for_figures_of_an_earlier_version(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made_by_an_earlier_version(tmp_path / "r")
    inspect_run(run, None, as_json=False)
    said = capsys.readouterr().err
    assert (
        f"An earlier version of srlm computed the figures of M0, M1, M2. To update them: srlm measure {run.root}"
        in said
    )
    measure_run(run)
    capsys.readouterr()
    inspect_run(run, None, as_json=False)
    assert "srlm measure" not in capsys.readouterr().err


def test_iterate_measures_anew_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = made_by_an_earlier_version(tmp_path / "r")
    iterate(run, 2)
    assert outdated(run) == []
    monkeypatch.setattr(figures, "write_figures", lambda *_: pytest.fail("measured though nothing is new"))
    iterate(run, 2)


def test_a_verdict_goes_aside_with_the_pairs_that_it_was_said_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("srlm.iterate.Iteration.all", lambda _: None)
    new, old = finished_run(tmp_path / "new"), made_by_an_earlier_version(tmp_path / "old")
    write_json(new.at(1).gate, GATE)
    for run in (new, old):
        iterate(run, 2, redo="M1/pairs")
        [aside] = (run.root / "set-aside").iterdir()
        assert read_json(aside / "M1" / "gate.json") == GATE
        assert not read_figures(run, 1).keys() & {"gate", "aift"}


def test_figures_are_not_computed_from_rows_that_somebody_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made_by_an_earlier_version(tmp_path / "r")
    before = read_figures(run, 1)
    (run.at(1).rollouts).unlink()
    (run.at(2).eval).unlink()
    assert outdated(run) == [0]
    measure_run(run)
    assert capsys.readouterr().err.count("its rows are gone") == 2
    assert read_figures(run, 1) == before


def test_which_models_a_run_has(tmp_path: Path) -> None:
    run = bare_run(tmp_path / "bare")
    assert (run.begun, run.trained, run.measured) == ([0], [], [])
    run = finished_run(tmp_path / "r")
    assert (run.begun, run.trained, run.measured) == ([0, 1, 2], [1, 2], [0, 1, 2])
    run.record.stages["baseline/train"] = run.record.stages["M1/train"]
    assert run.trained == [1, 2]
    set_aside(run, "M1/eval")
    assert (run.begun, run.trained, run.measured) == ([0, 1, 2], [1, 2], [0, 2])
    run.begin(stages(run, 3)[-2])
    assert (run.begun[-1], run.trained) == (3, [1, 2])


def test_measuring_needs_a_measured_run_that_nobody_works_on(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no evaluated model yet"):
        measure_run(bare_run(tmp_path / "bare"))
    run = made_by_an_earlier_version(tmp_path / "r")
    with run.lock(), pytest.raises(UserError, match="in use by process"):
        measure_run(Run(run.root))


def test_a_model_that_answers_as_the_one_before_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished_run(tmp_path / "r")
    set_aside(run, "M2/eval")

    def said(other: str) -> str:
        rows = [row.model_dump() for row in eval_answers(2)]
        rows[0]["rollout"]["candidates"][0]["text"] += other
        monkeypatch.setattr(Iteration, "generate_child", lambda *_: write_rows(run.at(2).eval, rows) or {})
        Iteration(run, 2, 0).generate(2)
        return capsys.readouterr().err

    assert "M2 answers exactly as M1: its training changed nothing that shows. Raise dpo.learning_rate" in said("")
    assert read_figures(run, 2)["answers"]["unchanged"] == 1
    set_aside(run, "M2/eval")
    assert "as M1" not in said(" and more")
    assert read_figures(run, 2)["answers"]["unchanged"] == 0.75
