"""Every way to an engine: what is to be loaded (an `EngineSpec`), and `load_engine`, which loads it.

To add an engine, write a class with the three members of `Engine`, a spec for it here, and its branch below.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from srlm.engine import Engine
from srlm.model.adapter import base_of
from srlm.model.check import check_model
from srlm.records import Record
from srlm.settings import Config
from srlm.store import digest

LONGEST = 8192  # tokens of context for a model whose own is longer: more only costs memory, unless the user says so
LIGHTER = "lower engine.args.gpu_memory_utilization, model.max_length or engine.replicas"  # to need less memory
BATCH = 256  # requests at one local engine that keep its batch full, and what a crash makes you do again small


class LocalModel(Record):
    """A model that vLLM loads here, in `replicas` engines; `max_length` None: as much context as it has, within reason.

    `model` is a folder or the id of a model at a hub, `arguments` are vLLM's own.
    """

    model: str
    revision: str | None = None
    max_length: int | None = None
    arguments: dict[str, Any] = {}
    replicas: int = 1
    seed: int = 1

    @property
    def in_flight(self) -> int:
        """How many rows to work on at once."""
        return BATCH * self.replicas


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


def local_model(config: Config, model: str, revision: str | None) -> LocalModel:
    """How a run loads a model: one of its own, or another in the same way. For `revision` see `Run.revision`."""
    return LocalModel(
        model=model,
        revision=revision,
        max_length=config.model.max_length,
        arguments=config.engine.args,
        replicas=config.engine.replicas,
        seed=config.run.seed,
    )


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
        with replicas(arguments, spec.replicas) as engine:
            yield engine
        return
    alone = VllmEngine(*arguments)
    try:
        yield alone
    finally:
        alone.close()
