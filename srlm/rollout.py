"""The rollout of one instruction: N candidates, each judged K times, one row. (Paper: section 2.3.)

`work_on` runs many of them at once: one coroutine per row, at most `max_in_flight` together, each row appended
when it is complete. A restart owes only the rows that are missing.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

from pydantic import BaseModel

from srlm.config import RolloutSettings
from srlm.engine import Engine, Sampling
from srlm.judge import Judge
from srlm.records import Candidate, Messages, Rollout
from srlm.store import seed_of


async def roll_out(
    engine: Engine, judge: Judge, settings: RolloutSettings, row_id: str, messages: Messages, n: int, seed: int
) -> Rollout:
    """Sample `n` candidates to `messages` and judge each. A row whose prompt does not fit is set aside, not lost."""
    sampling = Sampling(n, settings.temperature, settings.top_p, settings.max_tokens)
    samples = await engine.sample(messages, sampling, seed_of(seed, row_id, "candidates"))
    if samples[0].finish == "overlong":
        return Rollout(id=row_id, messages=messages, dropped="overlong")
    seeds = [seed_of(seed, row_id, "judge", index) for index in range(len(samples))]
    judgements = await judge.all(messages, [sample.text for sample in samples], seeds)
    candidates = [
        Candidate(text=sample.text, finish=sample.finish, tokens=sample.tokens, judgements=found)
        for sample, found in zip(samples, judgements, strict=True)
    ]
    return Rollout(id=row_id, messages=messages, candidates=candidates)


class Rows(Protocol):
    """Where finished rows go, as a rule an `Appender`."""

    def append(self, row: BaseModel, /) -> None:
        """Take one row."""
        ...


async def work_on(
    items: AsyncIterator[Any], work: Callable[[Any], Awaitable[BaseModel]], slots: asyncio.Semaphore, file: Rows
) -> None:
    """Append `await work(item)` for each item, holding one of the `slots` from its start until its row is on disk."""

    async def one(item: Any) -> None:
        try:
            file.append(await work(item))
        finally:
            slots.release()

    async with asyncio.TaskGroup() as group:
        async for item in items:
            await slots.acquire()
            group.create_task(one(item))
