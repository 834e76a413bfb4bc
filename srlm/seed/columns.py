"""Which columns of a table of rated, ranked or paired answers mean what: as the user says, else by their usual names.

A dot reaches into lists: `completions.response` are the answers of a row whose column `completions` is a list.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from srlm.errors import UserError
from srlm.seed import forms
from srlm.seed.files import RawRow
from srlm.seed.forms import SYSTEMS
from srlm.seed.values import RowError, rating

PROMPTS = (*forms.CONVERSATIONS, *forms.PROMPTS)
RESPONSES = (*forms.RESPONSES, "text")
# The mean over several aspects comes before one overall number where a file has both.
SCORES = ("score", "human_score", "human", "fine-grained_score", "overall_score", "rating", "quality", "helpfulness")
RANKS = ("rank", "human_rank", "ranking")
LABELS = ("label", "preference", "preferred", "winner")
_STEMS, _ENDS = (*RESPONSES, "conversation"), (("_1", "_2"), ("_a", "_b"))
# In the published UltraFeedback, some 2,000 overall scores are 10 where the critique says 1; the aspects are right.
OVERALL, RATINGS = "overall_score", "annotations"
NO_VERDICT = "no column says which answers are better"
# A column is found by a part of its name if no other part tells something else of it. What stands further down in the
# table is about what stands above: a prompt_score is a score.
_KINDS = (PROMPTS, RESPONSES, SCORES, RANKS, LABELS)
_ABOUT = {
    *("id", "ids", "length", "len", "count", "number", "num", "tokens", "token", "model", "source", "type", "lang"),
    *("language", "reason", "index", "hash", "url", "time", "date", "name"),
}
_BREAK = re.compile(r"[\W_]+|(?<=[a-z])(?=[A-Z])")
OUTPUT_PAIRS = tuple((stem + one, stem + two) for stem in _STEMS for one, two in _ENDS)


@dataclass(frozen=True)
class RankedColumns:
    """Column names. Of score, rank, chosen with rejected, and label, one tells what people thought of the answers."""

    prompt: str | None = None
    system: str | None = None
    response: tuple[str, ...] = ()  # two with label, else one
    score: str | None = None
    rank: str | None = None
    chosen: str | None = None
    rejected: str | None = None
    label: str | None = None

    @property
    def kind(self) -> str:
        """score, rank, pair or label."""
        if self.chosen:
            return "pair"
        return "score" if self.score else "rank" if self.rank else "label"

    def given(self) -> dict[str, Any]:
        """The columns that are in use."""
        return {name: value for name, value in vars(self).items() if value}

    def shown(self) -> str:
        """For the user: "prompt = instruction, response = output, score = rating"."""
        texts = {name: " | ".join(v) if isinstance(v, tuple) else v for name, v in self.given().items()}
        return ", ".join(f"{name} = {value}" for name, value in texts.items())


def guess(given: RankedColumns, row: RawRow) -> RankedColumns:
    """`given`, and what it leaves open by the usual names in a sample of the file's rows.

    Raises UserError that names all that is missing.
    """
    kinds = [name for name in ("score", "rank", "chosen", "label") if getattr(given, name)]
    if len(kinds) > 1 or (given.rejected and kinds not in ([], ["chosen"])):
        raise UserError("more than one of --score, --rank, --chosen with --rejected, --label", "give only one")
    missing: dict[str, str] = {}  # what is missing -> the option that names it
    columns = _verdict(given, row, missing)
    if not columns.prompt:
        columns = replace(columns, prompt=find(PROMPTS, row.values))
    if not columns.system:
        columns = replace(columns, system=forms.first(SYSTEMS, row.values))
    whole = columns.chosen or any("conversation" in name or name in forms.CONVERSATIONS for name in columns.response)
    if not columns.prompt and not whole:
        missing = {"no prompt column": "--prompt COL"} | missing
    if missing:
        fix = f"name {'it' if len(missing) == 1 else 'them'}: {'; '.join(missing.values())}"
        if {"output", "response", "instances"} & set(row.values) and NO_VERDICT in missing:
            fix += "; answers that nobody rated can be used as IFT (srlm init --ift FILE)"
        raise UserError(f"{row.where}: {', '.join(missing)} ({_found(row)})", fix)
    if given.response and (columns.kind == "pair" or columns.response != given.response):
        fix = "give two with --label, one with --score or --rank, none with --chosen and --rejected"
        raise UserError(f"--response {' --response '.join(given.response)} cannot be used like this", fix)
    used = (columns.prompt, columns.score, columns.rank, columns.chosen, columns.rejected, columns.label)
    for name in (*columns.response, *filter(None, used)):
        _check(name, row)
    return columns


def _verdict(given: RankedColumns, row: RawRow, missing: dict[str, str]) -> RankedColumns:
    """The columns of answers and of what people thought of them."""
    names = row.values
    if given.chosen or given.rejected or ({"chosen", "rejected"} <= set(names) and not _any_verdict(given)):
        return replace(given, chosen=given.chosen or "chosen", rejected=given.rejected or "rejected")
    outputs = given.response or next((pair for pair in OUTPUT_PAIRS if set(pair) <= set(names)), ())
    label = given.label or (None if _any_verdict(given) else find(LABELS, names))
    if label and len(outputs) < 2 and str(names.get(label)).lower() in ("true", "false"):  # as KTO has it
        return _rated(replace(given, label=None, score=label), row, missing)
    if given.label or (len(outputs) == 2 and not _any_verdict(given)):
        if not label:
            missing["it is not clear which output is better"] = "--label COL"
        if len(outputs) != 2:
            missing["no two answer columns"] = "--response COL --response COL"
        return replace(given, response=outputs, label=label)
    return _rated(given, row, missing)


def _any_verdict(given: RankedColumns) -> bool:
    return bool(given.score or given.rank or given.label)


def _rated(given: RankedColumns, row: RawRow, missing: dict[str, str]) -> RankedColumns:
    """Answers with scores or ranks, side by side in the row, or in one list of it."""
    verdict = given.score or given.rank or ""
    stem = verdict.partition(".")[0] if "." in verdict and verdict not in row.values else ""
    responses = given.response or tuple(_paths(row, RESPONSES, stem))
    if not responses and (talk := forms.first(forms.CONVERSATIONS, row.values)) and forms.has_answer(row):
        responses = (talk,)  # whole conversations, each rated for its last turn
    for response in responses:
        if verdict:
            return replace(given, response=(response,))
        if score := _beside(row, SCORES, response):
            return replace(given, response=(response,), score=_ratings(row, score))
        if rank := _beside(row, RANKS, response):
            return replace(given, response=(response,), rank=rank)
    if not responses:
        missing["no answer column"] = "--response COL"
    if not verdict and (responses or not [*_paths(row, SCORES, ""), *_paths(row, RANKS, "")]):
        missing[NO_VERDICT] = "--score, --rank, --label COL, or --chosen COL --rejected COL"
    return given


def _ratings(row: RawRow, score: str) -> str:
    """The ratings of the aspects where they stand beside an overall score: see OVERALL."""
    head, _, name = score.rpartition(".")
    ratings = f"{head}.{RATINGS}" if head else RATINGS
    found = column(row, ratings) if name == OVERALL and (head or RATINGS in row.values) else None
    return ratings if any(found if isinstance(found, list) else [found]) else score


def _beside(row: RawRow, names: tuple[str, ...], response: str) -> str | None:
    """The first of these columns that stands where the answers do: in the row, or in the same list."""
    at = response.rpartition(".")[0]
    return next((path for path in _paths(row, names, at) if path.rpartition(".")[0] == at), None)


def _paths(row: RawRow, names: tuple[str, ...], stem: str) -> Iterator[str]:
    """Columns, or keys in a list of objects, with one of these names or its plural, or at last with a name as a part;
    below `stem` only, where given.
    """
    known = (*names, *(f"{name}s" for name in names))
    for column in sorted(set(row.values) & set(known), key=known.index):
        if not stem and not _objects(row.values[column]):
            yield column
    for column, value in row.values.items():
        keys = _objects(value)
        if not stem or column == stem:
            yield from (f"{column}.{key}" for key in sorted(keys & set(names), key=names.index))
    if not stem and not set(row.values) & set(known) and (found := _by_parts(names, row.values)):
        yield found


def find(names: tuple[str, ...], values: dict[str, Any]) -> str | None:
    """The column with the first of these names, else the only one that has such a name as a part ("prompt_text")."""
    return forms.first(names, values) or _by_parts(names, values)


def _by_parts(names: tuple[str, ...], values: dict[str, Any]) -> str | None:
    below = _KINDS[_KINDS.index(names) + 1 :] if names in _KINDS else ()
    others = _ABOUT.union(*below) - {"text"}
    for name in names:
        found = [column for column in values if name in (parts := _parts(column)) - {"text"} and not parts & others]
        if len(found) == 1 and (name not in SCORES or not math.isnan(rating(values[found[0]])[0])):
            return found[0]
    return None


def _parts(column: str) -> set[str]:
    return set(_BREAK.sub(" ", column).lower().split())


def _objects(value: Any) -> set[str]:
    """The keys of a list of objects; none where they are turns of a conversation."""
    keys = set(value[0]) if isinstance(value, list) and value and isinstance(value[0], dict) else set()
    return set() if keys >= {"role", "content"} or keys >= {"from", "value"} else keys


def _check(name: str, row: RawRow) -> None:
    if name not in row.values and name.partition(".")[0] not in row.values:
        raise RowError(row, f"no column {name} ({_found(row)})", "name an existing column")


def _found(row: RawRow) -> str:
    return f"found: {', '.join(map(str, row.values)) or 'none'}"


def column(row: RawRow, name: str) -> Any:
    """The value of a column; a dotted name reaches into objects and, item by item, into lists.

    Raises UserError where the row has no such column; what is missing inside of it is None.
    """
    _check(name, row)
    if name in row.values:
        return row.values[name]
    head, _, rest = name.partition(".")
    return _inside(row.values[head], rest.split("."))


def _inside(value: Any, keys: list[str]) -> Any:
    if not keys:
        return value
    if isinstance(value, list):
        return [_inside(item, keys) for item in value]
    return _inside(value.get(keys[0]), keys[1:]) if isinstance(value, dict) else None
