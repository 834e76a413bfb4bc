"""The judging child: one engine, local or remote, judges the rows that are owed.

    python -m srlm.judge_file JOB.json

The same child for both kinds of engine: the parent stays free of torch, and Ctrl+C ends it as it ends every child.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any, Self

from srlm.engine import Engine
from srlm.engine.load import load_engine
from srlm.generate.rollout import work_on
from srlm.judge.judge import Judge
from srlm.judge.neutral import neutralise
from srlm.judge.parse import DEFAULT_SCALE
from srlm.judge.rubric import Rubric, load_rubric
from srlm.judge_file.columns import Item, item_of
from srlm.judge_file.job import Judged, JudgeJob
from srlm.process.child import main
from srlm.records import Judgement
from srlm.seed.files import RawRow, stream_table
from srlm.store import Appender, read_rows, seed_of

FLUSH_SECONDS = 0.1


def judge(job: JudgeJob) -> dict[str, Any]:
    """Judge the rows that are owed; returns how many were judged before."""

    async def on_one_engine() -> dict[str, Any]:
        async with load_engine(job.engine) as engine:
            return await judge_rows(job, engine)

    return asyncio.run(on_one_engine())


async def judge_rows(job: JudgeJob, engine: Engine) -> dict[str, Any]:
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
        await work_on(owed(), work, asyncio.Semaphore(job.engine.in_flight), together)
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
    sys.exit(main(JudgeJob, judge))
