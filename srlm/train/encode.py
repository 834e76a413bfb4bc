"""Training rows to token ids: the loss covers the reply and its end-of-turn token, and nothing is ever cut.

What is common to all training steps: turns, and what becomes of a row that cannot be used. The forms of rows, and how
each is encoded, are in the files of the steps (`sft`, `dpo`).

A row that cannot be used is left out and counted under its reason: "overlong" (it would have to be cut), "empty"
(no reply), "same" (chosen and rejected are the same tokens), "template" (the chat template refuses the messages, or
writes the prompt otherwise once the reply is there).
"""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from pydantic import BaseModel

from srlm.model.chat import CHAT_OPTIONS, end_of_turn_ids
from srlm.records import Messages

IGNORED = -100  # the label that carries no loss


class TrainingRow(BaseModel):
    """What a row has in every form; other columns are ignored."""

    id: str
    prompt: Messages


Row = TypeVar("Row", bound=TrainingRow)
Encoded = dict[str, Any]
"""A row as its trainer takes it, and `length`: its tokens."""
Reply = tuple[list[int], int, float]
"""Ids of prompt and reply, where the reply starts, and +1 where training makes it more likely, -1 where less."""


class Encoder:
    """Encodes rows with one tokenizer; counts what it leaves out, by reason, in `dropped`."""

    def __init__(self, tokenizer: Any, max_length: int) -> None:
        self.tokenizer, self.max_length = tokenizer, max_length
        self.stops = end_of_turn_ids(tokenizer)
        self.dropped: dict[str, int] = {}
        self.overlong: list[str] = []  # their ids

    def usable(self, rows: Iterable[Row], encode: Callable[["Encoder", Row], Encoded | str]) -> list[Encoded]:
        """The rows as `encode` gives them, without those for which it gives a reason instead, and overlong ones."""
        return [encoded for row in rows if (encoded := self._checked(row, encode)) is not None]

    def _checked(self, row: Row, encode: Callable[["Encoder", Row], Encoded | str]) -> Encoded | None:
        """The encoded row; or None, with the reason counted."""
        from jinja2 import TemplateError  # only the child needs it

        try:
            found = encode(self, row)
        except TemplateError:
            found = "template"
        if isinstance(found, dict):
            if found["length"] <= self.max_length:
                return found
            self.overlong.append(row.id)
            found = "overlong"
        self.dropped[found] = self.dropped.get(found, 0) + 1
        return None

    def turn(self, prompt: Messages, reply: Messages) -> tuple[int, list[int]]:
        """(where the reply starts, ids of prompt and reply), the ids ending with an end-of-turn token.

        What a template puts after that token (often a newline) is left off: generation stops before it. A template that
        ends the turn with nothing gets the end token added, or the model would never learn to stop. Raises
        TemplateError where the template refuses the messages, or begins the full chat otherwise.
        """
        before, whole = self._text(prompt, add_generation_prompt=True), self._text(prompt + reply)
        if not whole.startswith(before):
            from jinja2 import TemplateError

            raise TemplateError("the generation prompt is not how the full chat begins")
        head, ids = self._ids(before), self._ids(whole)
        start = next((i for i, (a, b) in enumerate(zip(head, ids, strict=False)) if a != b), min(len(head), len(ids)))
        ends = [i for i in range(start, len(ids)) if ids[i] in self.stops]
        return start, ids[: ends[-1] + 1] if ends else [*ids, self.stops[-1]]

    def _text(self, messages: Messages, add_generation_prompt: bool = False) -> str:
        text: str = self.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=add_generation_prompt, **CHAT_OPTIONS
        )
        return text

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids


def empty(messages: Messages) -> bool:
    """Whether nothing is said: no reply to learn."""
    return not any(message["content"].strip() for message in messages)
