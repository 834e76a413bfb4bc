"""Conversations as other files write them -> messages: lists of turns, and "Human: ... Assistant: ..." text."""

import re
from typing import Any

from srlm.errors import UserError
from srlm.records import Messages
from srlm.seed.files import RawRow
from srlm.seed.read import checked_string

_ROLES = dict.fromkeys(("user", "human", "prompter"), "user") | {"system": "system"}
_ROLES |= dict.fromkeys(("assistant", "gpt", "bot", "model"), "assistant")
_MARK = re.compile(r"(?:\A|\n\n)\s*(Human|Assistant):")


def turns(raw: RawRow, column: str, value: Any) -> Messages | None:
    """The conversation that `value` holds, None for a plain text. Raises UserError where it is neither."""
    if isinstance(value, list):
        return [_turn(raw, column, turn) for turn in value]
    text = checked_string(raw, column, value)
    if not text.lstrip().startswith("Human:"):
        return None
    _, *parts = _MARK.split(text)
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return [{"role": _ROLES[role.lower()], "content": content.strip()} for role, content in pairs]


def _turn(raw: RawRow, column: str, turn: Any) -> dict[str, str]:
    """One turn, {"role", "content"} or {"from", "value"}."""
    given = turn if isinstance(turn, dict) else {}
    role, content = given.get("role", given.get("from")), given.get("content", given.get("value"))
    if not isinstance(role, str) or role.lower() not in _ROLES or not isinstance(content, str):
        raise UserError(f"{raw.where}: {column} is not a list of turns", 'a turn is {"role": "user", "content": "..."}')
    return {"role": _ROLES[role.lower()], "content": checked_string(raw, column, content)}


def prompt_of(raw: RawRow, column: str, value: Any) -> Messages:
    """A prompt column's value as messages; an empty assistant's turn at its end (as HH has it) is no part of it.

    An Alpaca-like row's `input` follows its `instruction` after a blank line.
    """
    messages = turns(raw, column, value)
    if messages is None:
        messages = [{"role": "user", "content": checked_string(raw, column, value)}]
    if messages and messages[-1]["role"] == "assistant" and not messages[-1]["content"].strip():
        messages = messages[:-1]
    extra = checked_string(raw, "input", raw.values.get("input")) if column == "instruction" else ""
    if extra.strip() and messages:
        messages = [*messages[:-1], {**messages[-1], "content": f"{messages[-1]['content']}\n\n{extra}"}]
    return messages


def answer_of(raw: RawRow, column: str, value: Any) -> tuple[Messages, str | None]:
    """What came before the answer, where `value` is a whole conversation, and the answer; None where it has none."""
    found = turns(raw, column, value)
    if found is None:
        return [], checked_string(raw, column, value)
    if not found or found[-1]["role"] != "assistant":
        return found, None
    return found[:-1], found[-1]["content"]


def why_no_prompt(messages: Messages) -> str | None:
    """Why messages cannot be a prompt: [system,] user, assistant, ..., user, none empty; None if they can."""
    talk = messages[1:] if messages and messages[0]["role"] == "system" else messages
    if not talk:
        return "no prompt"
    if any(turn["role"] != ("user", "assistant")[index % 2] for index, turn in enumerate(talk)):
        return "user and assistant do not take turns"
    if talk[-1]["role"] != "user":
        return "its prompt does not end with the user's turn"
    return "empty prompt" if any(not turn["content"].strip() for turn in messages) else None
