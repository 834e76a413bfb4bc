"""What a seed file is, by its columns and its name: IFT, EFT, ranked responses or prompts; training or held out."""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from srlm.errors import UserError
from srlm.judge.parse import parse_score
from srlm.records import EFTRow, IFTRow, PromptRow, RankedRow
from srlm.seed import forms
from srlm.seed.columns import OVERALL, RATINGS
from srlm.seed.files import RawRow, sample, stream_table
from srlm.seed.read import make_row
from srlm.seed.values import RowError

Row = IFTRow | EFTRow | PromptRow | RankedRow
NAMES = {"ift": "IFT", "eft": "EFT", "ranked": "ranked", "eval": "prompts"}  # kind -> what the user calls it
FOLDER_FILES = ("ift.jsonl", "eft.jsonl", "held_out_eft.jsonl", "eval_prompts.jsonl", "ranked.jsonl")
_HELD_OUT = re.compile(r"(?<![a-z])(?:held[_-]?out|test|valid(?:ation)?|dev)(?![a-z])")  # in a file's name
_OWN_EFT = {"group", "judgement", "filled"}  # columns of an EFT row that srlm itself wrote
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
    first = sample(path)
    kind = _kind(first, path)
    if kind is None:
        found = ", ".join(map(str, first.values)) or "none"
        fix = "evaluation files go to --against; `srlm seed oasst` reads OASST exports, `seed ranked` rated answers"
        if OVERALL in str(first.values.get("completions")):
            fix += f" (of UltraFeedback's, some 2,000 {OVERALL} are 10 for 1: its {RATINGS} are used where they are)"
        raise UserError(f"{first.where}: these are not the columns of a seed file ({found})", fix)
    return SeedFile(path, kind, kind == "eval" or bool(_HELD_OUT.search(path.name.lower())))


def _kind(first: RawRow, path: Path) -> str | None:
    columns = set(first.values)
    given = [first.values.get(name) for name in ("prompt", "responses", "completions")]
    if _listed(given[1], {"text", "human"}):
        return "ranked"
    if {"judgement", "score"} <= columns and (forms.has_answer(first) or forms.prompt_column(first.values)):
        return "eft"
    if {"chosen", "rejected"} <= columns or isinstance(given[0], dict) or any(_listed(one, set()) for one in given[1:]):
        return None  # rated answers, or a tree of OASST
    if "instruction" in columns and "instances" in columns:
        return "ift"
    if forms.has_answer(first):  # an answer, or the judgement that a filled judge prompt asks for
        return "eft" if _judges(path) else "ift"
    return "eval" if columns & {*forms.CONVERSATIONS, "prompt", "instruction"} else None


def _listed(value: Any, keys: set[str]) -> bool:
    """Whether a value is a list of objects that have these keys."""
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict) and keys <= set(value[0])


def _judges(path: Path) -> bool:
    """Whether most of the file's first answers hold a score, as judgements do."""
    found = []
    for raw in stream_table(path):
        with suppress(RowError):
            found.append(parse_score(forms.exchange(raw)[1]) is not None)
        if len(found) == _PEEKED:
            break
    return 2 * sum(found) > len(found)


def read_row(file: SeedFile, raw: RawRow) -> Row | str:
    """The row, or the reason why srlm leaves it out. Raises RowError for a row of the wrong shape."""
    if file.kind == "eft" and set(raw.values) >= _OWN_EFT:
        try:
            return EFTRow.model_validate(raw.values)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise UserError(f"{raw.where}: {first['loc'][0]}: {first['msg']}", "restore the file") from None
    return make_row(file.kind, raw)


def evaluation_prompts(path: Path) -> Iterator[tuple[str, str]]:
    """(place, opening prompt) of each row of an evaluation file, such as AlpacaEval's or MT-Bench's.

    The prompt is empty where a row has none that can be read. Raises UserError where a row has no column for it.
    """
    for raw in stream_table(path):
        try:
            messages = forms.prompt(raw)
        except RowError as error:
            if error.shape:
                raise
            messages = []
        yield raw.where, next((turn["content"] for turn in messages if turn["role"] == "user"), "")
