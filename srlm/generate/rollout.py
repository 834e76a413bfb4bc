"""The rollout of one instruction: N candidates, each judged K times, one row. (Paper: section 2.3.)

`work_on` runs many of them at once: one coroutine per row, at most `max_in_flight` together, each row appended
when it is complete. A restart owes only the rows that are missing.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

from pydantic import BaseModel

from srlm.engine import NEVER_BEGUN, Engine, Sampling
from srlm.judge.judge import Judge
from srlm.records import Candidate, Messages, Rollout
from srlm.settings import RolloutSettings
from srlm.store import seed_of


async def roll_out(
    engine: Engine, judge: Judge, settings: RolloutSettings, row_id: str, messages: Messages, n: int, seed: int
) -> Rollout:
    """Sample `n` candidates to `messages` and judge each. A row whose prompt does not fit is set aside, not lost."""
    return await judge_candidates(judge, await answer(engine, settings, row_id, messages, n, seed), seed)


async def answer(
    engine: Engine, settings: RolloutSettings, row_id: str, messages: Messages, n: int, seed: int
) -> Rollout:
    """`n` candidates to `messages`, not yet judged."""
    sampling = Sampling(n, settings.temperature, settings.top_p, settings.max_tokens)
    samples = await engine.sample(messages, sampling, seed_of(seed, row_id, "candidates"))
    if samples[0].finish in NEVER_BEGUN:
        return Rollout(id=row_id, messages=messages, dropped=samples[0].finish)
    candidates = [Candidate(text=sample.text, finish=sample.finish, tokens=sample.tokens) for sample in samples]
    return Rollout(id=row_id, messages=messages, candidates=candidates)


async def judge_candidates(judge: Judge, rollout: Rollout, seed: int) -> Rollout:
    """The same candidates with this judge's judgements in the place of any that they had."""
    seeds = [seed_of(seed, rollout.id, "judge", index) for index in range(len(rollout.candidates))]
    judgements = await judge.all(rollout.messages, [candidate.text for candidate in rollout.candidates], seeds)
    candidates = [
        candidate.model_copy(update={"judgements": found})
        for candidate, found in zip(rollout.candidates, judgements, strict=True)
    ]
    return rollout.model_copy(update={"candidates": candidates})


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
