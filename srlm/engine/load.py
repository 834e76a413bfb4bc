"""Every way to an engine: what is to be loaded (an `EngineSpec`), and `load_engine`, which loads it.

To add an engine, write a class with the three members of `Engine`, a spec for it here, and its branch below.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from srlm.engine import Engine
from srlm.model.adapter import adapter_of, base_of
from srlm.model.check import check_model, read_config
from srlm.model.engine_memory import EngineUse, spread_out
from srlm.model.shape import UnknownShapeError, shape_of
from srlm.process.machine import Machine, this_machine
from srlm.records import Record
from srlm.settings import Config
from srlm.store import digest

LONGEST = 8192  # tokens of context for a model whose own is longer: more only costs memory, unless the user says so
LIGHTER = (  # to need less memory
    "lower engine.args.gpu_memory_utilization, model.max_length or engine.replicas, "
    "or raise engine.args.tensor_parallel_size"
)


class LocalModel(Record):
    """A model that vLLM loads here, in `replicas` engines; `max_length` None: as much context as it has, within reason.

    `model` is a folder or the id of a model at a hub, `arguments` are vLLM's own. Each engine takes `cards` GPUs (0: it
    runs on the CPU), and has `sequences` in its largest batch.
    """

    model: str
    revision: str | None = None
    max_length: int | None = None
    arguments: dict[str, Any] = {}
    replicas: int = 1
    cards: int = 0
    sequences: int = 256
    seed: int = 1

    @property
    def in_flight(self) -> int:
        """How many rows to work on at once: each has at least one sequence, so all batches stay full."""
        return self.sequences * self.replicas


class Endpoint(Record):
    """A model behind a server that speaks OpenAI's protocol. The key is in the environment and nowhere else.

    `concurrency` requests at once; each may take `timeout` seconds.
    """

    url: str
    model: str
    concurrency: int = 32
    timeout: float = 300.0

    @property
    def in_flight(self) -> int:
        """How many rows to work on at once."""
        return self.concurrency


EngineSpec = LocalModel | Endpoint


def local_model(config: Config, model: str, revision: str | None, whole_context: bool = False) -> LocalModel:
    """How a run loads a model on this machine: one of its own, or another in the same way.

    For `revision` see `Run.revision`. `whole_context` is for models that are no run's: `model.max_length` is no limit.
    """
    machine = this_machine()
    use = engine_use(config, model, revision, machine, whole_context)
    return LocalModel(
        model=model,
        revision=revision,
        max_length=None if whole_context else config.model.max_length,
        arguments=use.arguments,
        replicas=replicas_of(config, use, machine),
        cards=use.spread if machine.gpus else 0,
        sequences=use.batch[1],
        seed=config.run.seed,
    )


def engine_use(
    config: Config, model: str, revision: str | None, machine: Machine, whole_context: bool = False
) -> EngineUse:
    """How one engine with the model is loaded on the machine, and over how many GPUs it is spread.

    A model of which the shape is not known is spread only as the user says.
    """
    adapted = model == config.model.path or adapter_of(model) is not None
    length = LONGEST if whole_context else config.model.max_length
    use = EngineUse(length, machine.card, config.engine.args, config.train.lora.rank if adapted else 0)
    if machine.gpus:
        with suppress(UnknownShapeError):
            # a run's own models were seen at init; another one may not be in the hub's cache yet
            shape = shape_of(read_config(*base_of(model, revision), ask_hub=whole_context))
            use = replace(use, max_length=min(length, shape.context or length))
            use = spread_out(shape, use, len(machine.gpus))
    return use


def replicas_of(config: Config, use: EngineUse, machine: Machine) -> int:
    """How many engines run side by side: as many as the GPUs hold, or fewer if `engine.replicas` says so."""
    asked = config.engine.replicas
    if not machine.gpus:
        return 1 if asked == "auto" else asked
    most = max(1, len(machine.gpus) // use.spread)
    return most if asked == "auto" else min(asked, most)


def local_weights(spec: EngineSpec | None) -> str:
    """The model whose weights a child loads for this spec; "" where it loads none."""
    return base_of(spec.model, None)[0] if isinstance(spec, LocalModel) else ""


def weights_digest(model: str) -> str | None:
    """What tells the weights of a local folder from others: names, sizes and times; None for an id or a served name."""
    files = Path(model).glob("*.safetensors")
    found = sorted((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files)
    return digest(found) if found else None


@asynccontextmanager
async def load_engine(spec: EngineSpec) -> AsyncIterator[Engine]:
    """The engine for the length of an `async with` block. Loading blocks the event loop: nothing else waits yet.

    Raises UserError for what is no usable model, and for arguments that vLLM refuses.
    """
    if isinstance(spec, Endpoint):
        from srlm.engine.server import ServerEngine

        async with ServerEngine(spec.url, spec.model, spec.concurrency, spec.timeout) as engine:
            yield engine
        return
    from srlm.engine.replicas import replicas
    from srlm.engine.vllm import VllmEngine

    length = spec.max_length or min(check_model(spec.model, spec.revision).context or LONGEST, LONGEST)
    arguments = (spec.model, spec.revision, length, spec.arguments, spec.seed)
    if spec.replicas > 1:
        with replicas(arguments, spec.replicas, spec.cards) as engine:
            yield engine
        return
    alone = VllmEngine(*arguments)
    try:
        yield alone
    finally:
        alone.close()
