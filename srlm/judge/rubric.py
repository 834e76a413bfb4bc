"""Rubrics: what the judge is asked, on which scale, with data that cannot pass for a part of the rubric.

A rubric is a text file with placeholders. `{conversation}` and `{response}` make it a scored one, `{response_a}` and
`{response_b}` a pairwise one; `{reference}` is a right answer to compare with, `{fence}` a code that no data can hold.
A header may come first, as TOML between lines of `+++`, which is not part of the prompt:

    +++
    scale = [1, 10]      # whole numbers; needed where the text does not state one range such as "from 0 to 5"
    cue = "Rating:"      # what the model writes before its score; default "Score:"
    +++
"""

import difflib
import re
import tomllib
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from srlm.errors import UserError
from srlm.judge.neutral import neutralise
from srlm.judge.parse import Scale
from srlm.records import Messages
from srlm.store import digest, file_digest

Kind = Literal["scored", "pairwise"]
DATA = ("conversation", "response", "response_a", "response_b", "reference")
PLACEHOLDER = re.compile(r"\{(\w+)\}")
ROLES = ("User:", "Assistant:", "System:")  # how `conversation_text` begins a turn
WIDEST = 100  # steps of a scale

_HEADER = re.compile(r"\+\+\+[ \t]*\n(.*?)^\+\+\+[ \t]*\n", re.DOTALL | re.MULTILINE)
_RANGE = re.compile(r"(?<![\d.,/-])(\d{1,3})(?:\s*[-–]\s*|\s+to\s+)(\d{1,3})(?![\d%]|[.,/-]\d)")


@dataclass(frozen=True)
class Rubric:
    """A checked rubric. The scale of a pairwise one is the share of wins, 0 to 1."""

    path: Path
    text: str
    kind: Kind
    scale: Scale
    cue: str

    @property
    def needs_reference(self) -> bool:
        """Whether each judgement needs a right answer to compare with."""
        return "{reference}" in self.text

    @property
    def digest(self) -> str:
        """Digest of the rubric's file."""
        return file_digest(self.path)

    def fill(
        self,
        messages: Messages,
        responses: tuple[str, ...],
        *,
        reference: str | None = None,
        seed: int = 0,
        controls: Collection[str] = (),
    ) -> Messages:
        """The judge's prompt, a single user message: one response for a scored rubric, two for a pairwise one.

        All data is neutralised: see `markers`, and `controls` are the tokenizer's control strings. The fence follows
        from the seed and all of the data, so that no response can foresee it. Raises UserError without the reference
        that the rubric asks for.
        """
        if self.needs_reference and reference is None:
            raise UserError(
                f"{self.path}: there is nothing to put into {{reference}}", "give references, or use another rubric"
            )
        names = ("response",) if self.kind == "scored" else ("response_a", "response_b")
        values = dict(zip(names, responses, strict=True)) | {"reference": reference or ""}
        values = {name: self._neutral(value, controls) for name, value in values.items()}
        turns = [{**turn, "content": self._neutral(turn["content"], controls, ROLES)} for turn in messages]
        values["conversation"] = conversation_text(turns)
        values["fence"] = _fence(seed, list(values.values()))
        content = PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), self.text)
        return [{"role": "user", "content": content}]

    @cached_property
    def markers(self) -> tuple[str, ...]:
        """The template's own delimiters: its headings, its last line, and what stands next to data.

        A line with the fence in it is none: nobody can forge it.
        """
        lines = [line.strip() for line in self.text.splitlines() if line.strip()]
        found = [line for line in lines if re.match(r"#{1,6}\s", line)] + lines[-1:]
        for number, line in enumerate(lines):
            pieces = PLACEHOLDER.split(line)[::2] if _holds_data(line) else []
            found += pieces
            if pieces and not pieces[0].strip() and number:
                found.append(lines[number - 1])
            if pieces and not pieces[-1].strip():
                found += lines[number + 1 : number + 2]
        kept = [text.strip() for text in found if not PLACEHOLDER.search(text)]
        return tuple(dict.fromkeys(text for text in kept if sum(map(str.isalnum, text)) >= 3))

    def _neutral(self, text: str, controls: Collection[str], starts: tuple[str, ...] = ()) -> str:
        # a single word is a delimiter on a line of its own; within a line it is a word ("the answer is")
        anywhere = [marker for marker in self.markers if not marker.isalpha()]
        return neutralise(text, (*self.markers, *self._heading_marks, *starts), (*anywhere, *controls))

    @cached_property
    def _heading_marks(self) -> tuple[str, ...]:
        """Marks such as "###" that make a heading of the template's own kind; with a fence data may have headings."""
        if "{fence}" in self.text:
            return ()
        return tuple(dict.fromkeys(re.findall(r"^#{1,6}(?=\s)", self.text, re.MULTILINE)))


