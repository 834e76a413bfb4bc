"""Seed rows in any accepted form -> IFTRow, EFTRow, PromptRow, with what was dropped and why.

A row that cannot be used (a tool's turn, nothing in it, a duplicate, a judgement without its score) is dropped and
counted. So is a row of the wrong shape (columns, types, roles); where most rows are so, the first stops with its place,
since that is another kind of file. `forms` says where a row has its prompt and its answer.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from srlm.errors import UserError
from srlm.judge.parse import DEFAULT_SCALE, Scale, parse_score
from srlm.records import EFTRow, IFTRow, Messages, PromptRow, RankedResponse, RankedRow, RatedRow, Record
from srlm.seed.files import RawRow, read_table
from srlm.seed.forms import exchange, judged, prompt, wrong_columns
from srlm.seed.turns import why_no_prompt
from srlm.seed.values import RowError, checked_number, checked_string, stop_if_most
from srlm.store import digest

R = TypeVar("R", IFTRow, EFTRow, PromptRow, RankedRow, RatedRow)

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
    """Instruction data, see `forms.exchange`, and Self-Instruct's tasks. Raises UserError with place."""
    return _read(path, "ift")


def read_prompts(path: Path) -> Read[PromptRow]:
    """Evaluation prompts, see `forms.prompt`; answers in them are ignored."""
    return _read(path, "eval")


def read_eft(path: Path, scale: Scale = DEFAULT_SCALE) -> Read[EFTRow]:
    """Judging data on the rubric's scale: see `forms.judged`, with judgement and score; or whole judge prompts.

    Optional are prompt_group, human_score and human_rank (the lowest is the best). Raises UserError with the place
    where most rows are of the wrong shape, or most judgements do not hold their score.
    """
    return _read(path, "eft", scale)


def read_ranked(path: Path) -> Read[RankedRow]:
    """Ranked responses as `srlm seed oasst` and `srlm seed ranked` write them. Raises UserError with place."""
    return _read(path, "ranked")


def make_row(kind: str, raw: RawRow, scale: Scale = DEFAULT_SCALE) -> IFTRow | EFTRow | PromptRow | RankedRow | str:
    """One row of a file of this kind (ift, eft, ranked, eval), or the reason why it cannot be used.

    `scale` is that of the scores of EFT. Raises RowError with the place for a row of the wrong shape.
    """
    kinds: dict[str, Callable[[RawRow, str], Any]] = {
        "ift": _ift_row,
        "eft": partial(_eft_row, scale=scale),
        "ranked": _ranked_row,
        "eval": _prompt_row,
    }
    row_id = f"{kind}-{raw.number:06d}" + (f".{raw.part}" if raw.part > 1 else "")
    try:
        made: IFTRow | EFTRow | PromptRow | RankedRow | str = kinds[kind](raw, row_id)
    except RowError as error:
        if error.shape:
            raise
        return error.reason
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


def responses_lost(raw: RawRow, row: Record | str) -> int:
    """How many responses of the row as it is in the file are not in the row that `make_row` made of it."""
    return len(raw.values["responses"]) - len(row.responses) if isinstance(row, RankedRow) else 0


def _read(path: Path, file: str, scale: Scale = DEFAULT_SCALE) -> Read[Any]:
    """Make each raw row; what cannot be used, and what was there before, is dropped."""
    result: Read[Any] = Read()
    seen: set[str] = set()
    wrong: list[RowError] = []
    unscored: list[str] = []
    count = 0
    for raw in read_table(path):
        try:
            made_of = [(part, make_row(file, part, scale)) for part in parts(raw)]
        except RowError as error:
            wrong.append(error)
            made_of = [(raw, error.reason)]
        count += len(made_of)
        for part, made in made_of:
            lost = [REPEATED_RESPONSE] * responses_lost(part, made)
            if not isinstance(made, str) and (key := digest(made.model_dump(exclude={"id"}))) not in seen:
                seen.add(key)
                result.rows.append(made)
            else:
                lost = [made if isinstance(made, str) else "duplicate"]
            result.dropped += [Dropped(file=file, row=raw.number, reason=reason) for reason in lost]
            if made in (NO_SCORE, OTHER_SCORE):
                unscored.append(f"{part.where}: {made}")
    stop_if_most(wrong, count)
    if 2 * len(unscored) > count:  # no stray row but a file in another format
        fix = f'end each judgement with its score, such as "Score: 4" ({len(unscored)} of {count} rows do not)'
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
        raise RowError(raw, "instances must be a list of objects", 'e.g. [{"input": "", "output": "..."}]')
    for part, instance in enumerate(given or [{}], 1):
        texts = {"input": instance.get("input"), "output": instance.get("output")}
        yield RawRow(raw.number, raw.where, {"instruction": raw.values["instruction"], **texts}, part)


