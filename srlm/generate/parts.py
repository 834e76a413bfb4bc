"""What a loaded model writes, part by part; PARTS says of each how it is made, shown and estimated.

Within a part there is no barrier: each row goes its own way through the batch, from candidates to judgements.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from srlm.engine import Engine
from srlm.engine.load import Endpoint, EngineSpec, local_model
from srlm.generate.canaries import NAMES
from srlm.generate.evaluator import Evaluator, row_id
from srlm.generate.instructions import InstructionFilter, InstructionWriter, first_user_turn
from srlm.generate.rollout import answer, judge_candidates, roll_out, work_on
from srlm.judge.judge import make_judge
from srlm.process.launch import Watch
from srlm.records import CanaryRow, EvalRow, IFTRow, Instruction, PromptRow, RatedRow, Rollout
from srlm.run.folder import Run
from srlm.run.paths import AnswerPaths
from srlm.settings import Config, JudgeSettings
from srlm.store import Appender, read_rows, seed_of

T = TypeVar("T")


@dataclass(frozen=True)
class Place:
    """Where a part's rows belong: a run, an iteration, and, for part "answers", a folder of its own."""

    run: Run
    t: int
    folder: Path | None = None


class Engines:
    """Who writes and who judges; both work on the same rows, `in_flight` at once."""

    def __init__(self, writer: Engine, judge: Engine | None, in_flight: int) -> None:
        self.writer, self.judge, self.in_flight = writer, judge or writer, in_flight
        self.slots = asyncio.Semaphore(in_flight)


@dataclass(frozen=True)
class Lengths:
    """Mean tokens of an answer and of a judgement, for estimates."""

    answer: float
    judgement: float


@dataclass(frozen=True)
class Part:
    """One kind of rows that a model makes."""

    make: Callable[[Place, Engines], Awaitable[None]]  # appends the rows that are missing
    label: str  # of its progress; {t} is the iteration
    rows: Callable[[Place], Path]
    count: Callable[[Place], int]  # how many rows there will be
    tokens: Callable[[Run, Lengths], float] = lambda run, lengths: 0.0  # how many it writes, about
    judges: bool = False  # whether it asks the judge only, and writes nothing itself


def watches(place: Place, parts: Iterable[str]) -> list[Watch]:
    """The progress bars of the parts."""
    found = [PARTS[part] for part in parts]
    return [Watch(part.label.format(t=place.t), part.rows(place), part.count(place)) for part in found]


def engines_of(
    config: Config, model: str, revision: str | None, parts: Iterable[str]
) -> tuple[EngineSpec, EngineSpec | None]:
    """Who writes the parts and who judges in them (None: the same engine), with `model` as the one that writes.

    For `revision` see `Run.revision`.
    Where the judge is a server's, a model that would only judge is not loaded.
    """
    instructions = config.instructions
    if [*parts] == ["instructions"] and instructions.endpoint:
        return Endpoint(url=instructions.endpoint, model=model), None
    writer = local_model(config, model, revision)
    if not config.judge.endpoint:
        return writer, None
    judge = Endpoint(url=config.judge.endpoint, model=config.judge.model)
    return (judge, None) if all(PARTS[part].judges for part in parts) else (writer, judge)


async def make_parts(place: Place, parts: Iterable[str], engines: Engines) -> dict[str, float]:
    """Make the missing rows of each part in turn, all on the same engines; returns seconds by part."""
    seconds: dict[str, float] = {}
    for part in parts:
        started = time.monotonic()
        await PARTS[part].make(place, engines)
        seconds[part] = time.monotonic() - started
    return seconds


# --- evaluation ---------------------------------------------------------------------------------------------------


async def evaluate(place: Place, engines: Engines) -> None:
    """M_t's evaluation rows that are missing from M_t/eval.jsonl."""
    run = place.run
    prompts: list[PromptRow] = list(read_rows(run.seed("eval_prompts"), PromptRow))
    held_out: list[RatedRow] = list(read_rows(run.seed("held_out_eft"), RatedRow))
    judge = make_judge(engines.judge, run.templates, run.config.judge)
    evaluator = Evaluator(engines.writer, judge, run.config, held_out)
    items: list[PromptRow | RatedRow | CanaryRow] = [*prompts, *held_out, *evaluator.canaries(prompts)]
    await _evaluate(evaluator, items, PARTS["eval"].rows(place), engines)


def _held_out(run: Run) -> tuple[int, int, int]:
    """How many held-out prompts, rated responses and canaries an evaluation has."""
    prompts, rated = _lines(run.seed("eval_prompts")), _lines(run.seed("held_out_eft"))
    return prompts, rated, len(NAMES) * min(run.config.eval.canaries, prompts)


