"""Trackers of figures (train.report_to): which there are, what they are told, how their errors read.

They get the trainer's curves (`guard`) and the figures of the iterations (`loop.track`). Imports none of them.
"""

import importlib.util
import os
import re

from srlm.errors import UserError
from srlm.store import digest
from srlm.train.job import TrainJob

TRACKERS = {"tensorboard": "tensorboard", "wandb": "wandb", "trackio": "trackio"}  # tracker -> package
PROJECT = "srlm"
SECONDS = 120  # for one tracker at one iteration: a server that cannot be reached must not hold up the loop
SHORTEST_SECRET = 6  # characters: a shorter value of the environment is a word that may stand anywhere


def check_trackers(names: list[str]) -> None:
    """Raises UserError for a tracker that is unknown or not installed."""
    for name in names:
        package = TRACKERS.get(name)
        if package is None:
            raise UserError(f"train.report_to: unknown tracker {name}", f"known: {', '.join(TRACKERS)}")
        if importlib.util.find_spec(package) is None:
            raise UserError(f"train.report_to: {name} is not installed", f"pip install {package}")


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


def fit(name: str) -> str:
    """A name as trackers take it: letters, digits, dots and dashes, not too long."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name)[:60]


def plain(error: Exception) -> str:
    """The first line of an error, without what the environment keeps secret and without the user part of addresses."""
    text = (str(error).splitlines() or [""])[0]
    for name, value in sorted(os.environ.items(), key=lambda item: -len(item[1])):  # one may be part of another
        if len(value) >= SHORTEST_SECRET and re.search("KEY|TOKEN|SECRET|PASS|PROXY|_URL", name, re.IGNORECASE):
            text = text.replace(value, f"${name}")
    text = re.sub(r"//[^/@\s]+@", "//...@", text)
    return f"{type(error).__name__}: {text[:200]}"
