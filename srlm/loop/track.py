"""Figures of the iterations for trackers (train.report_to), beside the trainer's own curves: one point per model.

TensorBoard's file is written anew each time. W&B and trackio take no point back, so that RUN/trackers/NAME.json keeps
what each has got: only what is new is sent, and a figure that has changed (a model was made anew) begins another run of
the tracker. These two run in a child process with a time limit: whatever happens to them, the loop continues.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from srlm.console import say
from srlm.errors import StageError, UserError
from srlm.measure.figures import read_figures
from srlm.process.child import main
from srlm.process.job import Job
from srlm.process.launch import run_child
from srlm.run.folder import Run
from srlm.store import digest, read_json, write_json
from srlm.train.trackers import PROJECT, SECONDS, fit, plain

Points = dict[str, dict[str, float]]
"""Number of a model -> name of a figure -> its value."""


class TrackJob(Job):
    """What the child is asked: send a run's new figures to a tracker."""

    run: Path
    tracker: str


def track(run: Run, lock: int) -> None:
    """Send the figures of all measured models to the trackers in train.report_to; failures are reported."""
    for name in run.config.train.report_to:
        try:
            if name == "tensorboard":
                _write_tensorboard(run)
            elif sending(run, name).new:
                run_child("srlm.loop.track", TrackJob(run=run.root, tracker=name), run.log(f"track-{name}"), [], lock)
        except (UserError, StageError, OSError) as error:
            say(f"train.report_to, {name}: {error}; the run continues, and the next iteration will send these figures")


# --- what is to be sent ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sending:
    """What a tracker has got and what is new to it."""

    source: str  # which run folder this is: a copy of it is another one
    number: int  # of the tracker's run: 1, or more after figures have changed
    rows: int  # sent to it before
    sent: Points
    new: Points

    @property
    def name(self) -> str:
        """How the tracker calls the run: fit for an id, and the same each time."""
        return self.source + (f"-{self.number}" if self.number > 1 else "")

    def kept(self) -> dict[str, Any]:
        """What RUN/trackers/NAME.json says once the new points are sent."""
        sent = {t: self.sent.get(t, {}) | self.new.get(t, {}) for t in sorted({*self.sent, *self.new}, key=int)}
        return {"source": self.source, "number": self.number, "rows": self.rows + len(self.new), "sent": sent}


def sending(run: Run, tracker: str) -> Sending:
    """What is new for a tracker."""
    source, points, path = _source(run), _points(run), _record(run, tracker)
    kept = read_json(path) if path.exists() else {}
    if kept.get("source") != source:
        return Sending(source, 1, 0, {}, points)
    sent: Points = kept["sent"]
    if any(points[t].get(name, value) != value for t in sent if t in points for name, value in sent[t].items()):
        return Sending(source, kept["number"] + 1, 0, {}, points)
    unsent = {t: {k: v for k, v in values.items() if k not in sent.get(t, {})} for t, values in points.items()}
    return Sending(source, kept["number"], kept["rows"], sent, {t: values for t, values in unsent.items() if values})


def _source(run: Run) -> str:
    """A name for the run folder that no other has."""
    root = run.root.resolve()
    return f"{fit(root.name)}-{digest(str(root), run.record.created)[:8]}"


def scalars(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """("judge/pairwise_accuracy", 0.8) for each number; the ends of an interval are named low and high."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from scalars(value, f"{prefix}{name}/")
        elif name.endswith("interval") and value:
            yield from ((f"{prefix}{name}/{end}", float(x)) for end, x in zip(("low", "high"), value, strict=True))
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield prefix + name, float(value)


def _points(run: Run) -> Points:
    return {str(t): dict(scalars(read_figures(run, t))) for t in run.measured}


def _record(run: Run, tracker: str) -> Path:
    return run.paths.trackers / f"{tracker}.json"


# --- the trackers ----------------------------------------------------------------------------------------------------


def _write_tensorboard(run: Run) -> None:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter  # needs neither torch nor TensorFlow

    folder = run.paths.tensorboard  # each training has one of its own beside its log
    for old in folder.glob("events.*"):
        old.unlink()
    writer = EventFileWriter(str(folder))
    for t, values in _points(run).items():
        for name, value in values.items():
            writer.add_event(Event(step=int(t), summary=Summary(value=[Summary.Value(tag=name, simple_value=value)])))
    writer.close()


def _send_to_wandb(run: Run, found: Sending) -> None:
    """One row per model. W&B's own step only counts rows, since a model's figures about its pairs come after the next
    model's evaluation: charts go by `model`. Rows that it has already are ignored there by their step.
    """
    import wandb

    quiet = {"console": "off", "silent": True, "x_disable_stats": True, "x_disable_meta": True}
    quiet |= {"finish_timeout_raises": True}  # what did not arrive in the user's WANDB_FINISH_TIMEOUT was not sent
    settings = wandb.Settings(**quiet, disable_git=True, disable_code=True, x_disable_machine_info=True)
    project, folder = os.environ.get("WANDB_PROJECT", PROJECT), os.environ.get("WANDB_DIR", str(run.root))
    opened = wandb.init(project=project, id=found.name, name=found.name, dir=folder, resume="allow", settings=settings)
    opened.define_metric("model")
    opened.define_metric("*", step_metric="model")
    for row, (t, values) in enumerate(found.new.items(), start=found.rows):
        opened.log({"model": int(t)} | values, step=row)
    opened.finish()


def _send_to_trackio(run: Run, found: Sending) -> None:
    """One row per model, its number being the step; into trackio's own folder, where `trackio show` finds it."""
    import trackio

    opened: Any = trackio.init(
        project=PROJECT, name=found.name, resume="allow", embed=False, auto_log_gpu=False, auto_log_cpu=False
    )
    for t, values in found.new.items():
        opened.log(values, step=int(t))
    opened.finish()


SENDERS: dict[str, Callable[[Run, Sending], None]] = {"wandb": _send_to_wandb, "trackio": _send_to_trackio}


def send(run: Run, tracker: str) -> dict[str, Any]:
    """Send what is new and keep it in mind. Raises UserError, in one line, for whatever the tracker raises."""
    found = sending(run, tracker)
    # W&B ignores a row whose number it has: what it got of a sending that did not come to its end keeps its numbers.
    write_json(_record(run, tracker), replace(found, new={}).kept() | {"rows": found.rows + len(found.new)})
    try:
        SENDERS[tracker](run, found)
    except Exception as error:  # not our code, and nothing in it may end the run
        raise UserError("it did not accept the figures", plain(error)) from error
    write_json(_record(run, tracker), found.kept())
    return {"points": len(found.new)}


def _send_in_time(job: TrackJob) -> dict[str, Any]:
    signal.alarm(SECONDS)  # ends this process: what it waits for does not come
    return send(Run(job.run), job.tracker)


if __name__ == "__main__":
    sys.exit(main(TrackJob, _send_in_time))