def conversation_text(messages: Messages) -> str:
    """A conversation as the judge sees it: one "Role: content" line (or block) per message."""
    return "\n".join(f"{m['role'].capitalize()}: {m['content']}" for m in messages)


def load_rubric(path: Path) -> Rubric:
    """Read and check a rubric. Raises UserError, naming file:line, for what would fail or mislead later."""
    try:
        whole = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: cannot be read as a rubric ({_why(error)})", "see those in the prompts folder"
        ) from None
    header = _HEADER.match(whole)
    if header is None and whole.startswith("+++"):
        raise UserError(f"{path}:1: the header is not closed", 'add a line "+++" after it')
    text = whole[header.end() :] if header else whole
    first_line = whole[: header.end()].count("\n") + 1 if header else 1
    kind = _kind(path, text, first_line)
    settings = _header_settings(path, header[1]) if header else {}
    at = f"{path}:{_line(header[1], 'scale')}" if header and "scale" in settings else f"{path}:1"
    scale = _scale(at, settings.get("scale"), text) if kind == "scored" else Scale(0, 1)
    return Rubric(path, text.strip(), kind, scale, settings.get("cue", "Score:" if kind == "scored" else "Verdict:"))


def _kind(path: Path, text: str, first_line: int) -> Kind:
    """Scored or pairwise, by the placeholders, each of which must be there once."""
    lines: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), first_line):
        for name in PLACEHOLDER.findall(line):
            if name in lines:
                problem = f"{path}:{number}: {{{name}}} is already in line {lines[name]}"
                raise UserError(problem, "use each data placeholder only once")
            if name in DATA:
                lines[name] = number
            elif name != "fence" and (close := difflib.get_close_matches(name, DATA, 1, cutoff=0.75)):
                raise UserError(f"{path}:{number}: unknown placeholder {{{name}}}", f"did you mean {{{close[0]}}}?")
    pairwise = "response_a" in lines or "response_b" in lines
    for name in ("conversation", "response_a", "response_b") if pairwise else ("conversation", "response"):
        if name not in lines:
            fix = "put it where that text belongs" + ("" if pairwise else " (a pairwise rubric has {response_a}, ...)")
            raise UserError(f"{path}:{first_line}: placeholder {{{name}}} is missing", fix)
    if pairwise and "response" in lines:
        problem = f"{path}:{lines['response']}: {{response}} together with {{response_a}} and {{response_b}}"
        raise UserError(problem, "a rubric either scores one response or compares two")
    return "pairwise" if pairwise else "scored"


def _header_settings(path: Path, header: str) -> dict[str, Any]:
    try:
        settings = tomllib.loads(header)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        number = 1 + (int(line[1]) if line else header.count("\n"))
        raise UserError(f"{path}:{number}: the header is not valid TOML ({error})", "fix that line") from None
    for key in settings:
        if key not in ("scale", "cue"):
            raise UserError(f"{path}:{_line(header, key)}: unknown key {key} in the header", "known: scale, cue")
    if not isinstance(settings.get("cue", ""), str) or not settings.get("cue", "x").strip():
        problem = f"{path}:{_line(header, 'cue')}: cue = {settings['cue']!r} is not text"
        raise UserError(problem, 'e.g. cue = "Score:"')
    return settings


def _line(header: str, key: str) -> int:
    """The line of a header's key in the file."""
    return 2 + header[: header.index(key)].count("\n")


def _scale(at: str, given: Any, text: str) -> Scale:
    """The header's scale, or else the only range of numbers that the text names."""
    if given is None:
        ranges = {(int(low), int(high)) for low, high in _RANGE.findall(text) if int(low) < int(high)}
        if len(ranges) == 1:
            return Scale(*ranges.pop())
        found = f"names several ranges {sorted(ranges)}" if ranges else "names no range of scores"
        raise UserError(f"{at}: the rubric {found}", 'begin the file with the lines "+++", "scale = [0, 5]", "+++"')
    whole = isinstance(given, list) and len(given) == 2 and all(type(end) is int for end in given)
    if not whole or not 0 < given[1] - given[0] <= WIDEST:
        problem = f"{at}: scale = {given!r} is not a scale"
        raise UserError(problem, f"give two whole numbers, e.g. scale = [1, 10]; at most {WIDEST} steps")
    return Scale(*given)


def _holds_data(line: str) -> bool:
    names = PLACEHOLDER.findall(line)
    return "fence" not in names and any(name in DATA for name in names)


def _fence(seed: int, values: list[str]) -> str:
    """12 hex digits that occur in none of the values."""
    number = 0
    while (code := digest("fence", seed, number, values)[:12]) in "\n".join(values):
        number += 1
    return code


def _why(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else "not UTF-8"
