"""The trainer's own trackers (train.report_to): where they write, and that their failures end no training."""

import os
import sys
from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback

from srlm.loop.track import PROJECT, SECONDS, TRACKERS, fit, plain
from srlm.store import digest
from srlm.train.job import TrainJob


def run_name(job: TrainJob) -> str:
    """How W&B and trackio call this training, e.g. "demo-M2-3f9a01c2".

    The same when it goes on after a crash, and another one for another folder, model, data or settings.
    """
    folder = job.log.resolve().parent
    return f"{fit(f'{folder.parent.name}-{folder.name}')}-{digest(str(folder), job.model, job.digest())[:8]}"


def set_places(job: TrainJob) -> None:
    """Tell the trackers, through their environment, where to write; what the user has set there stands."""
    folder = str(job.log.parent)
    if "tensorboard" in job.train.report_to:
        os.environ["TENSORBOARD_LOGGING_DIR"] = str(job.log.parent / "tensorboard")
    if "wandb" in job.train.report_to:
        places = {"WANDB_PROJECT": PROJECT, "WANDB_DIR": folder, "WANDB_RESUME": "allow"}
        places |= {"WANDB_RUN_ID": run_name(job), "WANDB_SILENT": "true", "WANDB_CONSOLE": "off"}
        places |= {"WANDB_FINISH_TIMEOUT": str(SECONDS)}  # else a lost network holds the process at its end
        os.environ.update(places | os.environ)


def guard(trainer: Any) -> list["Guarded"]:
    """Put each tracker's callback of the trainer behind a `Guarded` one; returns these."""
    callbacks = trainer.callback_handler.callbacks
    guarded = []
    for place, callback in enumerate(callbacks):
        name = type(callback).__name__.removesuffix("Callback").lower()
        if name in TRACKERS:
            callbacks[place] = Guarded(name, callback)
            guarded.append(callbacks[place])
    return guarded


class Guarded(TrainerCallback):
    """A tracker's callback that is heard no more once it has failed: no login or no network ends no training."""

    def __init__(self, name: str, callback: TrainerCallback) -> None:
        self.name, self.callback = name, callback
        self.problem = ""

    def call(self, event: str, *arguments: Any, **values: Any) -> None:
        """Pass an event on."""
        if self.problem:
            return
        try:
            getattr(self.callback, event)(*arguments, **values)
        except Exception as error:  # not our code
            self.problem = f"{self.name} failed and is left out: {plain(error)}"
            print(self.problem, file=sys.stderr, flush=True)


def _passed_on(event: str) -> Callable[..., None]:
    def call(self: Guarded, *arguments: Any, **values: Any) -> None:
        self.call(event, *arguments, **values)

    return call


for _event in dir(TrainerCallback):
    if _event.startswith("on_"):
        setattr(Guarded, _event, _passed_on(_event))
