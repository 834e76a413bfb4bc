"""What the stages of a run need of memory, against what the machine has; and which settings would need less.

Everything comes from the config of the model: no weights are loaded. The formulas are in `model.memory` and
`model.engine_memory`, what the machine has in `process.machine`.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from srlm.console import gib, say
from srlm.engine.load import LocalModel, local_model
from srlm.errors import UserError
from srlm.generate.parts import engines_of
from srlm.loop.lighter import fitting, lighter_engines, lighter_trainings
from srlm.loop.redo import made_from
from srlm.loop.stages import stages
from srlm.model.check import read_config
from srlm.model.engine_memory import EngineUse, engine_memory, kv_cache
from srlm.model.memory import TRAIN_IMPORTS, Training, training_memory
from srlm.model.shape import Shape, UnknownShapeError, shape_of
from srlm.process.machine import Machine, this_machine
from srlm.run.folder import Run, now
from srlm.run.stage import Stage
from srlm.settings import Config
from srlm.store import read_json
from srlm.train.job import batch_plan
from srlm.train.steps import STEPS, TrainingStep, step_of

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
    where: str = ""  # what `have` is, in words
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
        return f"{name} needs about {gib(self.bytes)} of memory, {gib(self.have)} {self.where}"

    @property
    def remedy(self) -> str:
        """What would fit instead, in one clause."""
        if not self.fits:
            return "no setting makes it fit: take a smaller model, or a machine with more memory"
        return f"it would fit with {', or with '.join(self.fits)}"

    def __str__(self) -> str:
        return self.claim + (f": TOO LITTLE; {self.remedy}" if self.short else self.note)


def run_needs(run: Run, n: int, redo: str | None = None, machine: Machine | None = None) -> list[Need]:
    """The needs of each kind of stage that is owed to bring the run to M_n, or that `redo` makes anew."""
    names = {stage.name for stage in made_from(run, redo)} if redo else set()
    found = machine or this_machine()
    owed = [stage for stage in stages(run, n) if stage.name in names or run.state(stage)[0] != "done"]
    result: dict[tuple[str, str], Need] = {}
    for stage in owed:
        if stage.step:
            step, model = STEPS[stage.step], run.config.model.path
            if (step.name, model) not in result:
                tokens = longest_row(run.config, step, _longest_seed_row(run))
                result[step.name, model] = training_need(stage.name, step, run.config, found, tokens)
        for engine in _engines(run, stage):
            if ("engine", engine) not in result:
                result["engine", engine] = engine_need(stage.name, engine, run.config, found)
    return list(result.values())


def model_needs(config: Config, machine: Machine) -> list[Need]:
    """The needs of a run with this config that is not there yet: of its trainings, and of the engine with its model."""
    with suppress(UnknownShapeError):
        model = config.model
        length = min(model.max_length, _shape(model.path, config).context or model.max_length)
        config = config.model_copy(update={"model": model.model_copy(update={"max_length": length})})
    trainings = [(f"M{t}/train", step_of(t)) for t in (1, 2)]
    result = [training_need(name, step, config, machine, longest_row(config, step, None)) for name, step in trainings]
    return [*result, engine_need("M0/eval", config.model.path, config, machine)]


def refuse_what_cannot_fit(run: Run, n: int, redo: str | None, force: bool) -> None:
    """Raise UserError where a stage cannot fit; with `force` say so, and record it in run.json."""
    short = [need for need in run_needs(run, n, redo) if need.short]
    if not short:
        return
    if not force:
        command = f"srlm iterate {n} --run {run.root} --force"
        remedies = "; ".join(dict.fromkeys(need.remedy for need in short))
        raise UserError("; ".join(need.claim for need in short), f"{remedies}; or try all the same: {command}")
    for need in short:
        say(f"--force: {need.claim}")
    run.record.forced.append({"time": now(), "needs": [need.claim for need in short]})
    run.save()


def training_need(name: str, step: TrainingStep, config: Config, machine: Machine, tokens: int) -> Need:
    """What one training by the step needs, with rows of at most `tokens`."""

    def figure(settings: Config) -> tuple[dict[str, int], int]:
        own, train = getattr(settings, step.name), settings.train
        rows, accumulation = batch_plan(own.batch_size, train.per_device_batch, train.num_processes)
        job = Training(
            rows=rows,
            tokens=min(tokens, settings.model.max_length),
            pairs=step.on_pairs,
            accumulation=accumulation,
            processes=train.num_processes,
            lora_rank=train.lora.rank,
            lora_dropout=train.lora.dropout,
            checkpointing=train.gradient_checkpointing,
            gpu=bool(machine.gpus),
        )
        parts = training_memory(shape, job)
        if machine.gpus:
            return parts, machine.card
        parts |= {"imports": TRAIN_IMPORTS}
        return {part: size * train.num_processes for part, size in parts.items()}, machine.memory

    try:
        shape = _shape(config.model.path, config)
    except UnknownShapeError as error:
        return Need(name, step.label, unknown=str(error))
    parts, have = figure(config)
    where = "are there on each GPU" if machine.gpus else "are free"
    fits = fitting(config, figure, lighter_trainings(config, tokens))
    return Need(name, step.label, parts, have, where, fits, f"; rows of at most {tokens:,} tokens")


def engine_need(name: str, model: str, config: Config, machine: Machine) -> Need:
    """What the engine with this model needs: on each of its GPUs, or all replicas together on a CPU."""

    def figure(settings: Config) -> tuple[dict[str, int], int]:
        use = _engine_use(settings, machine)
        parts = engine_memory(shape, use)
        if machine.gpus:
            return parts, int(use.share * machine.card)
        return {part: size * settings.engine.replicas for part, size in parts.items()}, machine.memory

    try:
        shape = _shape(model, config)
    except UnknownShapeError as error:
        return Need(name, "engine", unknown=str(error))
    parts, have = figure(config)
    use = _engine_use(config, machine)
    where = f"are vLLM's share of each GPU ({use.share:.0%})" if machine.gpus else "are free"
    fits = fitting(config, figure, lighter_engines(config, len(machine.gpus), shape.heads))
    one = kv_cache(shape, use.max_length, use.width) // use.spread
    many = 1 + max(0, have - sum(parts.values())) // one
    note = f"; the KV cache has room for about {many:,} sequences of {use.max_length:,} tokens" if machine.gpus else ""
    return Need(name, "engine", parts, have, where, fits, note)


def longest_row(config: Config, step: TrainingStep, seed_rows: int | None) -> int:
    """Tokens of the longest row that the step can meet; `seed_rows`: of the seed data, None where it is not known."""
    length = config.model.max_length
    if not step.on_pairs:
        return min(length, seed_rows or length)
    if config.instructions.source == "file":  # its prompts are of any length
        return length
    return min(length, config.instructions.max_tokens + config.rollout.max_tokens + TEMPLATE_TOKENS)


def _shape(model: str, config: Config) -> Shape:
    return shape_of(read_config(model, config.model.revision if model == config.model.path else None))


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
        if parts and isinstance(engines_of(config, model, parts)[0], LocalModel):
            yield model


def _longest_seed_row(run: Run) -> int | None:
    """Tokens of the longest row of the seed data, as `srlm init` measured it; None for runs from before it did."""
    path = run.paths.split
    found = read_json(path).get("longest") if path.is_file() else None
    return found if isinstance(found, int) else None


def _engine_use(config: Config, machine: Machine) -> EngineUse:
    spec = local_model(config, config.model.path)
    return EngineUse(spec.max_length or config.model.max_length, machine.card, spec.arguments)
