"""Which columns hold a row's conversation, prompt and answer: the forms that every kind of file may have.

Columns that are null or empty count as missing, so files of mixed rows are read row by row.
"""

from typing import Any

from srlm.records import Messages
from srlm.seed.files import NOTHING, RawRow
from srlm.seed.turns import answer_of, joined, prompt_of, turns, with_system
from srlm.seed.values import RowError

CONVERSATIONS = ("messages", "conversations", "conversation", "dialog", "dialogue")
PROMPTS = ("prompt", "instruction", "question", "query", "input")
RESPONSES = ("response", "output", "answer", "completion", "generation")
SYSTEMS = ("system", "system_prompt")
EXCHANGE = "messages, or prompt/response, prompt/completion, instruction[/input or context]/output, question/answer"
PROMPT = "messages, prompt, instruction[/input or context], question, turns or input"


def first(names: tuple[str, ...], values: dict[str, Any]) -> str | None:
    """The first of these columns that holds something, else the first that is there."""
    there = [name for name in names if name in values]
    return next((name for name in there if values[name] not in NOTHING), there[0] if there else None)


def exchange(raw: RawRow) -> tuple[Messages, str]:
    """The prompt and its answer, in whichever form the row has them. Raises RowError where it has not both.

    A conversation gives both; one that ends with the user's turn is the prompt of an answer in its own column.
    """
    conversation, asked, response = _columns(raw)
    if conversation and (raw.values[conversation] or not (asked and response)):
        messages = _conversation(raw, conversation)
        if messages and messages[-1]["role"] == "assistant":
            last = raw.values[conversation][-1]
            if isinstance(last, dict) and last.get("weight") == 0:
                raise RowError(raw, "its answer has weight 0: it is not to be learnt", shape=False)
            return _with_system(raw, messages[:-1]), messages[-1]["content"]
        if not response:
            reason = "its conversation does not end with an answer" if messages else "no prompt"
            raise RowError(raw, reason, shape=False)
    elif asked and response:
        messages = prompt_of(raw, asked, raw.values[asked])
    else:
        says = "a text alone does not say where the answer begins: split it in two columns; "
        raise wrong_columns(raw, f"{says if 'text' in raw.values else ''}accepted: {EXCHANGE}")
    return _answered(raw, messages, response)


def judged(raw: RawRow) -> tuple[Messages, str]:
    """The prompt and the answer that is judged: as `exchange`, but a column of its own is always the answer."""
    response = first(RESPONSES, raw.values)
    return _answered(raw, prompt(raw), response) if response else exchange(raw)


def prompt(raw: RawRow) -> Messages:
    """The prompt, in whichever form the row has it. Raises RowError where there is none."""
    column = prompt_column(raw.values)
    if column is None:
        raise wrong_columns(raw, f"accepted: {PROMPT}")
    value = raw.values[column]
    if column in CONVERSATIONS:
        return _with_system(raw, _conversation(raw, column))
    if isinstance(value, list) and value and isinstance(value[0], str):
        value = value[0]  # the user's turns alone, as MT-Bench has them: later ones need answers
    return _with_system(raw, prompt_of(raw, column, value))


def prompt_column(values: dict[str, Any]) -> str | None:
    """The column that `prompt` reads."""
    return first((*CONVERSATIONS, "prompt", "instruction", "question", "query", "turns", "input"), values)


def has_answer(raw: RawRow) -> bool:
    """Whether the row has an answer beside its prompt, as far as its columns tell."""
    conversation, asked, response = _columns(raw)
    given = raw.values[conversation] if conversation else None
    last = given[-1] if isinstance(given, list) and given and isinstance(given[-1], dict) else {}
    ends = (last.get("role") or last.get("from")) not in (None, "user", "human")
    return bool((asked or conversation) and response) or ends or "\n\nAssistant:" in str(given)


def _columns(raw: RawRow) -> tuple[str | None, str | None, str | None]:
    """The columns of a conversation, a prompt and an answer."""
    return first(CONVERSATIONS, raw.values), first(PROMPTS, raw.values), first(RESPONSES, raw.values)


def _conversation(raw: RawRow, column: str) -> Messages:
    """The turns of a column that can hold nothing else; null counts as none."""
    value = raw.values[column]
    messages = [] if value is None else turns(raw, column, value)
    if messages is None:
        raise RowError(raw, f"{column} must be a list of turns", 'e.g. [{"role": "user", "content": "..."}]')
    return messages


def _answered(raw: RawRow, messages: Messages, response: str) -> tuple[Messages, str]:
    """The messages with what the answer's column has before it, and the answer."""
    before, answer = answer_of(raw, response, raw.values[response])
    return _with_system(raw, joined(messages, before)), answer or ""


def _with_system(raw: RawRow, messages: Messages) -> Messages:
    return with_system(raw, first(SYSTEMS, raw.values), messages)


def wrong_columns(raw: RawRow, fix: str) -> RowError:
    """The error for a row without the columns that are needed."""
    return RowError(raw, f"wrong columns (found: {', '.join(map(str, raw.values)) or 'none'})", fix)
