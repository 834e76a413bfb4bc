"""`--redo`: finds all that was made from a stage, and moves it aside, so that it is made again."""

import shutil
import time
from pathlib import Path

from srlm.console import say
from srlm.errors import UserError
from srlm.loop.stages import stages
from srlm.run.folder import Run
from srlm.run.stage import Stage
from srlm.store import read_json, write_json


def made_from(run: Run, target: str) -> list[Stage]:
    """A stage ("M1/aift"; a model, "M2", means its training) and all stages that were made from it.

    "stale" means every stale stage. Raises UserError when the run has no such stage.
    """
    known = stages(run, run.last)
    name = target if "/" in target else f"{target}/train"
    if target == "stale":
        names = {stage.name for stage in known if run.state(stage)[0] == "stale"}
    elif name in run.record.stages:
        names = {name}
    else:
        problem = f"--redo {target}: there is no {name} in {run.root}"
        raise UserError(problem, f"choose one of {', '.join(run.record.stages)}")
    result = []
    for stage in known:
        if stage.name in names or names & set(stage.inputs):
            names.add(stage.name)
            result.append(stage)
    return result


def set_aside(run: Run, target: str) -> Path:
    """Move the files of `made_from(target)` into a dated folder, which is returned, and forget those stages.

    A head to head goes with the answers that it compared, whether a stage or `srlm eval` made it.
    """
    gone = made_from(run, target)
    compared = _head_to_heads(run, gone)
    names = {stage.name for stage in gone}
    aside = _fresh_folder(run.paths.set_aside)
    kept = {key: run.record.stages.pop(key).model_dump() for key in list(run.record.stages) if key in names}
    write_json(aside / "stages.json", kept)
    for path in (*compared, *(path for stage in gone for path in stage.outputs)):
        if path.exists():
            kept_at = aside / path.relative_to(run.root)
            kept_at.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(path, kept_at)
    if compared and not run.config.versus.in_loop:
        models = ", ".join(path.parent.name for path in compared)
        say(f"The head to head of {models} goes with the old answers: run `srlm eval {run.root}` again afterwards")
    # forget last: after a crash in between, the stage is stale (its file is gone), never owed with old rows
    run.save()
    return aside


def _fresh_folder(parent: Path) -> Path:
    """Make a folder named by the time; by a number, too, where that second has one already."""
    stamp = time.strftime("%Y-%m-%dT%H-%M-%S")
    names = (stamp, *(f"{stamp}-{number}" for number in range(2, 1000)))
    fresh = next(folder for name in names if not (folder := parent / name).exists())
    fresh.mkdir(parents=True)
    return fresh


def _head_to_heads(run: Run, gone: list[Stage]) -> list[Path]:
    """versus.json of each model whose own answers, or those of a model that it met, are made again."""
    again = {f"M{stage.t}" for stage in gone if stage.part == "eval"}
    kept = {t: run.at(t).versus for t in run.begun if run.at(t).versus.exists()}
    return [path for t, path in kept.items() if again & {f"M{t}", *read_json(path).get("against", {})}]
