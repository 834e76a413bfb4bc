"""Conversations in all the forms that files have -> messages: the one reader of turns, for every kind of file.

A conversation is a list of turns ({"role", "content"} or {"from", "value"}; the content is text or a list of parts), or
text as HH has it ("\\n\\nHuman: ...\\n\\nAssistant: ..."). Other keys of a turn, such as "name", are not read.
"""

import re
from typing import Any

from srlm.records import Messages
from srlm.seed.files import RawRow
from srlm.seed.values import RowError, checked_string

_ROLES = dict.fromkeys(("user", "human", "prompter"), "user") | dict.fromkeys(("system", "developer"), "system")
_ROLES |= dict.fromkeys(("assistant", "gpt", "chatgpt", "bot", "model", "ai"), "assistant")
_TOOLS = ("tool", "function", "function_call", "function_response", "observation", "ipython")
_CALLS = ("tool_calls", "function_call")
_TEXT_PARTS = ("text", "input_text", "output_text")
_MORE = {"instruction": ("input", "context"), "question": ("context",)}  # what follows the prompt after a blank line
_MARK = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):(?=\s|\Z)")


def turns(raw: RawRow, column: str, value: Any) -> Messages | None:
    """The conversation that `value` holds, None for a plain text. Raises RowError where it is neither."""
    if isinstance(value, list):
        return [_turn(raw, column, number, turn) for number, turn in enumerate(value, 1)]
    text = checked_string(raw, column, value)
    if not text.lstrip().startswith("Human:") or "\n\nAssistant:" not in text:
        return None
    _, *parts = _MARK.split(text)
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return [{"role": _ROLES[role.lower()], "content": content.strip()} for role, content in pairs]


def _turn(raw: RawRow, column: str, number: int, turn: Any) -> dict[str, str]:
    """One turn as role and text; Parquet has the keys of all turns in each, with null for what is not there."""
    given = {key: value for key, value in turn.items() if value is not None} if isinstance(turn, dict) else {}
    role = given.get("role", given.get("from"))
    if not isinstance(role, str) or not {"content", "value", *_CALLS} & set(turn):
        fix = 'a turn is {"role": "user", "content": "..."}'
        if not isinstance(turn, dict):
            raise RowError(raw, f"{column} must be text or a list of turns", fix)
        raise RowError(raw, f"turn {number} of {column} has no role or no content", fix)
    if role.lower() in _TOOLS or any(given.get(key) for key in _CALLS):
        raise RowError(raw, "a tool is called in its conversation", shape=False)
    if role.lower() not in _ROLES:
        raise RowError(raw, f"turn {number} of {column} has role {role!r}", "roles are system, user and assistant")
    content = given.get("content", given.get("value"))
    if isinstance(content, list):
        content = "\n".join(_part(raw, part) for part in content)  # as vLLM joins them
    return {"role": _ROLES[role.lower()], "content": checked_string(raw, f"turn {number} of {column}", content)}


def _part(raw: RawRow, part: Any) -> str:
    """The text of one part of a turn's content."""
    kind = part.get("type", "text") if isinstance(part, dict) else "text"
    if kind not in _TEXT_PARTS:
        raise RowError(raw, f"a part of its conversation is no text ({kind})", shape=False)
    return checked_string(raw, "a part of a turn", part.get("text") if isinstance(part, dict) else part)


def prompt_of(raw: RawRow, column: str, value: Any) -> Messages:
    """A prompt column's value as messages; an empty assistant's turn at its end (as HH has it) is no part of it.

    The `input` or `context` of an instruction follows it after a blank line.
    """
    messages = turns(raw, column, value)
    if messages is None:
        messages = [{"role": "user", "content": checked_string(raw, column, value)}]
    if messages and messages[-1]["role"] == "assistant" and not messages[-1]["content"].strip():
        messages = messages[:-1]
    for name in _MORE.get(column, ()):
        more = checked_string(raw, name, raw.values.get(name))
        if more.strip() and messages:
            messages = [*messages[:-1], {**messages[-1], "content": f"{messages[-1]['content']}\n\n{more}"}]
    return messages


def answer_of(raw: RawRow, column: str, value: Any) -> tuple[Messages, str | None]:
    """What came before the answer, where `value` is a whole conversation, and the answer; None where it has none."""
    found = turns(raw, column, value)
    if found is None:
        return [], checked_string(raw, column, value)
    if not found or found[-1]["role"] != "assistant":
        return found, None
    return found[:-1], found[-1]["content"]


def forked(one: Any, other: Any) -> tuple[str, str, str] | None:
    """The common prompt and the two answers of two texts as HH has them, where one answer quotes "Human:"; else None.

    Such a text alone does not show a quotation. But two texts of a pair answer one prompt: if one of them is a single
    answer behind what they share, then so is the other.
    """
    if not isinstance(one, str) or not isinstance(other, str):
        return None
    marks = [mark.end() for mark in _MARK.finditer(one) if mark[1] == "Assistant"]
    shared = max((end for end in marks if other.startswith(one[:end])), default=0)
    quoting = [text for text in (one[shared:], other[shared:]) if _MARK.search(text)]
    return (one[:shared], one[shared:].strip(), other[shared:].strip()) if shared and len(quoting) == 1 else None


def joined(prompt: Messages, before: Messages) -> Messages:
    """A prompt column's messages with the turns that stand before the answer in its own column.

    These are the whole conversation where they begin with the user's turn, and go on with the prompt where they do not.
    """
    return [*prompt, *before] if before and before[0]["role"] == "assistant" else before or prompt


def with_system(raw: RawRow, column: str | None, messages: Messages) -> Messages:
    """The messages behind the system message that a column of its own holds, if they have none themselves."""
    system = checked_string(raw, column, raw.values.get(column)) if column else ""
    if not system.strip() or not messages or messages[0]["role"] == "system":
        return messages
    return [{"role": "system", "content": system}, *messages]


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
