"""Whose weights a run keeps (`train.keep_models`): what later steps load, the last model's and the best one's.

Only weights are removed, and only those that the run itself has trained: M0 is the user's. It is noted in run.json
first, so that nobody takes what a kill leaves of them for a model. The next call removes the rest.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from srlm.console import say
from srlm.engine.load import weights_digest
from srlm.loop.best import best_of
from srlm.loop.stages import stages
from srlm.run.folder import Run
from srlm.run.paths import BASELINE
from srlm.run.stage import Stage

# Models that lie there at once, at most, and do so when M_{t+1} is saved: M_{t+1}, M_t that it was made of, the best
# one so far, and M1 where it judges head to head or is the anchor of pairs.
MOST_NEEDED = 4


def loads(run: Run, stage: Stage) -> set[str]:
    """The models of the run that a stage loads, named as their folders are: "M2", "baseline". M0 is not among them.

    Under LoRA that is all, too: every adapter lies over M0, none over another model's.
    """
    own, before, config = f"M{stage.t}", f"M{max(stage.t - 1, 0)}", run.config
    table = {
        "train": [before],
        "eval": [own],
        "aift": [own],
        "past": [config.pairs.anchor, own],
        "previous": [before],
        "judge": [BASELINE] if config.baseline.train else [],
        "versus": [] if config.versus.judge else ["M1"],
    }
    return set(table.get(stage.part, [])) - {"M0"}


def check_weights(run: Run, todo: Iterable[Stage]) -> None:
    """Raise UserError where a stage to be done loads a model whose weights were removed, unless that is made anew."""
    todo = list(todo)
    anew = {stage.name for stage in todo}
    for stage in todo:
        for name in sorted(loads(run, stage)):
            if f"{name}/train" not in anew:
                run.must_have(name, stage.name)


def remove_unneeded(run: Run, n: int) -> None:
    """On the way to M_n, remove the weights that are not needed any more, if `train.keep_models` says so."""
    if run.config.train.keep_models == "all":
        return
    kept = needed(run, n)
    for name in _trained(run):
        if name not in kept:
            _remove(run, name)


def needed(run: Run, n: int) -> set[str]:
    """The models that stay: so that the run can go on, also to M_{n+1}; the last, the best, and what settings name."""
    ahead = stages(run, max(n + 1, run.last))
    found = {name for stage in ahead if run.state(stage)[0] != "done" for name in loads(run, stage)}
    best = best_of(run)
    return found | {f"M{t}" for t in run.trained[-1:]} | ({best.model} if best else set()) | _named(run)


def _trained(run: Run) -> Iterator[str]:
    """The models that the run has made."""
    made = run.record.stages.get(f"{BASELINE}/train")
    if made and made.status == "done":
        yield BASELINE
    yield from (f"M{t}" for t in run.trained)


def _named(run: Run) -> set[str]:
    """The models of this very run that settings name by their folder, to be loaded or as a server has them."""
    config = run.config
    named = {Path(model).resolve() for model in (config.judge.model, config.versus.judge, config.instructions.path)}
    return {name for name in _trained(run) if run.paths.trained(name).weights.resolve() in named}


def _remove(run: Run, name: str) -> None:
    folder = run.paths.trained(name).weights
    files = list(folder.glob("*.safetensors"))
    if not files:
        return
    if not run.removed(name):
        run.note_removed(name, weights_digest(str(folder)))
    for file in files:
        file.unlink()
    say(f"{name}: its weights were removed, since no later step loads them (train.keep_models)")