def _evaluation_tokens(run: Run, lengths: Lengths) -> float:
    prompts, rated, canaries = _held_out(run)
    judged = run.config.judge.samples * lengths.judgement
    return prompts * run.config.eval.candidates * (lengths.answer + judged) + (rated + canaries) * judged


async def judge_ranked(place: Place, engines: Engines) -> None:
    """The baseline's judgements of the ranked responses that are missing from baseline/judgements.jsonl.

    Whatever `judge.mode` says, they are written out with their score: M1 shall learn to write such judgements.
    """
    run = place.run
    settings: JudgeSettings = run.config.judge.model_copy(update={"mode": "sampled"})
    evaluator = Evaluator(engines.writer, make_judge(engines.judge, run.templates, settings), run.config)
    await _evaluate(evaluator, read_rows(run.seed("ranked"), RatedRow), PARTS["judge"].rows(place), engines)


async def _evaluate(
    evaluator: Evaluator, items: Iterable[PromptRow | RatedRow | CanaryRow], path: Path, engines: Engines
) -> None:
    done = {row_id(row) for row in read_rows(path, EvalRow)}
    owed = [item for item in items if item.id not in done]
    with Appender(path) as file:
        await work_on(_each(owed), evaluator.row, engines.slots, file)


# --- AIFT ---------------------------------------------------------------------------------------------------------


async def write_instructions(place: Place, engines: Engines) -> None:
    """Only the instructions of iteration t: for a fixed model that writes them for M_t."""
    async for _ in _instructions(place, engines):
        pass


async def make_aift(place: Place, engines: Engines) -> None:
    """AIFT(M_t): the rollouts that are missing, of instructions that are written meanwhile or lie there already."""
    run, t, path = place.run, place.t, PARTS["aift"].rows(place)
    done = {row.id for row in read_rows(path, Rollout)}
    seed, count = seed_of(run.config.run.seed, t), run.config.rollout.candidates
    judge = make_judge(engines.judge, run.templates, run.config.judge)

    async def owed() -> AsyncIterator[Instruction]:
        written = run.config.instructions.source == "self"
        rows = _instructions(place, engines) if written else _each(_kept(run, t))
        async for row in rows:
            if row.id not in done:
                yield row

    async def work(row: Instruction) -> Rollout:
        return await roll_out(engines.writer, judge, run.config.rollout, row.id, row.messages, count, seed)

    with Appender(path) as file:
        await work_on(owed(), work, engines.slots, file)


async def _instructions(place: Place, engines: Engines) -> AsyncIterator[Instruction]:
    run, t, path = place.run, place.t, PARTS["instructions"].rows(place)
    rows = list(read_rows(path, Instruction))
    ift = [first_user_turn(row.messages) for row in read_rows(run.seed("ift"), IFTRow)]
    writer = InstructionWriter(
        t=t,
        run_seed=run.config.run.seed,
        settings=run.config.instructions,
        templates=run.templates,
        ift=ift,
        filter=instruction_filter(run, t),
        window=engines.in_flight,
    )
    with Appender(path) as file:
        async for row in writer.write(engines.writer, rows, file):
            yield row


def instruction_filter(run: Run, t: int) -> InstructionFilter:
    """The filter of iteration t: new means unlike IFT, unlike earlier iterations' instructions, and not held out."""
    seeds = [first_user_turn(row.messages) for row in read_rows(run.seed("ift"), IFTRow)]
    seeds += [first_user_turn(row.messages) for earlier in range(1, t) for row in _kept(run, earlier)]
    held_out = [first_user_turn(row.messages) for row in read_rows(run.seed("eval_prompts"), PromptRow)]
    held_out += [first_user_turn(row.messages) for row in read_rows(run.seed("held_out_eft"), RatedRow)]
    return InstructionFilter(run.config.instructions, seeds, held_out)


def _kept(run: Run, t: int) -> Iterator[Instruction]:
    rows: Iterable[Instruction] = read_rows(run.at(t).instructions, Instruction)
    return (row for row in rows if row.dropped is None)


def _instructions_wanted(place: Place) -> int:
    return place.run.config.instructions.count


def _rollout_tokens(answers: bool, judgements: bool) -> Callable[[Run, Lengths], float]:
    """Tokens of all candidates of an iteration: their answers, their judgements, or both."""

    def tokens(run: Run, lengths: Lengths) -> float:
        judged = run.config.judge.samples * lengths.judgement
        each = answers * lengths.answer + judgements * judged
        return run.config.instructions.count * run.config.rollout.candidates * each

    return tokens


# --- what other models are asked ----------------------------------------------------------------------------------


async def answer_as_past(place: Place, engines: Engines) -> None:
    """The answers of an earlier model, which is the one that is loaded, to M_t's instructions; judged by nobody yet."""
    rows = _kept(place.run, place.t)
    seed = seed_of(place.run.config.run.seed, place.t, "past")
    await _answer(place, rows, PARTS["past"].rows(place), place.run.config.rollout.candidates, seed, engines)


