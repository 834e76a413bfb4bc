"""What a stage knows of text generation: chat messages in, samples out, and how likely a given reply would be."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from srlm.records import Messages

DIED = "vLLM's engine process ended: it was killed or ran out of memory"


@dataclass(frozen=True)
class Sampling:
    """How to sample: `n` texts of at most `max_tokens` tokens each."""

    n: int
    temperature: float
    top_p: float
    max_tokens: int


NEVER_BEGUN = ("overlong", "refused")


@dataclass(frozen=True)
class Sample:
    """One generated text without thoughts in front, its length in tokens with them, and why it ended.

    It ended by itself ("stop") or at `max_tokens` ("length"), or in the midst of its thoughts ("unfinished"); or it was
    never begun, since the prompt does not fit ("overlong") or the chat template does not take it ("refused").
    """

    text: str
    tokens: int
    finish: str


class Engine(Protocol):
    """A loaded model. A prompt that it cannot be asked comes back as samples that were never begun."""

    @property
    def controls(self) -> Collection[str]:
        """The strings that the tokenizer turns into control tokens: what data in a judge's prompt must not hold."""
        ...

    async def sample(self, messages: Messages, sampling: Sampling, seed: int) -> list[Sample]:
        """`sampling.n` samples of the assistant's next turn; equal arguments ask for the same thing again."""
        ...

    async def choices(self, messages: Messages, prefix: str, choices: list[str]) -> list[float] | None:
        """Log-probability of each choice as what continues an assistant's turn that begins with `prefix`.

        Of numbers among the choices each one ends where it ends: "1" has nothing of the probability of "10" when that
        is a choice, too (see `may_go_on`). No sampling setting applies. -inf is possible; None when the prompt does not
        fit the context. `prefix` ends in no white space: it goes in front of the choices, where tokenizers have it.
        """
        ...


def may_go_on(choices: list[str]) -> list[bool]:
    """For each choice whether another one is the same number with more digits: its end is then part of it."""
    return [
        any(len(other) > len(choice) and other.startswith(choice) and other[len(choice)].isdigit() for other in choices)
        for choice in choices
    ]
