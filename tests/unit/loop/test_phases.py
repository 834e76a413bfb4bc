"""What the children of an iteration are told to load: of a hub's model the commit that it stood for at init."""

from pathlib import Path
from typing import Any

import pytest

from srlm.loop.phases import Phases
from srlm.run.folder import Run
from srlm.train.steps import STEPS
from tests.helpers.run_folder import bare_run

COMMIT = "a" * 40


def jobs(run: Run, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The jobs of M0's evaluation, M1's training and M1's evaluation."""
    found: list[Any] = []

    def run_child(module: str, job: Any, *_: Any) -> dict[str, Any]:
        found.append(job)
        return {"overlong": 0}

    monkeypatch.setattr("srlm.loop.phases.run_child", run_child)
    phases = Phases(run, 1, 0)
    run.paths.trained("M1").train_rows.parent.mkdir()
    run.paths.trained("M1").train_rows.write_text("{}\n")
    phases.generate_child(0, run.model(0), ["eval"])
    phases.train_child("M1", STEPS["sft"])
    phases.generate_child(1, run.model(1), ["eval"])
    return found


def test_every_child_loads_the_pinned_commit_of_m0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = bare_run(tmp_path / "r")
    run.record.commits = {"base-model": COMMIT}
    run.save()
    asked, trained, later = jobs(Run(run.root), monkeypatch)
    assert (asked.engine.model, asked.engine.revision) == ("base-model", COMMIT)
    assert (trained.model, trained.revision) == ("base-model", COMMIT)
    assert later.engine.revision is None  # M1 is a folder
    assert Run(run.root).config.model.revision is None


def test_a_revision_that_was_set_later_is_not_the_pinned_one(tmp_path: Path) -> None:
    run = bare_run(tmp_path / "r")
    run.record.commits = {"base-model": COMMIT, "writer@v2": "b" * 40}
    assert run.revision("base-model") == COMMIT
    model = run.config.model.model_copy(update={"revision": "v2"})
    run.config = run.config.model_copy(update={"model": model})
    assert run.revision("base-model") == "v2"
    assert run.revision("writer") is None  # v2 is M0's
    run.record.commits["base-model@v2"] = "c" * 40
    assert run.revision("base-model") == "c" * 40