async def judge_past(place: Place, engines: Engines) -> None:
    """M_t's judgements of the earlier model's answers."""
    await _judge_again(place, PARTS["past"].rows(place), PARTS["judge_past"].rows(place), engines)


async def judge_as_previous(place: Place, engines: Engines) -> None:
    """The judgements of M_{t-1}, which is the model that is loaded, of M_t's candidates."""
    await _judge_again(place, PARTS["aift"].rows(place), PARTS["previous"].rows(place), engines)


async def _judge_again(place: Place, source: Path, target: Path, engines: Engines) -> None:
    """Judge all rollouts of one file of AIFT(M_t) into another; what lies there already stays."""
    run = place.run
    done = {row.id for row in read_rows(target, Rollout)}
    judge = make_judge(engines.judge, run.templates, run.config.judge)
    seed = seed_of(run.config.run.seed, place.t)

    async def work(row: Rollout) -> Rollout:
        return await judge_candidates(judge, row, seed)

    with Appender(target) as file:
        owed = (row for row in read_rows(source, Rollout) if row.id not in done)
        await work_on(_each(owed), work, engines.slots, file)


async def answer_prompts(place: Place, engines: Engines) -> None:
    """One answer to each prompt of the folder's prompts.jsonl that has none yet; the seed is that of evaluations."""
    rows = read_rows(_asked(place).prompts, PromptRow)
    seed = seed_of(place.run.config.run.seed, "eval")
    await _answer(place, rows, PARTS["answers"].rows(place), 1, seed, engines)


async def _answer(
    place: Place, rows: Iterable[Instruction | PromptRow], target: Path, count: int, seed: int, engines: Engines
) -> None:
    """Append `count` answers to each of the rows that has none in the target yet; they are not judged."""
    done = {row.id for row in read_rows(target, Rollout)}

    async def work(row: Instruction | PromptRow) -> Rollout:
        return await answer(engines.writer, place.run.config.rollout, row.id, row.messages, count, seed)

    with Appender(target) as file:
        await work_on(_each(row for row in rows if row.id not in done), work, engines.slots, file)


def _asked(place: Place) -> AnswerPaths:
    assert place.folder is not None
    return AnswerPaths(place.folder)


# --- the table ----------------------------------------------------------------------------------------------------


def _rolled_out(place: Place) -> int:
    return _lines(PARTS["aift"].rows(place))


PARTS: dict[str, Part] = {
    "eval": Part(
        make=evaluate,
        label="M{t}: evaluation",
        rows=lambda place: place.run.at(place.t).eval,
        count=lambda place: sum(_held_out(place.run)),
        tokens=_evaluation_tokens,
    ),
    "judge": Part(
        make=judge_ranked,
        label="baseline: judging ranked responses",
        rows=lambda place: place.run.baseline.judgements,
        count=lambda place: _lines(place.run.seed("ranked")),
        tokens=lambda run, lengths: _lines(run.seed("ranked")) * run.config.judge.samples * lengths.judgement,
        judges=True,
    ),
    "instructions": Part(
        make=write_instructions,
        label="M{t}: instructions",
        rows=lambda place: place.run.at(place.t).instructions,
        count=_instructions_wanted,
    ),
    "aift": Part(
        make=make_aift,
        label="M{t}: AIFT(M{t}), answers to new instructions",
        rows=lambda place: place.run.at(place.t).rollouts,
        count=_instructions_wanted,
        tokens=_rollout_tokens(answers=True, judgements=True),
    ),
    "past": Part(
        make=answer_as_past,
        label="M{t}: an earlier model answers the same instructions",
        rows=lambda place: place.run.at(place.t).past,
        count=_rolled_out,
        tokens=_rollout_tokens(answers=True, judgements=False),
    ),
    "judge_past": Part(
        make=judge_past,
        label="M{t}: judging the earlier model's answers",
        rows=lambda place: place.run.at(place.t).past_judged,
        count=_rolled_out,
        tokens=_rollout_tokens(answers=False, judgements=True),
        judges=True,
    ),
    "previous": Part(
        make=judge_as_previous,
        label="M{t}: the previous model judges the same candidates",
        rows=lambda place: place.run.at(place.t).previous_judged,
        count=_rolled_out,
        tokens=_rollout_tokens(answers=False, judgements=True),
        judges=True,
    ),
    "answers": Part(
        make=answer_prompts,
        label="answers to the prompts",
        rows=lambda place: _asked(place).answers,
        count=lambda place: _lines(_asked(place).prompts),
    ),
}


def _lines(path: Path) -> int:
    """Rows of a finished file."""
    with path.open("rb") as file:
        return sum(1 for _ in file)


async def _each(items: Iterable[T]) -> AsyncIterator[T]:
    for item in items:
        yield item
