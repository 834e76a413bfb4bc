"""Which columns of the user's file hold what, and what a row asks the judge."""

import json
import re
from dataclasses import dataclass
from typing import Any

from srlm.errors import UserError
from srlm.records import Messages, Record
from srlm.seed import forms
from srlm.seed.columns import LABELS, PROMPTS, RESPONSES, find
from srlm.seed.files import RawRow
from srlm.seed.forms import SYSTEMS, first
from srlm.seed.turns import answer_of, joined, prompt_of, with_system
from srlm.seed.values import checked_string

LISTS = (*(f"{name}s" for name in RESPONSES), "candidates")
PAIR = ["chosen", "rejected"]  # each may hold several responses
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

    @property
    def are_verdicts(self) -> bool:
        """Whether the columns of the responses themselves say which are the better ones."""
        return self.responses == PAIR and not (self.human_score or self.human_rank or self.human_label)

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
    whole = columns.are_verdicts and bool(_answers(row, columns, PAIR[0])[0][0])  # the prompt stands in each of the two
    missing = {} if columns.prompt or whole else {"no prompt column": "--prompt COL"}
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
        # beside a pair, a column of messages is the prompt with one of the two
        usual = first(forms.PROMPTS, rest) if responses == PAIR else None
        found["prompt"] = given.prompt or usual or find(PROMPTS, rest)
    if not given.human_score and not given.human_rank and not given.human_label and found.get("responses") != PAIR:
        several = len(found.get("responses", [])) == 2
        label = find(LABELS, names) if several else None
        score = None if label else first(HUMAN_SCORES, names)
        rank = None if label or score else first(HUMAN_RANKS, names)
        found |= {"human_label": label, "human_score": score, "human_rank": rank}
    found["group"] = given.group or first(GROUPS, names)
    return found


def _responses(names: dict[str, Any]) -> list[str]:
    """Columns such as output_1 and output_2, else chosen and rejected, else one column of responses."""
    stems: dict[str, list[str]] = {}
    for name in names:
        if match := _NUMBERED.fullmatch(name):
            stems.setdefault(match[1].lower(), []).append(name)
    side_by_side = next((found for found in stems.values() if len(found) > 1), None)
    if side_by_side:
        return sorted(side_by_side, key=lambda name: (len(name), name))
    if set(PAIR) <= set(names):
        return PAIR
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
    reference = None
    if columns.reference:
        reference = checked_string(row, columns.reference, row.values.get(columns.reference))
    if columns.responses:
        prompt = prompt_of(row, columns.prompt, row.values[columns.prompt]) if columns.prompt else []
        found = [answer for name in columns.responses for answer in _answers(row, columns, name)]
        before = found[0][0]
        if any(other != before for other, _ in found):
            raise UserError(f"{row.where}: its responses do not answer the same prompt", "remove the row")
        return Item(_with_system(row, joined(prompt, before)), [answer for _, answer in found], reference)
    name = str(columns.prompt)
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


def _answers(row: RawRow, columns: Columns, name: str) -> list[tuple[Messages, str]]:
    """The responses in a column, each with the turns that stand before it there.

    CSV has a list column as JSON text. Without a prompt column, a text is a whole conversation, as HH has it.
    """
    value = row.values[name]
    if name in LISTS and isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            return [([], checked_string(row, name, value))]
    if isinstance(value, list) and not value:
        raise UserError(f"{row.where}: {name} is an empty list", "add responses, or remove the row")
    found: list[tuple[Messages, str]] = []
    for one in value if is_several(value) else [value]:
        talk = _is_talk(one) or not columns.prompt
        before, answer = answer_of(row, name, one) if talk else ([], checked_string(row, name, one))
        found.append((before, answer or ""))
    return found


def is_several(value: Any) -> bool:
    """Whether a value is a list of responses, and not one of them, as text or as turns."""
    return isinstance(value, list) and not _is_talk(value)


def is_list(columns: Columns, row: RawRow) -> bool:
    """Whether the row's figures are lists, one value for each response."""
    if len(columns.responses) != 1:
        return len(columns.responses) > 1
    return is_several(row.values[columns.responses[0]]) or columns.responses[0] in LISTS
