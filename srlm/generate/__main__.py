"""The rollout child (`python -m srlm.generate JOB.json`): one engine load of one model, for all that it must write."""

import asyncio
import sys
import time
from contextlib import AsyncExitStack
from typing import Any

from srlm.engine.load import load_engine
from srlm.generate.job import GenerateJob
from srlm.generate.parts import Engines, Place, make_parts
from srlm.process.child import main
from srlm.run.folder import Run


async def generate(job: GenerateJob) -> dict[str, Any]:
    """Load the model and make the rows that are missing; returns seconds by part."""
    place = Place(Run(job.run), job.t, job.folder)
    asked = place.run.config.rollout.max_in_flight
    in_flight = job.engine.in_flight if asked == "auto" else asked
    started = time.monotonic()
    async with AsyncExitStack() as loaded:
        writer = await loaded.enter_async_context(load_engine(job.engine))
        judge = await loaded.enter_async_context(load_engine(job.judge)) if job.judge else writer
        load = time.monotonic() - started
        seconds = await make_parts(place, job.parts, Engines(writer, judge, in_flight))
    return {"load": round(load, 2)} | {part: round(value, 2) for part, value in seconds.items()}


if __name__ == "__main__":
    sys.exit(main(GenerateJob, lambda job: asyncio.run(generate(job))))
