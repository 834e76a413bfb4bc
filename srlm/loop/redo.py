"""`--redo`: finds all that was made from a stage, and moves it aside, so that it is made again."""

import shutil
import time
from pathlib import Path

from srlm.errors import UserError
from srlm.loop.stages import stages
from srlm.run.folder import Run
from srlm.run.stage import Stage
from srlm.store import write_json


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
    """Move the files of `made_from(target)` into a dated folder, which is returned, and forget those stages."""
    gone = made_from(run, target)
    names = {stage.name for stage in gone}
    aside = run.paths.set_aside / time.strftime("%Y-%m-%dT%H-%M-%S")
    aside.mkdir(parents=True)
    kept = {key: run.record.stages.pop(key).model_dump() for key in list(run.record.stages) if key in names}
    write_json(aside / "stages.json", kept)
    for stage in gone:
        for path in stage.outputs:
            if path.exists():
                kept_at = aside / path.relative_to(run.root)
                kept_at.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(path, kept_at)
    # forget last: after a crash in between, the stage is stale (its file is gone), never owed with old rows
    run.save()
    return aside
