"""The figures of the iterations in the trackers' own files, read back as the trackers read them."""

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from srlm.errors import UserError
from srlm.loop.track import SENDERS, scalars, send, sending, track
from srlm.run.folder import Run
from srlm.store import read_json, write_json
from srlm.train.trackers import check_trackers, plain
from tests.helpers.run_folder import finished_run
from tests.helpers.wandb_rows import rows_of

TRUTH = "answers/truth_score"


def run_with(root: Path, *trackers: str) -> Run:
    """A run at M2 that reports to these trackers."""
    finished_run(root)
    config = root / "config.toml"
    config.write_text(config.read_text().replace("report_to = []", f"report_to = {json.dumps(trackers)}"))
    return Run(root)


def brought(run: Run) -> None:
    with run.lock() as lock:
        track(run, lock)


def truth_of(run: Run) -> dict[int, float]:
    return {t: read_json(run.at(t).metrics)["answers"]["truth_score"] for t in range(3)}


def add_pairs(run: Run, t: int) -> None:
    """What M_t's metrics.json gets after the next model was sent: figures of its pairs."""
    path = run.at(t).metrics
    found = read_json(path)
    write_json(path, found | {"aift": found["aift"] | {"later": 7}})


def change_truth(run: Run, t: int) -> None:
    path = run.at(t).metrics
    found = read_json(path)
    found["answers"]["truth_score"] += 1
    write_json(path, found)


def test_names_of_nested_figures_and_intervals() -> None:
    values = {"judge": {"interval": [0.1, 0.2], "kendall": None, "groups": 4}, "model": "M1", "on": True}
    assert list(scalars(values)) == [("judge/interval/low", 0.1), ("judge/interval/high", 0.2), ("judge/groups", 4.0)]


def test_a_tracker_that_is_not_there_is_refused_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="unknown tracker wandbb"):
        check_trackers(["wandbb"])
    monkeypatch.setattr("srlm.train.trackers.TRACKERS", {"wandb": "no_such_package"})
    with pytest.raises(UserError, match="wandb is not installed: pip install no_such_package"):
        check_trackers(["wandb"])


def test_only_what_is_new_is_sent_and_a_changed_figure_begins_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, got = finished_run(tmp_path / "a run"), []
    monkeypatch.setitem(SENDERS, "trackio", lambda _, found: got.append((found.name, found.new)))
    first = sending(run, "trackio")
    assert first.name.startswith("a-run-")
    assert {t: values[TRUTH] for t, values in first.new.items()} == {str(t): v for t, v in truth_of(run).items()}
    send(run, "trackio")
    assert not sending(run, "trackio").new
    add_pairs(run, 1)
    assert sending(run, "trackio").name == first.name
    assert sending(run, "trackio").new == {"1": {"aift/later": 7.0}}
    send(run, "trackio")
    change_truth(run, 2)
    again = sending(run, "trackio")
    assert again.name == f"{first.name}-2"
    assert set(again.new) == {"0", "1", "2"}
    send(run, "trackio")
    assert [name for name, _ in got] == [first.name, first.name, again.name]
    shutil.copytree(run.root, tmp_path / "copy")
    copied = sending(Run(tmp_path / "copy"), "trackio")
    assert copied.name.startswith("copy-")
    assert copied.new == again.new


def test_an_error_is_one_line_without_what_the_environment_keeps_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_WRITE_TOKEN", "abc123")
    assert plain(ValueError("bad server http://x?write_token=abc123\nand more")) == (
        "ValueError: bad server http://x?write_token=$TRACKIO_WRITE_TOKEN"
    )
    monkeypatch.setenv("LONGER_TOKEN", "abc123def")
    monkeypatch.setenv("MY_KEY", "on")
    monkeypatch.setenv("HTTPS_PROXY", "http://u:hunter2@proxy")
    error = ValueError("abc123def on http://u:hunter2@proxy and https://me:pw@host/x")
    assert plain(error) == "ValueError: $LONGER_TOKEN on $HTTPS_PROXY and https://...@host/x"


def test_what_a_failed_sending_may_have_brought_keeps_its_row_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise ConnectionError("gone")

    run = finished_run(tmp_path / "r")
    monkeypatch.setitem(SENDERS, "wandb", fails)
    with pytest.raises(UserError, match="it did not accept the figures"):
        send(run, "wandb")
    again = sending(run, "wandb")
    assert (again.rows, again.sent, set(again.new)) == (3, {}, {"0", "1", "2"})


def test_a_broken_folder_or_record_of_a_tracker_is_said_and_ends_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_with(tmp_path / "r", "tensorboard", "wandb")
    (run.root / "tensorboard").write_text("mine")
    (run.root / "trackers").mkdir()
    (run.root / "trackers" / "wandb.json").write_text("{")
    brought(run)
    said = capsys.readouterr().err
    assert "train.report_to, tensorboard: " in said
    assert "train.report_to, wandb: " in said
    assert (run.root / "tensorboard").read_text() == "mine"


# --- the trackers themselves -----------------------------------------------------------------------------------------


def test_tensorboard_one_point_a_model_also_after_a_second_time(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    brought(finished_run(tmp_path / "other"))
    assert not (tmp_path / "other" / "tensorboard").exists()  # nobody asked
    run = run_with(tmp_path / "r", "tensorboard")
    brought(run)
    brought(run)
    found = EventAccumulator(str(run.root / "tensorboard"))
    found.Reload()
    assert [(event.step, event.value) for event in found.Scalars(TRUTH)] == [*truth_of(run).items()]


def test_wandb_offline_gets_one_row_a_model_and_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = run_with(tmp_path / "r", "wandb")
    name = sending(run, "wandb").name
    brought(run)
    brought(run)
    [folder] = (run.root / "wandb").glob(f"offline-run-*-{name}")
    rows = rows_of(folder)
    assert {row["model"]: row[TRUTH] for row in rows} == truth_of(run)
    assert [row["_step"] for row in rows] == [0, 1, 2]
    add_pairs(run, 1)
    brought(run)
    [later] = {*(run.root / "wandb").glob(f"offline-run-*-{name}")} - {folder}
    [row] = rows_of(later)
    assert (row["_step"], row["model"], row["aift/later"]) == (3, 1, 7)
    assert TRUTH not in row


def test_trackio_gets_one_point_a_model_and_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("trackio")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    run = run_with(tmp_path / "r", "trackio")
    brought(run)
    brought(run)
    add_pairs(run, 1)
    brought(run)
    with sqlite3.connect(tmp_path / "trackio" / "srlm.db") as base:
        rows = base.execute("SELECT run_id, run_name, step, metrics FROM metrics ORDER BY id").fetchall()
    assert {(row[0], row[1]) for row in rows} == {(rows[0][0], sending(run, "trackio").name)}
    points = [(step, json.loads(values)) for _, _, step, values in rows]
    assert {step: values[TRUTH] for step, values in points[:3]} == truth_of(run)
    assert points[3:] == [(1, {"aift/later": 7})]


def test_a_tracker_without_login_does_not_end_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("WANDB_API_KEY", "WANDB_MODE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    run = run_with(tmp_path / "r", "wandb")
    brought(run)
    said = " ".join(capsys.readouterr().err.split())
    assert "train.report_to, wandb: it did not accept the figures: UsageError: No API key configured" in said
    assert "the run continues" in said
    assert len(sending(run, "wandb").new) == 3  # next time
