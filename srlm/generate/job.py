"""What parent and child agree on where a model generates."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel

Part = Literal["eval", "judge", "instructions", "aift", "past", "judge_past", "previous"]


class GenerateJob(BaseModel):
    """What the parent asks of the child."""

    run: Path
    t: int  # the iteration whose rows are made
    model: str
    revision: str | None
    parts: list[Part]  # "aift" rolls out the instructions, and writes them first unless another source did
    result: Path
    prompts: Path | None = None  # without parts: one answer to each of these prompts, into `answers`
    answers: Path | None = None