def _ift_row(raw: RawRow, row_id: str) -> IFTRow | str:
    messages, answer = exchange(raw)
    if (
        str(raw.values.get("label")).lower() == "false"
    ):  # as KTO has it (CSV as text): to train on it would teach what people did not want
        return "its label is false: a bad answer"
    if not answer.strip():
        return "empty response"
    reply = {"role": "assistant", "content": answer}
    return why_no_prompt(messages) or IFTRow(id=row_id, messages=[*messages, reply])


def _prompt_row(raw: RawRow, row_id: str) -> PromptRow | str:
    messages = prompt(raw)
    if messages and messages[-1]["role"] == "assistant":
        messages = messages[:-1]
    return why_no_prompt(messages) or PromptRow(id=row_id, messages=messages)


def _eft_row(raw: RawRow, row_id: str, scale: Scale) -> EFTRow | str:
    if raw.values.get("judgement") is None and raw.values.get("score") is None:
        return _filled_row(raw, row_id, scale)
    messages, response = judged(raw)
    if reason := why_no_prompt(messages):
        return reason
    judgement = checked_string(raw, "judgement", raw.values.get("judgement"))
    parsed, score = parse_score(judgement, scale), _number(raw, "score", scale.high)
    if parsed is None or score is None:
        return NO_SCORE
    if not math.isclose(parsed, score, abs_tol=1e-6):
        return OTHER_SCORE
    return EFTRow(
        id=row_id,
        group=_group(raw, messages),
        messages=messages,
        response=response,  # an empty one is worth judging
        judgement=judgement,
        score=score,
        human=_human(raw),
    )


def _filled_row(raw: RawRow, row_id: str, scale: Scale) -> EFTRow | str:
    """A row whose prompt is a whole judge prompt: fit to train on, and for nothing else."""
    messages, judgement = exchange(raw)
    if reason := why_no_prompt(messages):
        return reason
    score = parse_score(judgement, scale)
    if score is None:
        return NO_SCORE
    group = digest(messages)
    return EFTRow(id=row_id, group=group, messages=messages, response="", judgement=judgement, score=score, filled=True)


def _ranked_row(raw: RawRow, row_id: str) -> RankedRow | str:
    if "responses" not in raw.values:
        raise wrong_columns(raw, "accepted: messages/responses; `srlm seed ranked` converts other tables")
    messages = prompt(raw)
    return why_no_prompt(messages) or ranked_row(row_id, messages, _responses(raw))


def _responses(raw: RawRow) -> list[RankedResponse]:
    given = raw.values["responses"]
    if not isinstance(given, list):
        problem = f"responses must be a list, found {type(given).__name__}"
        raise RowError(raw, problem, 'e.g. [{"text": "...", "human": 2}, {"text": "...", "human": 1}]')
    return [_response(raw, number, value) for number, value in enumerate(given, 1)]


def _response(raw: RawRow, number: int, value: Any) -> RankedResponse:
    if not isinstance(value, dict) or not {"text", "human"} <= set(value):
        problem = f"response {number} is not a ranked response"
        raise RowError(raw, problem, 'a ranked response is {"text": "...", "human": 2}; higher is better')
    human = checked_number(raw, f"human of response {number}", value["human"])
    if human is None:
        raise RowError(raw, f"human of response {number} is not a finite number", "rate it, or remove it")
    return RankedResponse(text=checked_string(raw, f"text of response {number}", value["text"]), human=human)


def _group(raw: RawRow, messages: Messages) -> str:
    given = raw.values.get("prompt_group")
    if given is None or given == "":
        return digest(messages)
    if isinstance(given, bool | float | list | dict):
        raise RowError(raw, f"prompt_group must be text, found {type(given).__name__}", "give it a name")
    return str(given)


def _human(raw: RawRow) -> float | None:
    """The human score; from a rank it is -rank, so that higher is better."""
    score, rank = _number(raw, "human_score"), _number(raw, "human_rank")
    if score is None and rank is not None:
        return -rank
    return score


def _number(raw: RawRow, column: str, top: float | None = None) -> float | None:
    """A number column; null and numbers that are none (NaN, infinite) count as missing."""
    return checked_number(raw, column, raw.values.get(column), top)
