"""What a stage of a run is. Which stages a run has is told by `loop.stages`; those of a training step are its own."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srlm.errors import UserError
from srlm.run.paths import BASELINE

# Settings that several stages read.
JUDGED = ("run", "model", "engine", "judge")  # those that decide what a judgement is
SAMPLED = ("rollout.temperature", "rollout.top_p", "rollout.max_tokens")  # and what an answer is


@dataclass(frozen=True)
class Stage:
    """One unit of work: its name, the settings it reads, its inputs (stages, seed files, templates), its files."""

    name: str
    settings: tuple[str, ...]  # config tables, or single keys of one
    inputs: tuple[str, ...]
    outputs: tuple[Path, ...]
    step: str = ""  # of a training: the name of its step

    @property
    def t(self) -> int:
        """The number of the model it belongs to; 0 for the baseline, which comes before M1."""
        return model_number(self.name)

    @property
    def part(self) -> Any:
        """What it does: train, eval, aift or pairs; judge or eft for the baseline."""
        return self.name.split("/")[1]

    @property
    def parts(self) -> tuple[str, ...]:
        """What models write in it (see `generate.parts.PARTS`), in order."""
        if self.part in ("eval", "aift", "judge", "previous"):
            return (self.part,)
        return ("past", "judge_past") if self.part == "past" else ()

    @property
    def kind(self) -> str:
        """What stages that take about the same time have in common: the training step, or the part."""
        return self.step or str(self.part)


def model_number(name: str) -> int:
    """The t of a stage's name "M{t}/..."; 0 for the baseline's."""
    model = name.partition("/")[0]
    return 0 if model == BASELINE else int(model[1:])


def is_model(name: str) -> bool:
    """Whether this is how a user names a model of a run: M2, m2 or 2."""
    return re.fullmatch(r"[Mm]?\d+", name) is not None


def number_of(name: str, known: Collection[int]) -> int:
    """The t of the model that a user names. Raises UserError where it is not one of those `known`."""
    t = int(name.lstrip("Mm")) if is_model(name) else None
    if t is None or t not in known:
        raise UserError(f"{name}: not a model of this run", f"choose one of {', '.join(f'M{k}' for k in known)}")
    return t


def opponents(t: int, pairwise: bool) -> list[int]:
    """Whom M_t meets head to head: the model before it and M1; where answers are scored alone, all from M1 on."""
    first = [1] if pairwise else range(1, t)  # the others' scores are there already
    return sorted({t - 1, *(k for k in first if k < t)})
