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
from typing import Any, TypeVar

from srlm.canaries import canary_rows
from srlm.engine import Engine
from srlm.errors import UserError
from srlm.judge import make_judge
from srlm.metrics import (
    accuracy_change,
    answer_metrics,
    canary_metrics,
    judge_metrics,
    judging_metrics,
    pair_counts,
    truth_change,
)
from srlm.prompts import Templates
from srlm.records import (
    AnswerEval,
    CanaryEval,
    CanaryRow,
    EvalRow,
    JudgeEval,
    Judgement,
    Messages,
    PreferencePair,
    PromptRow,
    RatedRow,
    Rollout,
)
from srlm.rollout import answer, roll_out
from srlm.settings import Config
from srlm.store import read_json, read_rows, seed_of, write_json

T = TypeVar("T")
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
    """Evaluates one model: each item (a prompt or a rated response) becomes one row."""

    def __init__(self, engine: Engine, templates: Templates, config: Config, held_out: Iterable[RatedRow] = ()) -> None:
        self._engine, self._config = engine, config
        self._judge = make_judge(engine, templates, config.judge)
        self._grader = load_grader(config.eval.grader)
        self._groups: dict[str, list[RatedRow]] = defaultdict(list)
        for row in held_out:
            self._groups[row.group].append(row)
        self._group_tasks: dict[str, asyncio.Task[dict[str, list[Judgement]]]] = {}
        # The same seed for every model: figures of M_t and M_{t+1} differ by the model, not by the draw.
        self._seed = seed_of(config.run.seed, "eval")

    def canaries(self, prompts: Iterable[PromptRow]) -> list[CanaryRow]:
        """The canaries for this judge's rubric."""
        return canary_rows(prompts, self._judge.rubric, self._judge.scale.high, self._config.eval.canaries)

    async def row(self, item: PromptRow | RatedRow | CanaryRow) -> AnswerEval | JudgeEval | CanaryEval:
        """The evaluation row of one item."""
        if isinstance(item, CanaryRow):
            return await self._canary(item)
        return await (self._answer(item) if isinstance(item, PromptRow) else self._judged(item))

    async def _canary(self, item: CanaryRow) -> CanaryEval:
        seed = seed_of(self._seed, item.id, "judge")
        if self._config.judge.mode == "pairwise":
            judgements = await self._against_answers(item, seed)
        else:
            judgements = await self._judge.score(item.messages, item.response, seed)
        return CanaryEval(id=item.id, name=item.name, response=item.response, judgements=judgements)

    async def _against_answers(self, item: CanaryRow, seed: int) -> list[Judgement]:
        """Comparisons of a canary with each of the model's own answers, which the same seed gives again."""
        count, settings = self._config.eval.candidates, self._config.rollout
        real = (await answer(self._engine, settings, item.prompt, item.messages, count, self._seed)).candidates
        compared = await asyncio.gather(
            *(self._judge.compare(item.messages, item.response, c.text, seed_of(seed, i)) for i, c in enumerate(real))
        )
        return [self._judge.side(found, "a", i) for i, founds in enumerate(compared) for found in founds]

    async def _answer(self, item: PromptRow) -> AnswerEval:
        count = self._config.eval.candidates
        settings = self._config.rollout
        rollout = await roll_out(self._engine, self._judge, settings, item.id, item.messages, count, self._seed)
        truth = None
        if self._grader is not None:
            truth = [checked_marks(self._grader(item.messages, c.text), item.id) for c in rollout.candidates]
        return AnswerEval(rollout=rollout, truth=truth)

    async def _judged(self, item: RatedRow) -> JudgeEval:
        if self._config.judge.mode == "pairwise":
            judgements = (await self._in_its_group(item))[item.id]
        else:
            judgements = await self._judge.score(item.messages, item.response, seed_of(self._seed, item.id, "judge"))
        dropped = "overlong" if judgements and judgements[0].finish == "overlong" else None
        return JudgeEval(id=item.id, group=item.group, human=item.human, judgements=judgements, dropped=dropped)

    async def _in_its_group(self, item: RatedRow) -> dict[str, list[Judgement]]:
        """Row id -> judgements, of a round robin of the responses to the item's prompt: made once, by whoever asks."""

        async def compared() -> dict[str, list[Judgement]]:
            rows = self._groups[item.group]
            seeds = [seed_of(self._seed, row.id, "judge") for row in rows]
            judged = await self._judge.all(item.messages, [row.response for row in rows], seeds)
            return {row.id: found for row, found in zip(rows, judged, strict=True)}

        if item.group not in self._group_tasks:
            self._group_tasks[item.group] = asyncio.create_task(compared())
        return await self._group_tasks[item.group]


def row_id(row: AnswerEval | JudgeEval | CanaryEval) -> str:
    """The id of the item that the row is about."""
    return row.rollout.id if isinstance(row, AnswerEval) else row.id


def write_metrics(folder: Path, t: int, config: Config) -> dict[str, Any]:
    """Compute M_t/metrics.json from M_t/eval.jsonl, and from AIFT(M_t) once its pairs are made; returns it.

    What the health gate said stays: it is asked no more once the next model is trained.
    """
    rows: list[Any] = list(read_rows(folder / "eval.jsonl", EvalRow))
    answers = _of(AnswerEval, rows)
    scale = Templates(folder.parent / "prompts", config.judge.rubric).rubric.scale
    metrics: dict[str, Any] = {
        "model": f"M{t}",
        "min_margin": config.pairs.min_margin,
        "judge": judge_metrics(_of(JudgeEval, rows), scale.high),
        "answers": answer_metrics(answers, config.pairs.at(t)),
    }
    for k in range(t):
        if (earlier := folder.with_name(f"M{k}") / "eval.jsonl").exists():
            before: list[Any] = list(read_rows(earlier, EvalRow))
            if k == t - 1:
                metrics["judge"]["change"] = accuracy_change(_of(JudgeEval, rows), _of(JudgeEval, before))
            if change := truth_change(answers, _of(AnswerEval, before)):
                metrics.setdefault("truth", {}).setdefault("against", {})[f"M{k}"] = change
    if canaries := _of(CanaryEval, rows):
        metrics["canaries"] = canary_metrics(canaries, answers)
    if (folder / "aift" / "pairs.jsonl").exists():
        metrics["aift"] = _aift_metrics(folder / "aift")
    if (versus := folder / "versus.json").exists():
        metrics["versus"] = read_json(versus)
    if (path := folder / "metrics.json").exists():
        metrics |= {name: found for name, found in read_json(path).items() if name == "gate"}
    write_json(path, metrics)
    return metrics


def _of(kind: type[T], rows: Iterable[Any]) -> list[T]:
    return [row for row in rows if isinstance(row, kind)]


def _aift_metrics(folder: Path) -> dict[str, Any]:
    """How the model judged its candidates, and what pairs came of it: what the health gate looks at."""
    judging = judging_metrics(list(read_rows(folder / "rollouts.jsonl", Rollout)))
    pairs = list(read_rows(folder / "pairs.jsonl", PreferencePair))
    counts = pair_counts(pairs, read_rows(folder / "dropped.jsonl", dict[str, str]))
    agreed = folder / "consistency.json"
    return judging | counts | ({"consistency": read_json(agreed)["consistency"]} if agreed.exists() else {})
