"""What a loaded model writes, part by part: evaluation, instructions, AIFT, answers and judgements of other models.

Within a part there is no barrier: each row goes its own way through the batch, from candidates to judgements.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import TypeVar

from srlm.engine import Engine
from srlm.generate.evaluator import Evaluator, row_id
from srlm.generate.instructions import InstructionFilter, InstructionWriter, first_user_turn
from srlm.generate.job import Part
from srlm.generate.rollout import answer, judge_candidates, roll_out, work_on
from srlm.judge.judge import make_judge
from srlm.records import CanaryRow, EvalRow, IFTRow, Instruction, PromptRow, RatedRow, Rollout
from srlm.run.folder import Run
from srlm.store import Appender, read_rows, seed_of

T = TypeVar("T")


async def make_parts(run: Run, t: int, parts: list[Part], engine: Engine) -> dict[str, float]:
    """Make the missing rows of each part in turn, all on one engine; returns seconds by part."""
    slots = asyncio.Semaphore(run.config.rollout.max_in_flight)
    work = {
        "eval": evaluate,
        "judge": judge_ranked,
        "instructions": write_instructions,
        "aift": make_aift,
        "past": answer_as_past,
        "judge_past": judge_past,
        "previous": judge_as_previous,
    }
    seconds: dict[str, float] = {}
    for part in parts:
        started = time.monotonic()
        await work[part](run, t, engine, slots)
        seconds[part] = time.monotonic() - started
    return seconds


async def answer_prompts(run: Run, prompts: Path, answers: Path, engine: Engine) -> None:
    """One answer to each prompt of a file that has none yet; the seed is that of evaluations."""
    done = {row.id for row in read_rows(answers, Rollout)}
    owed = [row for row in read_rows(prompts, PromptRow) if row.id not in done]
    slots, seed = asyncio.Semaphore(run.config.rollout.max_in_flight), seed_of(run.config.run.seed, "eval")

    async def work(row: PromptRow) -> Rollout:
        return await answer(engine, run.config.rollout, row.id, row.messages, 1, seed)

    with Appender(answers) as file:
        await work_on(_each(owed), work, slots, file)


async def evaluate(run: Run, t: int, engine: Engine, slots: asyncio.Semaphore) -> None:
    """M_t's evaluation rows that are missing from M_t/eval.jsonl."""
    prompts: list[PromptRow] = list(read_rows(run.seed("eval_prompts"), PromptRow))
    held_out: list[RatedRow] = list(read_rows(run.seed("held_out_eft"), RatedRow))
    evaluator = Evaluator(engine, run.templates, run.config, held_out)
    items: list[PromptRow | RatedRow | CanaryRow] = [*prompts, *held_out, *evaluator.canaries(prompts)]
    await _evaluate(evaluator, items, run.folder(t) / "eval.jsonl", slots)


async def judge_ranked(run: Run, _: int, engine: Engine, slots: asyncio.Semaphore) -> None:
    """The baseline's judgements of the ranked responses that are missing from baseline/judgements.jsonl.

    Whatever `judge.mode` says, they are written out with their score: M1 shall learn to write such judgements.
    """
    written = run.config.model_copy(update={"judge": run.config.judge.model_copy(update={"mode": "sampled"})})
    evaluator = Evaluator(engine, run.templates, written)
    await _evaluate(evaluator, read_rows(run.seed("ranked"), RatedRow), run.baseline / "judgements.jsonl", slots)


async def _evaluate(
    evaluator: Evaluator, items: Iterable[PromptRow | RatedRow | CanaryRow], path: Path, slots: asyncio.Semaphore
) -> None:
    done = {row_id(row) for row in read_rows(path, EvalRow)}
    owed = [item for item in items if item.id not in done]
    with Appender(path) as file:
        await work_on(_each(owed), evaluator.row, slots, file)


async def write_instructions(run: Run, t: int, engine: Engine, _: asyncio.Semaphore) -> None:
    """Only the instructions of iteration t: for a fixed model that writes them for M_t."""
    async for _instruction in _instructions(run, t, engine):
        pass


