"""The trainer's own trackers (train.report_to) behind a guard: their failures end no training."""

import sys
from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback

from srlm.train.trackers import TRACKERS, plain


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
            self.problem = f"{self.name} failed and was switched off: {plain(error)}"
            print(self.problem, file=sys.stderr, flush=True)


def _passed_on(event: str) -> Callable[..., None]:
    def call(self: Guarded, *arguments: Any, **values: Any) -> None:
        self.call(event, *arguments, **values)

    return call


for _event in dir(TrainerCallback):
    if _event.startswith("on_"):
        setattr(Guarded, _event, _passed_on(_event))
