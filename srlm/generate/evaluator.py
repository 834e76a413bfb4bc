"""What is asked of every model, M0 included: held-out answers judged by the model itself, and held-out EFT.

Only this module calls the grader (ground truth): nothing that it says reaches training.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable

from srlm.engine import Engine
from srlm.generate.canaries import canary_rows
from srlm.generate.rollout import answer, roll_out
from srlm.grader import checked_marks, load_grader
from srlm.judge.judge import Judge
from srlm.records import AnswerEval, CanaryEval, CanaryRow, JudgeEval, Judgement, PromptRow, RatedRow
from srlm.settings import Config
from srlm.store import seed_of


class Evaluator:
    """Evaluates one model (`engine`) before one judge: each item (a prompt or a rated response) becomes one row."""

    def __init__(self, engine: Engine, judge: Judge, config: Config, held_out: Iterable[RatedRow] = ()) -> None:
        self._engine, self._judge, self._config = engine, judge, config
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
        if self._judge.settings.compares:
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
        if self._judge.settings.compares:
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
