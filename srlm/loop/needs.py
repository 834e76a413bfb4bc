"""What the stages of a run need of memory, against what the machine has; and which settings would need less.

Everything comes from the config of the model: no weights are loaded. The formulas are in `model.memory` and
`model.engine_memory`, what the machine has in `process.machine`.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property

from srlm.console import gib, say
from srlm.engine.load import LocalModel, engine_use, replicas_of
from srlm.errors import UserError
from srlm.generate.parts import engines_of
from srlm.loop.lighter import fitting, lighter_engines, lighter_trainings
from srlm.loop.redo import made_from
from srlm.loop.stages import stages
from srlm.model.check import read_config
from srlm.model.engine_memory import engine_memory, kv_cache, tensor_groups
from srlm.model.memory import ROOM, TRAIN_IMPORTS, Training, training_memory
from srlm.model.shape import Shape, UnknownShapeError, shape_of
from srlm.process.machine import Machine, this_machine
from srlm.run.folder import Run, now
from srlm.run.stage import Stage
from srlm.settings import Config
from srlm.store import read_json
from srlm.train.job import batch_plan, processes_of
from srlm.train.steps import STEPS, TrainingStep, step_of

ENGINE = "engine"  # the kind of all stages that load one
TEMPLATE_TOKENS = 64  # at most what a chat template adds to a prompt and a reply


@dataclass(frozen=True)
class Need:
    """What one kind of stage needs at once, where it is all held together: on each GPU, or in memory.

    `stage` is the first stage of the kind. Where the model's shape is not known, `unknown` says why, and no part is.
    """

    stage: str
    kind: str  # SFT, DPO, engine
    parts: dict[str, int] = field(default_factory=dict)
    have: int = 0
    there: str = ""  # what `have` is, in words
    fits: tuple[str, ...] = ()  # settings with which it would fit, where it does not
    note: str = ""
    unknown: str = ""

    @property
    def bytes(self) -> int:
        """All parts together."""
        return sum(self.parts.values())

    @property
    def short(self) -> bool:
        """Whether there is too little."""
        return self.bytes > self.have

    @property
    def claim(self) -> str:
        """What is needed and what is there, in one clause."""
        name = f"{self.stage} ({self.kind})"
        if self.unknown:
            return f"how much memory {name} needs is not known: {self.unknown}"
        return f"{name} needs about {gib(self.bytes)} of memory{', but' if self.short else ';'} {self.there}"

    @property
    def remedy(self) -> str:
        """What would fit instead, in one clause."""
        if self.fits:
            return f"it would fit with {', or with '.join(self.fits)}"
        more = "more GPUs" if self.kind == ENGINE else "one with more memory"
        return f"no setting makes it fit on this machine: use a smaller model, or {more}"

    def __str__(self) -> str:
        return self.claim + (f". THIS IS NOT ENOUGH; {self.remedy}" if self.short else self.note)


@dataclass(frozen=True)
class TrainingPlan:
    """A training by a step, of rows of at most `tokens`, from the model of the config, on a machine."""

    config: Config
    step: TrainingStep
    machine: Machine
    revision: str | None
    tokens: int

    @cached_property
    def shape(self) -> Shape:
        """The model's shape. Raises UnknownShapeError."""
        return _shape(self.config.model.path, self.revision)

    @property
    def have(self) -> int:
        """Bytes that are there: on each GPU for one process, or in memory for all."""
        return self.machine.card or self.machine.memory

    def figure(self, config: Config) -> tuple[dict[str, int], int]:
        """(part -> bytes that it needs with these settings, bytes that are there). Raises UnknownShapeError."""
        return self._parts(config, self.checkpointing(config)), self.have

    def checkpointing(self, config: Config) -> bool:
        """What train.gradient_checkpointing means with these settings. Raises UnknownShapeError."""
        asked = config.train.gradient_checkpointing
        return sum(self._parts(config, False).values()) > ROOM * self.have if asked == "auto" else asked

    def _parts(self, config: Config, checkpointing: bool) -> dict[str, int]:
        own, train = getattr(config, self.step.name), config.train
        processes = processes_of(train.num_processes, own.batch_size, len(self.machine.gpus))
        rows, accumulation = batch_plan(own.batch_size, train.per_device_batch, processes)
        job = Training(
            rows=rows,
            tokens=min(self.tokens, config.model.max_length),
            pairs=self.step.on_pairs,
            accumulation=accumulation,
            processes=processes,
            lora_rank=train.lora.rank,
            lora_dropout=train.lora.dropout,
            checkpointing=checkpointing,
            gpu=bool(self.machine.gpus),
        )
        parts = training_memory(self.shape, job)
        if self.machine.gpus:
            return parts
        parts |= {"imports": TRAIN_IMPORTS}
        return {part: size * processes for part, size in parts.items()}


def run_needs(run: Run, n: int, redo: str | None = None, machine: Machine | None = None) -> list[Need]:
    """The needs of each kind of stage that is owed to bring the run to M_n, or that `redo` makes anew."""
    names = {stage.name for stage in made_from(run, redo)} if redo else set()
    found = machine or this_machine()
    owed = [stage for stage in stages(run, n) if stage.name in names or run.state(stage)[0] != "done"]
    result: dict[tuple[str, str], Need] = {}
    for stage in owed:
        if stage.step and ("training", stage.step) not in result:
            plan = _training_plan(run, STEPS[stage.step], found)
            result["training", stage.step] = training_need(stage.name, plan)
        for model in _engines(run, stage):
            if (ENGINE, model) not in result:
                result[ENGINE, model] = engine_need(stage.name, run.config, model, run.revision(model), found)
    return list(result.values())


