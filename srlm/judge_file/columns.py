"""Which columns of the user's file hold what, and what a row asks the judge."""

import json
import re
from dataclasses import dataclass
from typing import Any

from srlm.errors import UserError
from srlm.records import Messages, Record
from srlm.seed.columns import LABELS, PROMPTS, RESPONSES, find
from srlm.seed.files import RawRow
from srlm.seed.forms import SYSTEMS, first
from srlm.seed.turns import answer_of, joined, prompt_of, with_system
from srlm.seed.values import checked_string

LISTS = (*(f"{name}s" for name in RESPONSES), "candidates")
GROUPS = ("prompt_group", "group")
# Only names that can hardly mean anything but people's opinion: a "score" may be anybody's.
HUMAN_SCORES = ("human_score", "human_scores", "human", "human_rating", "gpt4_score")
HUMAN_RANKS = ("human_rank", "human_ranks", "rank", "ranks")
_NUMBERED = re.compile(rf"({'|'.join(RESPONSES)})_?(\d+|[a-h])", re.IGNORECASE)


class Columns(Record):
    """Column names; None is a column that the file does not have. `prompt` may also hold a conversation."""

    prompt: str | None = None
    responses: list[str] = []  # one column, or several that stand side by side; none: the conversation's last turn
    reference: str | None = None
    judge_prompt: str | None = None
    human_score: str | None = None
    human_rank: str | None = None
    human_label: str | None = None
    group: str | None = None

    def shown(self) -> str:
        """For the user: "prompt = instruction, responses = output_1 | output_2"."""
        found = {name: " | ".join(v) if isinstance(v, list) else v for name, v in self.model_dump().items() if v}
        return ", ".join(f"{name.replace('_', ' ')} = {value}" for name, value in found.items())


@dataclass(frozen=True)
class Item:
    """What one row asks: the responses to one conversation. A whole judge prompt stands alone, with no response."""

    messages: Messages
    responses: list[str]
    reference: str | None = None


def guess(given: Columns, row: RawRow) -> Columns:
    """`given`, and what it leaves open by usual names in a sample of the rows. Raises UserError where nothing fits."""
    columns = given.model_copy(update=_guessed(given, row.values))
    for name in _used(columns):
        if name not in row.values:
            raise UserError(f"{row.where}: no column {name} ({_found(row)})", "name an existing column")
    missing = {} if columns.prompt else {"no prompt column": "--prompt COL"}
    if not columns.responses and not (columns.prompt and _ends_with_answer(row, columns)):
        missing["no response column"] = "--response COL"
    if missing and not columns.judge_prompt:
        options = " ".join(missing.values())
        fix = f"name {'it' if len(missing) == 1 else 'them'}: {options}"
        fix += ", or --judge-prompt COL if a column holds complete judge prompts"
        raise UserError(f"{row.where}: {', '.join(missing)} ({_found(row)})", fix)
    return columns


def _guessed(given: Columns, names: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if not given.judge_prompt:
        responses = given.responses or _responses(names)
        found["responses"] = responses
        rest = {name: value for name, value in names.items() if name not in responses}
        found["prompt"] = given.prompt or find(PROMPTS, rest)
    if not given.human_score and not given.human_rank and not given.human_label:
        several = len(found.get("responses", [])) == 2
        label = find(LABELS, names) if several else None
        score = None if label else first(HUMAN_SCORES, names)
        rank = None if label or score else first(HUMAN_RANKS, names)
        found |= {"human_label": label, "human_score": score, "human_rank": rank}
    found["group"] = given.group or first(GROUPS, names)
    return found


def _responses(names: dict[str, Any]) -> list[str]:
    """Columns such as output_1 and output_2, else one column of responses."""
    stems: dict[str, list[str]] = {}
    for name in names:
        if match := _NUMBERED.fullmatch(name):
            stems.setdefault(match[1].lower(), []).append(name)
    side_by_side = next((found for found in stems.values() if len(found) > 1), None)
    if side_by_side:
        return sorted(side_by_side, key=lambda name: (len(name), name))
    one = first((*RESPONSES, *LISTS), names) or find(RESPONSES, names)
    return [one] if one else []


def _used(columns: Columns) -> list[str]:
    values = [value for name, value in columns.model_dump().items() if value and name != "responses"]
    return [*values, *columns.responses]


def _found(row: RawRow) -> str:
    return f"found: {', '.join(map(str, row.values)) or 'none'}"


def _ends_with_answer(row: RawRow, columns: Columns) -> bool:
    messages, answer = answer_of(row, str(columns.prompt), row.values[str(columns.prompt)])
    return bool(messages) and answer is not None


def item_of(columns: Columns, row: RawRow) -> Item:
    """What the row asks. Raises UserError with its place for a missing column or a value of the wrong kind."""
    for name in _used(columns):
        if name not in row.values and name in (columns.prompt, columns.judge_prompt, *columns.responses):
            raise UserError(f"{row.where}: no column {name} ({_found(row)})", "give every row the same columns")
    if columns.judge_prompt:
        text = checked_string(row, columns.judge_prompt, row.values[columns.judge_prompt])
        return Item([{"role": "user", "content": text}], [""])
    name = str(columns.prompt)
    reference = None
    if columns.reference:
        reference = checked_string(row, columns.reference, row.values.get(columns.reference))
    if columns.responses:
        value = row.values[columns.responses[0]]
        if len(columns.responses) == 1 and _is_talk(value):
            before, answer = answer_of(row, columns.responses[0], value)
            messages, responses = joined(prompt_of(row, name, row.values[name]), before), [answer or ""]
        else:
            messages, responses = prompt_of(row, name, row.values[name]), _texts(row, columns.responses)
        return Item(_with_system(row, messages), responses, reference)
    messages, answer = answer_of(row, name, row.values[name])
    if answer is None:
        raise UserError(
            f"{row.where}: {name} does not end with an assistant's turn", "name the response column: --response COL"
        )
    return Item(_with_system(row, messages), [answer], reference)


def _is_talk(value: Any) -> bool:
    """Whether a list is one answer as turns, and not several answers."""
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _with_system(row: RawRow, messages: Messages) -> Messages:
    return with_system(row, first(SYSTEMS, row.values), messages)


def _texts(row: RawRow, names: list[str]) -> list[str]:
    """The responses of a row; CSV has a list column as JSON text."""
    values = [row.values[name] for name in names]
    if len(names) == 1 and names[0] in LISTS and isinstance(values[0], str) and values[0].lstrip().startswith("["):
        try:
            values = [json.loads(values[0])]
        except ValueError:
            return [checked_string(row, names[0], values[0])]
    if len(values) == 1 and isinstance(values[0], list):
        if not values[0]:
            raise UserError(f"{row.where}: {names[0]} is an empty list", "add responses, or remove the row")
        values, names = values[0], names * len(values[0])
    return [checked_string(row, name, value) for name, value in zip(names, values, strict=True)]


def is_list(columns: Columns, row: RawRow) -> bool:
    """Whether the row's figures are lists, one value for each response."""
    if len(columns.responses) != 1:
        return len(columns.responses) > 1
    value = row.values[columns.responses[0]]
    return (isinstance(value, list) and not _is_talk(value)) or columns.responses[0] in LISTS
