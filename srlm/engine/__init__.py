"""What a stage knows of text generation: chat messages in, samples out, and how likely a given reply would be."""

from collections.abc import Collection
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

    @property
    def controls(self) -> Collection[str]:
        """The strings that the tokenizer turns into control tokens: what data in a judge's prompt must not hold."""
        ...

    async def sample(self, messages: Messages, sampling: Sampling, seed: int) -> list[Sample]:
        """`sampling.n` samples of the assistant's next turn; equal arguments ask for the same thing again."""
        ...

    async def choices(self, messages: Messages, prefix: str, choices: list[str]) -> list[float] | None:
        """Log-probability of each choice as what continues an assistant's turn that begins with `prefix`.

        A choice that ends in a digit ends there: "1" has nothing of the probability of "10". No sampling setting
        applies. -inf is possible; None when the prompt does not fit the context. `prefix` ends in no white space (put
        it in front of the choices, where most tokenizers have it).
        """
        ...
