"""Training rows to token ids: the loss covers the reply and its end-of-turn token, and nothing is ever cut.

A row that cannot be used is left out and counted under its reason: "overlong" (it would have to be cut), "empty"
(no reply), "same" (chosen and rejected are the same tokens), "template" (the chat template refuses the messages, or
writes the prompt otherwise once the reply is there).
"""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from jinja2 import TemplateError
from pydantic import BaseModel

from srlm.model.chat import CHAT_OPTIONS, end_of_turn_ids
from srlm.records import Messages

IGNORED = -100  # the label that carries no loss


class SFTRow(BaseModel):
    """A prompt and the completion to learn; other columns are ignored."""

    id: str
    prompt: Messages
    completion: Messages


class DPORow(BaseModel):
    """A prompt and two replies, the better one and the worse one; other columns (scores) are ignored."""

    id: str
    prompt: Messages
    chosen: Messages
    rejected: Messages


Row = TypeVar("Row", SFTRow, DPORow)
Encoded = dict[str, Any]


class Encoder:
    """Encodes rows with one tokenizer; counts what it leaves out, by reason, in `dropped`."""

    def __init__(self, tokenizer: Any, max_length: int) -> None:
        self.tokenizer, self.max_length = tokenizer, max_length
        self.stops = end_of_turn_ids(tokenizer)
        self.dropped: dict[str, int] = {}
        self.overlong: list[str] = []  # their ids

    def sft(self, rows: Iterable[SFTRow]) -> list[Encoded]:
        """TRL's pre-tokenized form: `input_ids` and `labels`, both (T,), and `length` = T."""
        return [encoded for row in rows if (encoded := self._checked(row, self._sft_row)) is not None]

    def dpo(self, rows: Iterable[DPORow]) -> list[Encoded]:
        """What TRL's preference collator takes: `prompt_ids`, `chosen_ids`, `rejected_ids`; `length` of the longer."""
        return [encoded for row in rows if (encoded := self._checked(row, self._dpo_row)) is not None]

    def _checked(self, row: Row, encode: Callable[[Row], Encoded | str]) -> Encoded | None:
        """The encoded row; or None, with the reason counted."""
        try:
            found = encode(row)
        except TemplateError:
            found = "template"
        if isinstance(found, dict):
            if found["length"] <= self.max_length:
                return found
            self.overlong.append(row.id)
            found = "overlong"
        self.dropped[found] = self.dropped.get(found, 0) + 1
        return None

    def _sft_row(self, row: SFTRow) -> Encoded | str:
        if _empty(row.completion):
            return "empty"
        start, ids = self._turn(row.prompt, row.completion)
        return {"input_ids": ids, "labels": [IGNORED] * start + ids[start:], "length": len(ids)}

    def _dpo_row(self, row: DPORow) -> Encoded | str:
        if _empty(row.chosen) or _empty(row.rejected):
            return "empty"
        chosen_start, chosen = self._turn(row.prompt, row.chosen)
        rejected_start, rejected = self._turn(row.prompt, row.rejected)
        if chosen == rejected:
            return "same"
        start = min(chosen_start, rejected_start)
        ids = {"prompt_ids": chosen[:start], "chosen_ids": chosen[start:], "rejected_ids": rejected[start:]}
        return ids | {"length": max(len(chosen), len(rejected))}

    def _turn(self, prompt: Messages, reply: Messages) -> tuple[int, list[int]]:
        """(where the reply starts, ids of prompt and reply), the ids ending with an end-of-turn token.

        What a template puts after that token (often a newline) is left off: generation stops before it. A template that
        ends the turn with nothing gets the end token added, or the model would never learn to stop.
        """
        before, whole = self._text(prompt, add_generation_prompt=True), self._text(prompt + reply)
        if not whole.startswith(before):
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


def _empty(messages: Messages) -> bool:
    return not any(message["content"].strip() for message in messages)
