"""What is measured after every model, M0 included: held-out answers judged by the model itself, and held-out EFT.

Only this module calls the grader (ground truth): nothing that it says reaches training.
"""

import asyncio
import importlib
import math
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from srlm.config import Config
from srlm.engine import Engine
from srlm.errors import UserError
from srlm.judge import make_judge
from srlm.metrics import answer_metrics, judge_metrics
from srlm.prompts import Templates
from srlm.records import AnswerEval, EFTRow, EvalRow, JudgeEval, Judgement, Messages, PromptRow
from srlm.rollout import roll_out
from srlm.store import read_rows, seed_of, write_json

Grader = Callable[[Messages, str], dict[str, float] | None]


def load_grader(name: str) -> Grader | None:
    """The function that `eval.grader` ("module:function") names; None for "". Raises UserError when there is none."""
    if not name:
        return None
    module, _, function = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # the user's own grader lies where the user stands, and hides no library
    try:
        grader: Grader = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"eval.grader = {name!r} cannot be loaded ({error})", 'give "module:function"') from None
    return grader


def checked_marks(marks: dict[str, float] | None, row: str) -> dict[str, float] | None:
    """A grader's marks, if all are numbers. Raises UserError: what is not finite could not be read back."""
    if marks is not None and not all(math.isfinite(value) for value in marks.values()):
        raise UserError(f"eval.grader gave {marks} for {row}", "let it give finite numbers, or None for no opinion")
    return marks


class Evaluator:
    """Evaluates one model: each item (a prompt or a held-out EFT response) becomes one row of eval.jsonl."""

    def __init__(self, engine: Engine, templates: Templates, config: Config, held_out: Iterable[EFTRow] = ()) -> None:
        self._engine, self._config = engine, config
        self._judge = make_judge(engine, templates, config.judge)
        self._grader = load_grader(config.eval.grader)
        self._groups: dict[str, list[EFTRow]] = defaultdict(list)
        for row in held_out:
            self._groups[row.group].append(row)
        self._group_tasks: dict[str, asyncio.Task[dict[str, list[Judgement]]]] = {}
        # The same seed for every model: figures of M_t and M_{t+1} differ by the model, not by the draw.
        self._seed = seed_of(config.run.seed, "eval")

    async def row(self, item: PromptRow | EFTRow) -> AnswerEval | JudgeEval:
        """The evaluation row of one held-out item."""
        return await (self._answer(item) if isinstance(item, PromptRow) else self._judged(item))

    async def _answer(self, item: PromptRow) -> AnswerEval:
        count = self._config.eval.candidates
        settings = self._config.rollout
        rollout = await roll_out(self._engine, self._judge, settings, item.id, item.messages, count, self._seed)
        truth = None
        if self._grader is not None:
            truth = [checked_marks(self._grader(item.messages, c.text), item.id) for c in rollout.candidates]
        return AnswerEval(rollout=rollout, truth=truth)

    async def _judged(self, item: EFTRow) -> JudgeEval:
        if self._config.judge.mode == "pairwise":
            judgements = (await self._in_its_group(item))[item.id]
        else:
            judgements = await self._judge.score(item.messages, item.response, seed_of(self._seed, item.id, "judge"))
        human = item.score if item.human is None else item.human
        dropped = "overlong" if judgements and judgements[0].finish == "overlong" else None
        return JudgeEval(id=item.id, group=item.group, human=human, judgements=judgements, dropped=dropped)

    async def _in_its_group(self, item: EFTRow) -> dict[str, list[Judgement]]:
        """Row id -> judgements, of a round robin of the responses to the item's prompt: made once, by whoever asks."""

        async def compared() -> dict[str, list[Judgement]]:
            rows = self._groups[item.group]
            seeds = [seed_of(self._seed, row.id, "judge") for row in rows]
            judged = await self._judge.all(item.messages, [row.response for row in rows], seeds)
            return {row.id: found for row, found in zip(rows, judged, strict=True)}

        if item.group not in self._group_tasks:
            self._group_tasks[item.group] = asyncio.create_task(compared())
        return await self._group_tasks[item.group]


def row_id(row: AnswerEval | JudgeEval) -> str:
    """The id of the held-out item that the row is about."""
    return row.id if isinstance(row, JudgeEval) else row.rollout.id


def write_metrics(folder: Path, model: str, config: Config) -> dict[str, Any]:
    """Compute M_t/metrics.json from M_t/eval.jsonl; returns it."""
    rows: list[Any] = list(read_rows(folder / "eval.jsonl", EvalRow))
    scale = Templates(folder.parent / "prompts", config.judge.rubric).rubric.scale
    metrics = {
        "model": model,
        "min_margin": config.pairs.min_margin,
        "judge": judge_metrics([row for row in rows if isinstance(row, JudgeEval)], scale.high),
        "answers": answer_metrics(
            [row for row in rows if isinstance(row, AnswerEval)], config.pairs.min_margin, config.pairs.min_judgements
        ),
    }
    write_json(folder / "metrics.json", metrics)
    return metrics
