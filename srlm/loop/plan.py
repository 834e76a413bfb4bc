"""What `srlm iterate` would do: each stage's state and why, and an estimate of tokens, time and disk."""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from srlm.config import flat
from srlm.errors import UserError
from srlm.generate.parts import PARTS, Lengths, Place
from srlm.loop.redo import made_from
from srlm.loop.retention import MOST_NEEDED, check_weights
from srlm.loop.stages import stages
from srlm.model.adapter import adapter_of
from srlm.model.check import read_config
from srlm.model.shape import UnknownShapeError, lora_parameters, parameters_of, shape_of, width_of
from srlm.records import EvalRow, PromptRow
from srlm.run.folder import Run, State
from srlm.run.stage import Stage, opponents
from srlm.store import read_rows


@dataclass(frozen=True)
class Planned:
    """One stage of the plan: tokens to generate, seconds as an earlier stage like it took (None: unknown), bytes.

    `bound` says that no row of this run tells a mean length yet: the tokens are the most that they can be.
    """

    stage: Stage
    state: State | Literal["redo"]
    why: str
    tokens: int
    bound: bool
    seconds: float | None
    disk: int


def make_plan(run: Run, n: int, redo: str | None = None) -> list[Planned]:
    """The stages that bring the run to M_n, in order, with their states and estimates.

    What was made from a stale stage is stale, too. What `redo` makes again is in state "redo", and counts as owed.
    """
    size, known = disk_use(run), _mean_lengths(run)
    lengths = known or Lengths(run.config.rollout.max_tokens, run.config.judge.max_tokens)
    planned = []
    for stage, state, why in _states(run, n, redo):
        if state == "done":
            planned.append(Planned(stage, state, why, 0, False, 0.0, 0))
            continue
        tokens, seconds = _tokens(run, stage, lengths), _seconds(run, stage)
        if state == "partial" and tokens:
            left = _tokens(run, stage, lengths, left=True)
            tokens, seconds = left, seconds and seconds * left / tokens
        disk = size[0] if size and stage.part == "train" else 0
        planned.append(Planned(stage, state, why, int(tokens), known is None, seconds, disk))
    return planned


def _states(run: Run, n: int, redo: str | None) -> Iterator[tuple[Stage, State | Literal["redo"], str]]:
    """Each stage with its state in the plan, and why."""
    again = {stage.name for stage in made_from(run, redo)} & run.record.stages.keys() if redo else set()
    follows = {stage.name for stage in made_from(run, "stale")}
    for stage in stages(run, n):
        state, why = run.state(stage)
        if stage.name in again:
            yield stage, "redo", "the old files are kept"
        elif stage.name in follows and state in ("done", "partial"):
            yield stage, "stale", "made from what is out of date"
        else:
            yield stage, state, why


def check_plan(run: Run, n: int, redo: str | None = None) -> list[dict[str, Any]]:
    """Refuse a plan with stale stages, or with removed weights; else accept and return the changed settings.

    A setting may change as long as only owed stages read it. Once a stage that reads it has begun, it may not. Stages
    that `redo` makes again may be stale.
    """
    for key, value in flat(run.config.data, "data.").items():
        if value != run.record.settings.get(key, value):
            problem = f"{key} is {value}, but it was {run.record.settings[key]} when the seed data was split"
            raise UserError(problem, "change it back, or make a new run with `srlm init`")
    plan = make_plan(run, n, redo)
    for planned in plan:
        if planned.state == "stale":
            raise UserError(
                f"{planned.stage.name} is out of date: {planned.why}",
                f"change it back, or redo all that is stale: srlm iterate {n} --run {run.root} --redo stale",
            )
    check_weights(run, (planned.stage for planned in plan if planned.state != "done"))
    return run.accept_changes()


def disk_use(run: Run, trainings: int = 1) -> tuple[int, int] | None:
    """(bytes that so many trainings add, bytes of checkpoints while one runs); None where the size is not known.

    The first is what lies there at once: with `train.keep_models` "needed" that is at most MOST_NEEDED models. A
    checkpoint holds what is trained and Adam's two moments in float32. Under LoRA that is the adapter, which is all
    that stays (in a run whose M1 was merged, each model is whole).
    """
    model, train = run.config.model, run.config.train
    try:
        config = read_config(model.path, run.revision(model.path))
        width = width_of(config.get("dtype", config.get("torch_dtype")))
        weights = sum(path.stat().st_size for path in Path(model.path).glob("*.safetensors"))
        weights = weights or parameters_of(shape_of(config)).total * width  # of a hub id
        adapter = 4 * lora_parameters(shape_of(config), train.lora.rank) if train.lora.rank else 0
    except UnknownShapeError:
        return None
    in_float32 = 4 * weights // width
    merged = 1 in run.trained and adapter_of(str(run.at(1).weights)) is None
    saved = adapter if adapter and not merged else in_float32 if train.save_dtype == "float32" else weights
    checkpoint = 3 * (adapter or in_float32)
    models = min(trainings, MOST_NEEDED) if train.keep_models == "needed" else trainings
    kept = models * saved + trainings * train.keep_checkpoints * checkpoint
    return kept, max(2, train.keep_checkpoints) * checkpoint


def _seconds(run: Run, stage: Stage) -> float | None:
    """Seconds that the latest finished stage of the same kind took; trainings by another step are of another kind."""
    kinds = {other.name: other.kind for other in stages(run, run.last)}
    same = [r.seconds for name, r in run.record.stages.items() if r.status == "done" and kinds.get(name) == stage.kind]
    return same[-1] if same else None


def _tokens(run: Run, stage: Stage, lengths: Lengths, left: bool = False) -> float:
    """Tokens that the stage generates with answers and judgements of the given lengths; or what is `left` of them."""
    if stage.part == "versus":  # scored: its own answers, as those of earlier models were; pairwise: every pair twice
        judges = 2 * len(opponents(stage.t, True)) if run.config.versus.mode == "pairwise" else 1
        prompts = sum(1 for _ in read_rows(run.seed("eval_prompts"), PromptRow))
        return prompts * judges * run.config.judge.samples * lengths.judgement
    place = Place(run, stage.t)
    return sum(PARTS[part].tokens(run, lengths) * (_left(place, part) if left else 1.0) for part in stage.parts)


def _left(place: Place, part: str) -> float:
    """The share of a part's rows that are missing."""
    there, count = sum(1 for _ in read_rows(PARTS[part].rows(place), dict[str, Any])), PARTS[part].count(place)
    return max(0.0, 1 - there / count) if count else 0.0


def _mean_lengths(run: Run) -> Lengths | None:
    """Mean tokens of an answer and of a judgement in the latest evaluation; None before there is one."""
    for t in reversed(run.begun):
        answers, judgements = array("L"), array("L")  # tokens of each
        for row in read_rows(run.at(t).eval, EvalRow):
            for candidate in row.rollout.candidates if row.kind == "answer" else []:
                answers.append(candidate.tokens)
                judgements.extend(judgement.tokens for judgement in candidate.judgements)
        if judgements:
            return Lengths(sum(answers) / len(answers), sum(judgements) / len(judgements))
    return None
