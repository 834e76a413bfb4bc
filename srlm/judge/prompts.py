"""The prompt templates of a run: the rubrics (judge/rubric.py) and the few-shot template of new instructions."""

from collections.abc import Collection
from functools import cached_property
from pathlib import Path

from srlm.errors import UserError
from srlm.judge.neutral import neutralise
from srlm.judge.rubric import PLACEHOLDER, Rubric, load_rubric
from srlm.records import Messages
from srlm.store import file_digest

INSTRUCTION = "instruction.txt"
RUBRIC, PAIRWISE_RUBRIC = "judge.txt", "pairwise.txt"


class Templates:
    """The templates of one folder (a run's own copy, or the shipped ones); rubrics may lie elsewhere."""

    def __init__(self, folder: Path, rubric: str = RUBRIC, pairwise: str = PAIRWISE_RUBRIC) -> None:
        self.folder, self._pairwise = folder, pairwise
        self.rubric = _of_kind(load_rubric(folder / rubric), "scored")
        self._instruction = _load_instruction(folder / INSTRUCTION)

    @cached_property
    def pairwise(self) -> Rubric:
        """The rubric that compares two responses: read when it is needed, since only one mode does."""
        return _of_kind(load_rubric(self.folder / self._pairwise), "pairwise")

    @property
    def files(self) -> list[Path]:
        """The files of all templates."""
        return [self.folder / INSTRUCTION, self.rubric.path, self.pairwise.path]

    def judge(self, messages: Messages, response: str) -> Messages:
        """The judge's prompt for one response as EFT trains it: control strings in the data are left to the encoder."""
        return self.rubric.fill(messages, (response,))

    def instruction(self, examples: list[str], controls: Collection[str] = ()) -> Messages:
        """The few-shot prompt for one new instruction: numbered examples, and the next number left open."""
        lines = [f"Task {number}: {neutralise(text, (), controls)}" for number, text in enumerate(examples, 1)]
        values = {"examples": "\n".join([*lines, f"Task {len(lines) + 1}:"])}
        content = PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), self._instruction)
        return [{"role": "user", "content": content}]

    def digests(self) -> dict[str, str]:
        """What a template is for -> digest of its file; the pairwise rubric has its own."""
        return {"judge": self.rubric.digest, "instruction": file_digest(self.folder / INSTRUCTION)}


def _of_kind(rubric: Rubric, kind: str) -> Rubric:
    if rubric.kind != kind:
        fix = {"scored": "judge.rubric needs {response}", "pairwise": "judge.pairwise_rubric needs {response_a}, ..."}
        raise UserError(f"{rubric.path}: a {rubric.kind} rubric where a {kind} one is needed", fix[kind])
    if rubric.needs_reference:
        raise UserError(
            f"{rubric.path}: a run has no references for {{reference}}", "use it with `srlm judge --reference COL`"
        )
    return rubric


def _load_instruction(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        raise UserError(f"{path}: no such template", "copy it from srlm's prompts folder") from None
    if "{examples}" not in text:
        raise UserError(f"{path}: placeholder {{examples}} is missing", "put it where the examples belong")
    return text
