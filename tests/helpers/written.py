"""What a scripted engine writes into a run, without a child process."""

import asyncio
from pathlib import Path
from typing import Any

from srlm.generate.evaluator import Evaluator
from srlm.generate.parts import Engines, Place, make_parts
from srlm.judge.judge import make_judge
from srlm.run.folder import Run
from srlm.settings import Config

ROWS = 64  # at once, where the run does not say


def write(run: Run, t: int, parts: list[str], engine: Any, judge: Any = None, folder: Path | None = None) -> None:
    """Make the missing rows of the parts with this engine; `judge` judges in its place."""
    asked = run.config.rollout.max_in_flight
    in_flight = ROWS if asked == "auto" else asked
    asyncio.run(make_parts(Place(run, t, folder), parts, Engines(engine, judge, in_flight)))


def evaluator(run: Run, config: Config, engine: Any) -> Evaluator:
    """An evaluation of the run's in which one engine answers and judges."""
    return Evaluator(engine, make_judge(engine, run.templates, config.judge), config)
