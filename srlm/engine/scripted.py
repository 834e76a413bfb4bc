"""An engine that answers from a function: for tests of logic that needs no model."""

import asyncio
from collections.abc import Callable, Collection

from srlm.engine import Sample, Sampling
from srlm.records import Messages


class ScriptedEngine:
    """Calls `reply(messages, seed)` for each sample; remembers what it was asked, in order.

    `likely(messages, prefix, choice)` is the log-probability of a choice.
    """

    def __init__(
        self,
        reply: Callable[[Messages, int], str],
        likely: Callable[[Messages, str, str], float] = lambda messages, prefix, choice: 0.0,
        controls: Collection[str] = (),
    ) -> None:
        self._reply, self._likely, self.controls = reply, likely, controls
        self.asked: list[tuple[Messages, Sampling, int]] = []

    async def sample(self, messages: Messages, sampling: Sampling, seed: int) -> list[Sample]:
        """`n` replies with seeds seed, seed + 1, ...; tokens are counted as words."""
        self.asked.append((messages, sampling, seed))
        await asyncio.sleep(0)  # as a real engine, let the others run
        texts = [self._reply(messages, seed + index) for index in range(sampling.n)]
        return [Sample(text, len(text.split()), "stop") for text in texts]

    async def choices(self, messages: Messages, prefix: str, choices: list[str]) -> list[float] | None:
        """What `likely` says of each."""
        await asyncio.sleep(0)
        return [self._likely(messages, prefix, choice) for choice in choices]
