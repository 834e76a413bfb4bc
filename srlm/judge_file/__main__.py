"""The judging child: one engine, local or remote, judges the rows that are owed.

    python -m srlm.judge_file JOB.json

The same child for both kinds of engine: the parent stays free of torch, and Ctrl+C ends it as it ends every child.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

from srlm.engine import Engine
from srlm.generate.rollout import work_on
from srlm.judge.judge import Judge
from srlm.judge.neutral import neutralise
from srlm.judge.parse import DEFAULT_SCALE
from srlm.judge.rubric import Rubric, load_rubric
from srlm.judge_file.columns import Item, item_of
from srlm.judge_file.job import Endpoint, Judged, JudgeJob, LocalModel
from srlm.process.child import die_with_parent, run_job, set_environment
from srlm.records import Judgement
from srlm.seed.files import RawRow, stream_table
from srlm.store import Appender, read_rows, seed_of

LONGEST = 8192  # tokens of context for a model whose own is longer: more only costs memory, unless the user says so
FLUSH_SECONDS = 0.1
IN_FLIGHT = 256  # rows at a local engine: its batch is full, and what a crash makes you do again is small


def main(path: str) -> int:
    """Do the job in the file; returns the exit code."""
    job = JudgeJob.model_validate_json(Path(path).read_bytes())
    set_environment(job.engine.model)
    return run_job(lambda: judge(job), job.result)


def judge(job: JudgeJob) -> dict[str, Any]:
    """Judge the rows that are owed; returns how many rows the work file has."""
    if isinstance(job.engine, LocalModel):
        engine: Any = load(job.engine, job.seed)
        return asyncio.run(judge_rows(job, engine, IN_FLIGHT))
    return asyncio.run(_remote(job, job.engine))


def load(model: LocalModel, seed: int) -> Engine:
    """The model in vLLM. Raises UserError for what is no usable model."""
    from srlm.engine.vllm import VllmEngine
    from srlm.model.check import check_model

    length = model.max_length or min(check_model(model.model, model.revision).context or LONGEST, LONGEST)
    return VllmEngine(model.model, model.revision, length, dict(model.arguments), seed)


async def _remote(job: JudgeJob, endpoint: Endpoint) -> dict[str, Any]:
    from srlm.engine.server import ServerEngine

    async with ServerEngine(endpoint.url, endpoint.model, endpoint.concurrency, endpoint.timeout) as engine:
        return await judge_rows(job, engine, endpoint.concurrency)


async def judge_rows(job: JudgeJob, engine: Engine, in_flight: int) -> dict[str, Any]:
    """Append the missing rows to the work file as they are finished, in any order."""
    rubric = load_rubric(job.rubric) if job.rubric else _no_rubric(job)
    judge = Judge(engine, rubric, job.settings)
    done = {row.row for row in read_rows(job.rows, Judged)}

    async def owed() -> AsyncIterator[RawRow]:
        for row in stream_table(job.input):
            if row.number not in done:
                yield row

    async def work(row: RawRow) -> Judged:
        item = item_of(job.columns, row)
        seeds = [seed_of(job.seed, row.number, index) for index in range(len(item.responses))]
        if job.rubric is None:
            judgements = [await _ask_whole(judge, engine, item, seeds[0])]
        else:
            judgements = await judge.all(item.messages, item.responses, seeds, item.reference)
        return Judged(row=row.number, judgements=judgements)

    with Appender(job.rows) as file, Together(file) as together:
        await work_on(owed(), work, asyncio.Semaphore(in_flight), together)
    return {"before": len(done)}


class Together:
    """Appends what is finished within a tenth of a second with one flush to the disk.

    A flush takes about a millisecond in which the engine stands still, and a small judge finishes a hundred rows a
    second. What was finished is also written when the judging ends with an error.
    """

    def __init__(self, file: Appender) -> None:
        self._file, self._rows = file, list[Any]()
        self._failed: OSError | None = None  # of a flush that nobody waited for

    def append(self, row: Any) -> None:
        """Have the row written soon. Raises OSError (disk full) where that failed for the rows before."""
        if self._failed:
            raise self._failed
        if not self._rows:
            asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._flush_unwatched)
        self._rows.append(row)

    def _flush_unwatched(self) -> None:
        try:
            self.flush()
        except OSError as error:
            self._failed = error

    def flush(self) -> None:
        """Write what there is."""
        rows, self._rows = self._rows, []
        if rows:
            self._file.append_all(rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._failed:
            raise self._failed
        self.flush()


def _no_rubric(job: JudgeJob) -> Rubric:
    """What stands for the rubric of rows that hold whole judge prompts: there is nothing to fill in."""
    return Rubric(job.input, "", "scored", job.scale or DEFAULT_SCALE, "Score:")


async def _ask_whole(judge: Judge, engine: Engine, item: Item, seed: int) -> list[Judgement]:
    """The judgements that a whole judge prompt gets. Its delimiters are the user's own: only control strings go."""
    messages = [{**turn, "content": neutralise(turn["content"], (), engine.controls)} for turn in item.messages]
    return await judge.ask(messages, seed)


if __name__ == "__main__":
    die_with_parent()
    sys.exit(main(sys.argv[1]))
