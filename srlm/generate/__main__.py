"""The rollout child (`python -m srlm.generate JOB.json`): one engine load of one model, for all that it must write."""

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

from srlm.generate.job import GenerateJob
from srlm.generate.parts import answer_prompts, make_parts
from srlm.process.child import die_with_parent, run_job, set_environment
from srlm.run.folder import Run


def main(path: str) -> int:
    """Do the job in the file; returns the exit code."""
    job = GenerateJob.model_validate_json(Path(path).read_bytes())
    set_environment(job.model)
    return run_job(lambda: generate(job), job.result)


def generate(job: GenerateJob) -> dict[str, Any]:
    """Load the model and make the rows that are missing; returns seconds by part."""
    from srlm.engine.replicas import load_engine

    run = Run(job.run)
    started = time.monotonic()
    settings = run.config.engine
    arguments = (run.config.model.max_length, settings.args, run.config.run.seed, settings.replicas)
    with load_engine(job.model, job.revision, *arguments) as engine:
        loaded = time.monotonic() - started
        if job.prompts is not None and job.answers is not None:
            asyncio.run(answer_prompts(run, job.prompts, job.answers, engine))
        seconds = asyncio.run(make_parts(run, job.t, job.parts, engine))
    return {"load": round(loaded, 2)} | {part: round(value, 2) for part, value in seconds.items()}


if __name__ == "__main__":
    die_with_parent()
    sys.exit(main(sys.argv[1]))
