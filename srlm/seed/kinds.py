"""What a seed file is, by its columns and its name: IFT, EFT, ranked responses or prompts; training or held out."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from srlm.errors import UserError
from srlm.judge.parse import parse_score
from srlm.records import EFTRow, IFTRow, PromptRow, RankedRow
from srlm.seed.files import RawRow, stream_table
from srlm.seed.read import PROMPT_FORMS, make_row
from srlm.seed.turns import prompt_of

Row = IFTRow | EFTRow | PromptRow | RankedRow
NAMES = {"ift": "IFT", "eft": "EFT", "ranked": "ranked", "eval": "prompts"}  # kind -> what the user calls it
FOLDER_FILES = ("ift.jsonl", "eft.jsonl", "held_out_eft.jsonl", "eval_prompts.jsonl", "ranked.jsonl")
_HELD_OUT = re.compile(r"(?<![a-z])(?:held[_-]?out|test|valid(?:ation)?|dev)(?![a-z])")  # in a file's name
_OWN_EFT = {"group", "judgement", "filled"}  # columns of an EFT row that srlm itself wrote
_EVALUATION_COLUMNS = tuple(form[0] for form in PROMPT_FORMS)
_PEEKED = 20  # rows: enough to tell judgements from answers


@dataclass(frozen=True)
class SeedFile:
    """A file with its kind (a key of NAMES) and whether training shall not see its prompts."""

    path: Path
    kind: str
    held_out: bool

    def __str__(self) -> str:
        """For the user: "IFT", "prompts, held out"."""
        return NAMES[self.kind] + (", held out" if self.held_out else "")


def seed_files(paths: list[Path]) -> list[SeedFile]:
    """The files to check: those named, and the seed files of the folders named (a run's, or one of `srlm seed`).

    Raises UserError for a folder without any, and for a file that cannot be read or has other columns.
    """
    files = [file for path in paths for file in (_in_folder(path) if path.is_dir() else [path])]
    return [_seed_file(path) for path in dict.fromkeys(files)]


def _in_folder(folder: Path) -> list[Path]:
    inner = folder / "seed" if (folder / "seed").is_dir() else folder
    found = [inner / name for name in FOLDER_FILES if (inner / name).is_file() and (inner / name).stat().st_size]
    if not found:
        raise UserError(
            f"{folder}: there is no seed file in it", f"name files, or a folder with {', '.join(FOLDER_FILES)}"
        )
    return found


def _seed_file(path: Path) -> SeedFile:
    first = list(islice(stream_table(path), _PEEKED))
    kind = _kind(first)
    if kind is None:
        found = ", ".join(map(str, first[0].values)) or "none"
        fix = "evaluation files go to --against; `srlm seed oasst` reads OASST exports, `seed ranked` rated answers"
        raise UserError(f"{first[0].where}: these are not the columns of a seed file ({found})", fix)
    return SeedFile(path, kind, kind == "eval" or bool(_HELD_OUT.search(path.name.lower())))


def _kind(rows: list[RawRow]) -> str | None:
    columns = set(rows[0].values)
    if {"messages", "responses"} <= columns:
        return "ranked"
    if {"response", "judgement", "score"} <= columns and columns & {"messages", "prompt"}:
        return "eft"
    if {"prompt", "response"} <= columns:  # an answer, or the judgement that a filled judge prompt asks for
        judgements = sum(parse_score(str(row.values.get("response"))) is not None for row in rows)
        return "eft" if 2 * judgements > len(rows) else "ift"
    if "instruction" in columns and columns & {"output", "instances"}:
        return "ift"
    if "messages" in columns and _answered(rows[0].values["messages"]):
        return "ift"
    if isinstance(rows[0].values.get("prompt"), dict):
        return None  # a tree of OASST
    return "eval" if columns & {"messages", "prompt", "instruction"} else None


def _answered(messages: Any) -> bool:
    last = messages[-1] if isinstance(messages, list) and messages else None
    return isinstance(last, dict) and last.get("role") == "assistant"


def read_row(file: SeedFile, raw: RawRow) -> Row | str:
    """The row, or the reason why srlm leaves it out. Raises UserError for a row of the wrong shape."""
    if file.kind == "eft" and set(raw.values) >= _OWN_EFT:
        try:
            return EFTRow.model_validate(raw.values)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise UserError(f"{raw.where}: {first['loc'][0]}: {first['msg']}", "restore the file") from None
    return make_row(file.kind, raw)


def evaluation_prompts(path: Path) -> Iterator[tuple[str, str]]:
    """(place, opening prompt) of each row of an evaluation file, such as AlpacaEval's or MT-Bench's.

    Raises UserError where a row has no column that could be a prompt.
    """
    for raw in stream_table(path):
        column = next((name for name in _EVALUATION_COLUMNS if raw.values.get(name)), None)
        if column is None:
            found = ", ".join(map(str, raw.values)) or "none"
            raise UserError(
                f"{raw.where}: no prompt column ({found})", f"known columns: {', '.join(_EVALUATION_COLUMNS)}"
            )
        text = _opening(raw, column)
        extra = raw.values.get("input") if column == "instruction" else None
        yield raw.where, f"{text}\n\n{extra}" if isinstance(extra, str) and extra.strip() else text


def _opening(raw: RawRow, column: str) -> str:
    value = raw.values[column]
    if isinstance(value, list) and isinstance(value[0], str):  # the user's turns alone, as MT-Bench has them
        return value[0]
    return next((turn["content"] for turn in prompt_of(raw, column, value) if turn["role"] == "user"), "")
