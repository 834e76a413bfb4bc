"""What a stage knows of text generation: chat messages in, samples out."""

from dataclasses import dataclass
from typing import Protocol

from srlm.records import Messages


@dataclass(frozen=True)
class Sampling:
    """How to sample: `n` texts of at most `max_tokens` tokens each."""

    n: int
    temperature: float
    top_p: float
    max_tokens: int


@dataclass(frozen=True)
class Sample:
    """One generated text, its length in tokens, and why it ended: stop, length, or overlong (never begun)."""

    text: str
    tokens: int
    finish: str


class Engine(Protocol):
    """A loaded model. A prompt that does not fit the context comes back as samples with finish "overlong"."""

    async def sample(self, messages: Messages, sampling: Sampling, seed: int) -> list[Sample]:
        """`sampling.n` samples of the assistant's next turn; equal arguments ask for the same thing again."""
        ...
