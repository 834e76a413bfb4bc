"""Seed rows in any accepted form -> IFTRow, EFTRow, PromptRow, with what was dropped and why.

A row of the wrong shape (columns, types, roles) stops with its place, since all others are likely wrong too. A row of
the right shape that cannot be used (nothing in it, a duplicate, a judgement without its score) is dropped and counted.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from srlm.errors import UserError
from srlm.judge.parse import DEFAULT_SCALE, Scale, parse_score
from srlm.records import EFTRow, IFTRow, Messages, PromptRow, RankedResponse, RankedRow, RatedRow, Record
from srlm.seed.files import RawRow, read_table
from srlm.store import digest

R = TypeVar("R", IFTRow, EFTRow, PromptRow, RankedRow, RatedRow)

Form = tuple[str, ...]
INSTANCES: Form = ("instruction", "instances")  # of Self-Instruct: several inputs and outputs to one instruction
IFT_FORMS: tuple[Form, ...] = (
    ("messages",),
    ("prompt", "response"),
    ("instruction", "output"),
    INSTANCES,
)
PROMPT_FORMS: tuple[Form, ...] = (("messages",), ("prompt",), ("instruction",), ("question",), ("turns",), ("input",))
RANKED_FORMS: tuple[Form, ...] = (("messages", "responses"),)
FILLED: Form = ("prompt", "response")
EFT_FORMS: tuple[Form, ...] = (
    ("messages", "response", "judgement", "score"),
    ("prompt", "response", "judgement", "score"),
    FILLED,
)
NO_SCORE = "the judgement has no score on the rubric's scale"
OTHER_SCORE = "the judgement's score is not the row's score"
ONE_RESPONSE = "fewer than two different responses"
ALL_ALIKE = "its responses are all rated alike"
REPEATED_RESPONSE = "a response is empty or repeated in its row"


class Dropped(Record):
    """One seed row that is not used: a row of seed/dropped.jsonl. `row` counts from 1 in the file that was given."""

    file: str
    row: int
    reason: str


@dataclass
class Read(Generic[R]):
    """The usable rows of one seed file, and the others."""

    rows: list[R] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    longest: int = 0  # tokens that the longest of the rows takes, once it is known (`seed.fit`)


def drop(row: IFTRow | EFTRow | PromptRow | RankedRow | RatedRow, reason: str) -> Dropped:
    """The record of a row (or, "ranked-000012.2", one response of it) that is not used after all."""
    file, _, number = row.id.rpartition("-")
    return Dropped(file=file, row=int(number.partition(".")[0]), reason=reason)


def read_ift(path: Path) -> Read[IFTRow]:
    """Instruction data: messages, prompt/response, instruction[/input]/output or instruction/instances rows.

    Raises UserError with place.
    """
    return _read(path, "ift")


def read_prompts(path: Path) -> Read[PromptRow]:
    """Evaluation prompts, see `PROMPT_FORMS`; answers in them are ignored."""
    return _read(path, "eval")


def read_eft(path: Path, scale: Scale = DEFAULT_SCALE) -> Read[EFTRow]:
    """Judging data on the rubric's scale, see `EFT_FORMS`.

    Optional are prompt_group, human_score and human_rank (the lowest is the best).

    Raises UserError with the place for a row of the wrong shape, and where most judgements do not hold their score.
    """
    return _read(path, "eft", scale)


def read_ranked(path: Path) -> Read[RankedRow]:
    """Ranked responses as `srlm seed oasst` and `srlm seed ranked` write them. Raises UserError with place."""
    return _read(path, "ranked")


def make_row(kind: str, raw: RawRow, scale: Scale = DEFAULT_SCALE) -> IFTRow | EFTRow | PromptRow | RankedRow | str:
    """One row of a file of this kind (ift, eft, ranked, eval), or the reason why it cannot be used.

    `scale` is that of the scores of EFT.

    Raises UserError with the place for a row of the wrong shape.
    """
    kinds: dict[str, tuple[Sequence[Form], Callable[[RawRow, Form, str], Any]]] = {
        "ift": (IFT_FORMS, _ift_row),
        "eft": (EFT_FORMS, partial(_eft_row, scale=scale)),
        "ranked": (RANKED_FORMS, _ranked_row),
        "eval": (PROMPT_FORMS, _prompt_row),
    }
    forms, make = kinds[kind]
    row_id = f"{kind}-{raw.number:06d}" + (f".{raw.part}" if raw.part > 1 else "")
    made: IFTRow | EFTRow | PromptRow | RankedRow | str = make(raw, _form(raw, forms), row_id)
    return made


def ranked_row(row_id: str, messages: Messages, responses: list[RankedResponse]) -> RankedRow | str:
    """A row that tells better from worse, or the reason why it cannot; of the same text twice, the first counts."""
    distinct = {response.text.strip(): response for response in reversed(responses)}
    kept = [response for response in responses if response.text.strip() and distinct[response.text.strip()] is response]
    if len(kept) < 2:
        return ONE_RESPONSE
    if len({response.human for response in kept}) < 2:
        return ALL_ALIKE
    return RankedRow(id=row_id, messages=messages, responses=kept)


def responses_lost(raw: RawRow, row: Record) -> int:
    """How many responses of the row as it is in the file are not in the row that `make_row` made of it."""
    return len(raw.values["responses"]) - len(row.responses) if isinstance(row, RankedRow) else 0


def _read(path: Path, file: str, scale: Scale = DEFAULT_SCALE) -> Read[Any]:
    """Make each raw row; drop duplicates."""
    result: Read[Any] = Read()
    seen: set[str] = set()
    unscored: list[str] = []
    table = [part for raw in read_table(path) for part in parts(raw)]
    for raw in table:
        made = make_row(file, raw, scale)
        if not isinstance(made, str):
            key = digest(made.model_dump(exclude={"id"}))
            if key in seen:
                made = "duplicate"
            else:
                seen.add(key)
                result.rows.append(made)
                lost = Dropped(file=file, row=raw.number, reason=REPEATED_RESPONSE)
                result.dropped += [lost] * responses_lost(raw, made)
                continue
        if made in (NO_SCORE, OTHER_SCORE):
            unscored.append(f"{raw.where}: {made}")
        result.dropped.append(Dropped(file=file, row=raw.number, reason=made))
    if 2 * len(unscored) > len(table):  # no stray row but a file in another format
        fix = f'end each judgement with its score, such as "Score: 4" ({len(unscored)} of {len(table)} rows do not)'
        raise UserError(unscored[0], fix)
    if not result.rows:
        first = result.dropped[0]
        raise UserError(f"{path}: no usable row (row {first.row}: {first.reason})", "add rows with content")
    return result


def parts(raw: RawRow) -> Iterator[RawRow]:
    """The row; of a Self-Instruct task, one row an instance."""
    given = raw.values.get("instances")
    if given is None or "instruction" not in raw.values:
        yield raw
        return
    if not isinstance(given, list) or not all(isinstance(instance, dict) for instance in given):
        raise UserError(f"{raw.where}: instances must be a list of objects", 'e.g. [{"input": "", "output": "..."}]')
    for part, instance in enumerate(given or [{}], 1):
        texts = {"input": instance.get("input"), "output": instance.get("output")}
        yield RawRow(raw.number, raw.where, {"instruction": raw.values["instruction"], **texts}, part)


def _form(raw: RawRow, forms: Sequence[Form]) -> Form:
    """The form whose columns the row fills, else (some are null) the one whose columns it has."""
    filled = {column for column, value in raw.values.items() if value is not None}
    for columns in (filled, set(raw.values)):
        for form in forms:
            if columns.issuperset(form):
                return form
    found = ", ".join(str(column) for column in raw.values) or "none"
    accepted = " or ".join("/".join(form) for form in forms).replace("instruction", "instruction[/input]")
    if forms is RANKED_FORMS:
        accepted += "; `srlm seed ranked` converts other tables"
    raise UserError(f"{raw.where}: wrong columns (found: {found})", f"accepted: {accepted}")


def _ift_row(raw: RawRow, form: Form, row_id: str) -> IFTRow | str:
    if form == ("messages",):
        messages = _messages(raw, "assistant")
    else:
        messages = [_turn("user", _prompt(raw, form)), _turn("assistant", _string(raw, form[-1]))]
    if not messages[-1]["content"].strip():
        return "empty response"
    return _empty_turn(messages) or IFTRow(id=row_id, messages=messages)


def _prompt_row(raw: RawRow, form: Form, row_id: str) -> PromptRow | str:
    if form == ("messages",):
        given = raw.values["messages"]
        answered = (
            isinstance(given, list) and given and isinstance(given[-1], dict) and given[-1].get("role") == "assistant"
        )
        messages = _messages(raw, "assistant")[:-1] if answered else _messages(raw, "user")
    elif isinstance(raw.values[form[0]], list):  # the user's turns alone, as MT-Bench has them: later ones need answers
        messages = [_turn("user", checked_string(raw, form[0], next(iter(raw.values[form[0]]), "")))]
    else:
        messages = [_turn("user", _prompt(raw, form))]
    return _empty_turn(messages) or PromptRow(id=row_id, messages=messages)


def _eft_row(raw: RawRow, form: Form, row_id: str, scale: Scale) -> EFTRow | str:
    if form == FILLED:
        return _filled_row(raw, row_id, scale)
    messages = _messages(raw, "user") if form[0] == "messages" else [_turn("user", _string(raw, "prompt"))]
    if empty := _empty_turn(messages):
        return empty
    judgement, score = _string(raw, "judgement"), _number(raw, "score")
    parsed = parse_score(judgement, scale)
    if parsed is None or score is None:
        return NO_SCORE
    if not math.isclose(parsed, score, abs_tol=1e-6):
        return OTHER_SCORE
    return EFTRow(
        id=row_id,
        group=_group(raw, messages),
        messages=messages,
        response=_string(raw, "response"),  # an empty one is worth judging
        judgement=judgement,
        score=score,
        human=_human(raw),
    )


def _filled_row(raw: RawRow, row_id: str, scale: Scale) -> EFTRow | str:
    """A row whose prompt is a whole judge prompt: fit to train on, and for nothing else."""
    messages, judgement = [_turn("user", _string(raw, "prompt"))], _string(raw, "response")
    if empty := _empty_turn(messages):
        return empty
    score = parse_score(judgement, scale)
    if score is None:
        return NO_SCORE
    group = digest(messages)
    return EFTRow(id=row_id, group=group, messages=messages, response="", judgement=judgement, score=score, filled=True)


def _ranked_row(raw: RawRow, form: Form, row_id: str) -> RankedRow | str:
    messages = _messages(raw, "user")
    return _empty_turn(messages) or ranked_row(row_id, messages, _responses(raw))


def _responses(raw: RawRow) -> list[RankedResponse]:
    given = raw.values["responses"]
    if not isinstance(given, list):
        problem = f"{raw.where}: responses must be a list, found {type(given).__name__}"
        raise UserError(problem, 'e.g. [{"text": "...", "human": 2}, {"text": "...", "human": 1}]')
    return [_response(raw, number, value) for number, value in enumerate(given, 1)]


def _response(raw: RawRow, number: int, value: Any) -> RankedResponse:
    if not isinstance(value, dict) or not {"text", "human"} <= set(value):
        problem = f"{raw.where}: response {number} is not a ranked response"
        raise UserError(problem, 'a ranked response is {"text": "...", "human": 2}; higher is better')
    human = checked_number(raw, f"human of response {number}", value["human"])
    if human is None:
        raise UserError(f"{raw.where}: human of response {number} is not a finite number", "rate it, or remove it")
    return RankedResponse(text=checked_string(raw, f"text of response {number}", value["text"]), human=human)


def _group(raw: RawRow, messages: Messages) -> str:
    given = raw.values.get("prompt_group")
    if given is None or given == "":
        return digest(messages)
    if isinstance(given, bool | float | list | dict):
        raise UserError(f"{raw.where}: prompt_group must be text, found {type(given).__name__}", "give it a name")
    return str(given)


def _human(raw: RawRow) -> float | None:
    """The human score; from a rank it is -rank, so that higher is better."""
    score, rank = _number(raw, "human_score"), _number(raw, "human_rank")
    if score is None and rank is not None:
        return -rank
    return score


def _prompt(raw: RawRow, form: Form) -> str:
    """The user's turn of a row without messages; an `input` follows its instruction after a blank line."""
    prompt = _string(raw, form[0])
    extra = _string(raw, "input") if form[0] == "instruction" else ""
    return f"{prompt}\n\n{extra}" if extra.strip() else prompt


