"""Prompts that were seen before, in the same words or nearly: within a file, across files, in held-out ones."""

from dataclasses import dataclass
from typing import Literal

from srlm.records import Messages
from srlm.seed.similarity import Pool, words
from srlm.seed.split import prompt_key, prompt_keys

NEAR = 0.7  # ROUGE-L, as the paper's filter of new instructions has it
LEAST_WORDS = 3  # "Go on" says nothing about where a prompt comes from


@dataclass(frozen=True)
class Match:
    """An earlier prompt that is the same (but for case, spacing and system turn) or whose opening turn comes near."""

    how: Literal["same", "near"]
    file: str
    where: str


class Prompts:
    """Prompts with their places. A prompt is a conversation that ends with the user's turn."""

    def __init__(self) -> None:
        self._keys: dict[str, tuple[str, str]] = {}
        self._pool = Pool(NEAR)
        self._places: list[tuple[str, str]] = []  # of the texts in the pool

    def add(self, file: str, where: str, prompt: Messages) -> Match | None:
        """Remember a prompt; the earlier one that it equals or comes near to, if any."""
        if match := self._same({key := prompt_key(prompt)}):
            return match
        self._keys[key] = (file, where)
        match = self._near(prompt)
        if match is None and _says_something(prompt):
            self._pool.add(_opening(prompt))
            self._places.append((file, where))
        return match

    def find(self, messages: Messages) -> Match | None:
        """The prompt that one of a conversation's prompts equals, else the one that its opening turn comes near to."""
        return self._same(prompt_keys(messages)) or self._near(messages)

    def _same(self, keys: set[str]) -> Match | None:
        found = next((self._keys[key] for key in sorted(keys) if key in self._keys), None)
        return None if found is None else Match("same", *found)

    def _near(self, prompt: Messages) -> Match | None:
        place = self._pool.most_similar(_opening(prompt)) if _says_something(prompt) else None
        return None if place is None else Match("near", *self._places[place])


def _opening(messages: Messages) -> str:
    return next(turn["content"] for turn in messages if turn["role"] == "user")


def _says_something(messages: Messages) -> bool:
    return len(words(_opening(messages))) >= LEAST_WORDS