async def make_aift(run: Run, t: int, engine: Engine, slots: asyncio.Semaphore) -> None:
    """AIFT(M_t): the rollouts that are missing, of instructions that are written meanwhile or lie there already."""
    path = run.aift(t) / "rollouts.jsonl"
    done = {row.id for row in read_rows(path, Rollout)}
    seed = seed_of(run.config.run.seed, t)
    count = run.config.rollout.candidates
    judge = make_judge(engine, run.templates, run.config.judge)

    async def owed() -> AsyncIterator[Instruction]:
        written = run.config.instructions.source == "self"
        rows = _instructions(run, t, engine) if written else _each(_kept(run, t))
        async for row in rows:
            if row.id not in done:
                yield row

    async def work(row: Instruction) -> Rollout:
        return await roll_out(engine, judge, run.config.rollout, row.id, row.messages, count, seed)

    with Appender(path) as file:
        await work_on(owed(), work, slots, file)


async def answer_as_past(run: Run, t: int, engine: Engine, slots: asyncio.Semaphore) -> None:
    """The answers of an earlier model, which is the one that is loaded, to M_t's instructions; judged by nobody yet."""
    path, count = run.aift(t) / "past.jsonl", run.config.rollout.candidates
    done = {row.id for row in read_rows(path, Rollout)}
    seed = seed_of(run.config.run.seed, t, "past")

    async def work(row: Instruction) -> Rollout:
        return await answer(engine, run.config.rollout, row.id, row.messages, count, seed)

    with Appender(path) as file:
        await work_on(_each(row for row in _kept(run, t) if row.id not in done), work, slots, file)


async def judge_past(run: Run, t: int, engine: Engine, slots: asyncio.Semaphore) -> None:
    """M_t's judgements of the earlier model's answers."""
    await _judge_again(run, t, ("past.jsonl", "past_judged.jsonl"), engine, slots)


async def judge_as_previous(run: Run, t: int, engine: Engine, slots: asyncio.Semaphore) -> None:
    """The judgements of M_{t-1}, which is the model that is loaded, of M_t's candidates."""
    await _judge_again(run, t, ("rollouts.jsonl", "previous_judged.jsonl"), engine, slots)


async def _judge_again(run: Run, t: int, names: tuple[str, str], engine: Engine, slots: asyncio.Semaphore) -> None:
    """Judge all rollouts of one file of AIFT(M_t) into another; what lies there already stays."""
    source, target = (run.aift(t) / name for name in names)
    done = {row.id for row in read_rows(target, Rollout)}
    judge, seed = make_judge(engine, run.templates, run.config.judge), seed_of(run.config.run.seed, t)

    async def work(row: Rollout) -> Rollout:
        return await judge_candidates(judge, row, seed)

    with Appender(target) as file:
        await work_on(_each(row for row in read_rows(source, Rollout) if row.id not in done), work, slots, file)


async def _instructions(run: Run, t: int, engine: Engine) -> AsyncIterator[Instruction]:
    path = run.aift(t) / "instructions.jsonl"
    rows = list(read_rows(path, Instruction))
    ift = [first_user_turn(row.messages) for row in read_rows(run.seed("ift"), IFTRow)]
    writer = InstructionWriter(
        t=t,
        run_seed=run.config.run.seed,
        settings=run.config.instructions,
        templates=run.templates,
        ift=ift,
        filter=instruction_filter(run, t),
        window=run.config.rollout.max_in_flight,
    )
    with Appender(path) as file:
        async for row in writer.write(engine, rows, file):
            yield row


def instruction_filter(run: Run, t: int) -> InstructionFilter:
    """The filter of iteration t: new means unlike IFT, unlike earlier iterations' instructions, and not held out."""
    seeds = [first_user_turn(row.messages) for row in read_rows(run.seed("ift"), IFTRow)]
    seeds += [first_user_turn(row.messages) for earlier in range(1, t) for row in _kept(run, earlier)]
    held_out = [first_user_turn(row.messages) for row in read_rows(run.seed("eval_prompts"), PromptRow)]
    held_out += [first_user_turn(row.messages) for row in read_rows(run.seed("held_out_eft"), RatedRow)]
    return InstructionFilter(run.config.instructions, seeds, held_out)


def _kept(run: Run, t: int) -> list[Instruction]:
    rows: Iterable[Instruction] = read_rows(run.aift(t) / "instructions.jsonl", Instruction)
    return [row for row in rows if row.dropped is None]


async def _each(items: Iterable[T]) -> AsyncIterator[T]:
    for item in items:
        yield item