def model_needs(config: Config, machine: Machine) -> list[Need]:
    """The needs of a run with this config that is not there yet: of its trainings, and of the engine with its model."""
    model = config.model
    with suppress(UnknownShapeError):
        length = min(model.max_length, _shape(model.path, model.revision).context or model.max_length)
        config = config.model_copy(update={"model": model.model_copy(update={"max_length": length})})
    result = []
    for t in (1, 2):
        plan = TrainingPlan(config, step_of(t), machine, model.revision, longest_row(config, step_of(t), None))
        result.append(training_need(f"M{t}/train", plan))
    return [*result, engine_need("M0/eval", config, model.path, model.revision, machine)]


def gradient_checkpointing(run: Run, step: TrainingStep) -> bool:
    """What train.gradient_checkpointing means here and now; "auto" for a model of an unknown shape: no."""
    asked = run.config.train.gradient_checkpointing
    if asked != "auto":
        return asked
    with suppress(UnknownShapeError):
        return _training_plan(run, step, this_machine()).checkpointing(run.config)
    return False


def refuse_what_cannot_fit(run: Run, n: int, redo: str | None, force: bool) -> None:
    """Raise UserError where a stage cannot fit; with `force` say so, and record it in run.json."""
    short = [need for need in run_needs(run, n, redo) if need.short]
    if not short:
        return
    if not force:
        again = f"srlm iterate {n} --run {run.root}{f' --redo {redo}' if redo else ''} --force"
        remedies = "; ".join(f"{need.stage}: {need.remedy}" for need in short)
        raise UserError("; ".join(need.claim for need in short), f"{remedies}; or try it all the same: {again}")
    for need in short:
        say(f"--force: {need.claim}")
    run.record.forced.append({"time": now(), "needs": [need.claim for need in short]})
    run.save()


def training_need(stage: str, plan: TrainingPlan) -> Need:
    """What one training needs."""
    label = plan.step.label
    try:
        parts, have = plan.figure(plan.config)
    except UnknownShapeError as error:
        return Need(stage, label, unknown=str(error))
    there = f"each GPU has {gib(have)}" if plan.machine.gpus else f"{gib(have)} are free"
    fits = fitting(plan.config, plan.figure, lighter_trainings(plan.config, plan.tokens))
    thrifty = ", gradient checkpointing" if plan.checkpointing(plan.config) else ""
    return Need(stage, label, parts, have, there, fits, f" (rows of at most {plan.tokens:,} tokens{thrifty})")


def engine_need(stage: str, config: Config, model: str, revision: str | None, machine: Machine) -> Need:
    """What the engine with this model needs: on each of its GPUs, or all replicas together on a CPU."""

    def figure(settings: Config) -> tuple[dict[str, int], int]:
        use = engine_use(settings, model, revision, machine)
        parts = engine_memory(shape, use)
        if machine.gpus:
            return parts, int(use.share * machine.card)
        replicas = replicas_of(settings, use, machine)
        return {part: size * replicas for part, size in parts.items()}, machine.memory

    try:
        shape = _shape(model, revision)
    except UnknownShapeError as error:
        return Need(stage, ENGINE, unknown=str(error))
    parts, have = figure(config)
    use = engine_use(config, model, revision, machine)
    groups, replicas = tensor_groups(shape, use, len(machine.gpus)), replicas_of(config, use, machine)
    fits = fitting(config, figure, lighter_engines(config, groups, 1 if machine.gpus else replicas))
    if not machine.gpus:
        return Need(stage, ENGINE, parts, have, f"{gib(have)} are free", fits)
    one = kv_cache(shape, use.max_length, use.width) // use.spread
    many = 1 + max(0, have - sum(parts.values())) // one
    note = f" (the KV cache has room for about {many:,} sequences of {use.max_length:,} tokens)"
    return Need(stage, ENGINE, parts, have, f"vLLM's share of each GPU ({use.share:.0%}) is {gib(have)}", fits, note)


def longest_row(config: Config, step: TrainingStep, seed_rows: int | None) -> int:
    """Tokens of the longest row that the step can meet; `seed_rows`: of the seed data, None where it is not known."""
    length = config.model.max_length
    if not step.on_pairs:
        return min(length, seed_rows or length)
    if config.instructions.source == "file":  # its prompts are of any length
        return length
    return min(length, config.instructions.max_tokens + config.rollout.max_tokens + TEMPLATE_TOKENS)


def _shape(model: str, revision: str | None) -> Shape:
    return shape_of(read_config(model, revision))


def _training_plan(run: Run, step: TrainingStep, machine: Machine) -> TrainingPlan:
    tokens = longest_row(run.config, step, _longest_seed_row(run))
    return TrainingPlan(run.config, step, machine, run.revision(run.config.model.path), tokens)


def _engines(run: Run, stage: Stage) -> Iterator[str]:
    """The models that are loaded here for a stage, as one that tells their shape: M_t has the shape of M_0."""
    config, base = run.config, run.config.model.path
    if stage.part == "versus":
        if not config.versus.endpoint:
            yield config.versus.judge or base
        return
    asked = {base: stage.parts}
    if stage.part == "aift" and config.instructions.source == "model":
        asked = {config.instructions.path: ("instructions",)} | asked
    for model, parts in asked.items():
        if parts and isinstance(engines_of(config, model, None, parts)[0], LocalModel):
            yield model


def _longest_seed_row(run: Run) -> int | None:
    """Tokens of the longest row of the seed data, as `srlm init` measured it; None for runs from before it did."""
    path = run.paths.split
    found = read_json(path).get("longest") if path.is_file() else None
    return found if isinstance(found, int) else None
