"""The figures of the iterations in TensorBoard's own files, read back by TensorBoard."""

from pathlib import Path

import pytest
from run_folder import finished_run

from srlm.run import Run
from srlm.store import read_json
from srlm.track import scalars, track


def test_one_point_a_model_also_after_a_second_time(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    root = finished_run(tmp_path / "r").root
    assert not track(Run(root))  # nobody asked
    config = root / "config.toml"
    config.write_text(config.read_text().replace("report_to = []", 'report_to = ["tensorboard"]'))
    run = Run(root)
    assert track(run)
    assert track(run)
    found = EventAccumulator(str(root / "tensorboard"))
    found.Reload()
    points = {event.step: event.value for event in found.Scalars("answers/truth_score")}
    assert points == {t: read_json(run.folder(t) / "metrics.json")["answers"]["truth_score"] for t in range(3)}


def test_names_of_nested_figures_and_intervals() -> None:
    values = {"judge": {"interval": [0.1, 0.2], "kendall": None, "groups": 4}, "model": "M1", "on": True}
    assert list(scalars(values)) == [("judge/interval/low", 0.1), ("judge/interval/high", 0.2), ("judge/groups", 4.0)]
