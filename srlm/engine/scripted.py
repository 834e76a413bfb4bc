"""An engine that answers from a function: for tests of logic that needs no model."""

import asyncio
from collections.abc import Callable

from srlm.engine import Sample, Sampling
from srlm.records import Messages


class ScriptedEngine:
    """Calls `reply(messages, seed)` for each sample; remembers what it was asked, in order."""

    def __init__(self, reply: Callable[[Messages, int], str]) -> None:
        self._reply = reply
        self.asked: list[tuple[Messages, Sampling, int]] = []

    async def sample(self, messages: Messages, sampling: Sampling, seed: int) -> list[Sample]:
        """`n` replies with seeds seed, seed + 1, ...; tokens are counted as words."""
        self.asked.append((messages, sampling, seed))
        await asyncio.sleep(0)  # as a real engine, let the others run
        texts = [self._reply(messages, seed + index) for index in range(sampling.n)]
        return [Sample(text, len(text.split()), "stop") for text in texts]
