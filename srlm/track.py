"""Figures of the iterations for TensorBoard: one point per model, beside the trainer's own curves (train.report_to)."""

import importlib.util
from collections.abc import Iterator
from typing import Any

from srlm.run import Run
from srlm.store import read_json

FOLDER = "tensorboard"  # in the run folder; each training has one of its own beside its log


def track(run: Run) -> bool:
    """Write the figures of all measured models anew, where train.report_to asks for it; whether it did.

    Anew, so that a rerun leaves no point twice: the folder holds nothing but what metrics.json files say.
    """
    asked = "tensorboard" in run.config.train.report_to
    if not asked or importlib.util.find_spec("tensorboard") is None:
        return False
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter  # needs neither torch nor TensorFlow

    folder = run.root / FOLDER
    for old in folder.glob("events.*"):
        old.unlink()
    writer = EventFileWriter(str(folder))
    for t in range(run.last):
        path = run.folder(t) / "metrics.json"
        values = scalars(read_json(path)) if path.exists() else ()
        for name, value in values:
            writer.add_event(Event(step=t, summary=Summary(value=[Summary.Value(tag=name, simple_value=value)])))
    writer.close()
    return True


def scalars(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """("judge/pairwise_accuracy", 0.8) for each number; the ends of an interval are named low and high."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from scalars(value, f"{prefix}{name}/")
        elif name.endswith("interval") and value:
            yield from ((f"{prefix}{name}/{end}", float(x)) for end, x in zip(("low", "high"), value, strict=True))
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield prefix + name, float(value)
