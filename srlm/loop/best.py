"""Which model of a run is the best so far, by the promotion gate (`promote`); said where a user may want it instead."""

from srlm.console import say
from srlm.loop.promote import Best, best_so_far
from srlm.measure.figures import read_figures
from srlm.run.folder import Run


def best_of(run: Run) -> Best | None:
    """The best of the models that have been measured; None before there is an M1."""
    return best_so_far([read_figures(run, t) for t in run.measured if t], run.config.promote)


def say_if_better(run: Run, taken: int, way: str) -> None:
    """Where M_taken was taken because it is the last one, and another is the best so far: say so, and the `way` to it.

    "{best}" in `way` stands for that model.
    """
    best = best_of(run)
    if best and best.model != f"M{taken}":
        say(f"The best model so far is {best.model} (see `srlm inspect {run.root}`). {way.format(best=best.model)}")