def _messages(raw: RawRow, last: str) -> Messages:
    """The row's conversation: an optional system turn, then user and assistant by turns, ending with `last`."""
    given = raw.values["messages"]
    if not isinstance(given, list) or not given:
        raise UserError(f"{raw.where}: messages must be a list of turns", 'e.g. [{"role": "user", "content": "..."}]')
    messages = [_checked_turn(raw, number, turn) for number, turn in enumerate(given, 1)]
    head = 1 if messages[0]["role"] == "system" else 0
    for index, turn in enumerate(messages[head:]):
        expected = ("user", "assistant")[index % 2]
        if turn["role"] != expected:
            problem = f"{raw.where}: message {head + index + 1} is by {turn['role']}, expected {expected}"
            raise UserError(problem, "a conversation is [system,] user, assistant, user, assistant, ...")
    if messages[-1]["role"] != last:
        problem = f"{raw.where}: the conversation ends with {messages[-1]['role']}'s turn"
        raise UserError(problem, f"it must end with {last}'s")
    return messages


def _checked_turn(raw: RawRow, number: int, turn: Any) -> dict[str, str]:
    if not isinstance(turn, dict) or not {"role", "content"} <= set(turn):
        raise UserError(f"{raw.where}: message {number} is not a turn", 'a turn is {"role": "user", "content": "..."}')
    if turn["role"] not in ("system", "user", "assistant"):
        problem = f"{raw.where}: message {number} has role {turn['role']!r}"
        raise UserError(problem, "roles are system, user and assistant")
    return _turn(turn["role"], checked_string(raw, f"content of message {number}", turn["content"]))


def _turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _empty_turn(messages: Messages) -> str | None:
    return "empty prompt" if any(not turn["content"].strip() for turn in messages) else None


def _string(raw: RawRow, column: str) -> str:
    """A text column; null counts as empty."""
    return checked_string(raw, column, raw.values.get(column))


def checked_string(raw: RawRow, name: str, value: Any) -> str:
    """`value` as text, null as empty. Raises UserError for what is no text, or none that UTF-8 can write."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UserError(f"{raw.where}: {name} must be text, found {type(value).__name__}", "make it text")
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can express and UTF-8 cannot
        raise UserError(f"{raw.where}: {name} holds an invalid Unicode character", "remove it") from None
    return value


def _number(raw: RawRow, column: str) -> float | None:
    """A number column; null and numbers that are none (NaN, infinite) count as missing."""
    return checked_number(raw, column, raw.values.get(column))


def checked_number(raw: RawRow, column: str, value: Any) -> float | None:
    """`value` as a number, None where it is missing or not finite. Raises UserError for anything else."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"{raw.where}: {column} must be a number, found {type(value).__name__}", "make it a number")
    return float(value) if math.isfinite(value) else None
