"""Several vLLM engines side by side, each in a process of its own: what one cannot use of the machine, they share.

Eight GPUs run eight copies of a model that fits one; two CPU cores run two copies of a tiny one, whose operations are
too small to be shared out over threads. A request goes to the engine with the fewest open ones. Its seed goes with it,
so which engine answers plays no part in what is sampled.
"""

import asyncio
import itertools
import os
import signal
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from srlm.engine import DIED, Engine, Sample, Sampling
from srlm.engine.vllm import VllmEngine
from srlm.errors import StageError, UserError
from srlm.process.machine import devices
from srlm.records import Messages

GRACE_SECONDS = 10.0  # for an engine process to end in order


@contextmanager
def replicas(arguments: tuple[Any, ...], count: int, cards: int) -> Iterator[Engine]:
    """`count` engines, each a VllmEngine with these arguments in a process of its own, for the length of a block.

    Each has `cards` GPUs; 0: they share the CPU. Raises UserError as VllmEngine does.
    """
    workers = [_Worker(arguments, share) for share in shares_of_devices(count, cards)]
    try:
        for worker in workers:  # they load side by side
            worker.wait_until_loaded()
        yield Replicas(workers)
    finally:
        for worker in workers:
            worker.close()


def shares_of_devices(count: int, cards: int) -> list[dict[str, str]]:
    """The environment that gives each of `count` replicas its own `cards` GPUs; with 0 its share of the CPU's cores."""
    if cards:
        return [devices(number * cards, cards) for number in range(count)]
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, len(os.sched_getaffinity(0)) // count))
    return [{"OMP_NUM_THREADS": threads}] * count


class Replicas:
    """The engines of one model as one `Engine`."""

    def __init__(self, workers: "list[_Worker]") -> None:
        self._workers = workers
        self.controls = workers[0].controls

    async def sample(self, messages: Messages, sampling: Sampling, seed: int) -> list[Sample]:
        """See `Engine.sample`."""
        found: list[Sample] = await self._idlest().call("sample", messages, sampling, seed)
        return found

    async def choices(self, messages: Messages, prefix: str, choices: list[str]) -> list[float] | None:
        """See `Engine.choices`."""
        found: list[float] | None = await self._idlest().call("choices", messages, prefix, choices)
        return found

    def _idlest(self) -> "_Worker":
        return min(self._workers, key=lambda worker: len(worker.open))


class _Worker:
    """One engine process, seen from the process that uses it."""

    def __init__(self, arguments: tuple[Any, ...], environment: dict[str, str]) -> None:
        context = get_context("spawn")  # a fork would share what torch has set up already
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, arguments, environment))
        self._process.start()
        theirs.close()
        self._numbers = itertools.count()
        self.open: dict[int, asyncio.Future[Any]] = {}
        self.controls: Collection[str] = ()

    def wait_until_loaded(self) -> None:
        try:
            self.controls, error = self._connection.recv()
        except EOFError:
            raise StageError(DIED) from None
        if error is not None:
            raise error
        threading.Thread(target=self._receive, daemon=True).start()

    def close(self) -> None:
        """End the process, and the engine process that it may have, whatever they are doing."""
        self._process.terminate()
        self._process.join(GRACE_SECONDS)
        self._process.kill()
        self._process.join()

    async def call(self, method: str, *arguments: Any) -> Any:
        """What the engine's method returns or raises. When the caller is cancelled, so is the request."""
        number = next(self._numbers)
        future = self.open[number] = asyncio.get_running_loop().create_future()
        self._connection.send((number, method, arguments))
        try:
            return await future
        except asyncio.CancelledError:
            self._connection.send((number, None, ()))
            raise
        finally:
            del self.open[number]

    def _receive(self) -> None:
        """Hand each reply to the loop of whoever waits for it."""
        while True:
            try:
                number, result, error = self._connection.recv()
            except (EOFError, OSError):
                break
            self._resolve(number, result, error)
        for number in list(self.open):
            self._resolve(number, None, StageError(DIED))

    def _resolve(self, number: int, result: Any, error: Exception | None) -> None:
        future = self.open.get(number)
        if future is not None:
            future.get_loop().call_soon_threadsafe(_settle, future, result, error)


def _settle(future: "asyncio.Future[Any]", result: Any, error: Exception | None) -> None:
    if future.done():  # cancelled meanwhile
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


def _serve(connection: Connection, arguments: tuple[Any, ...], environment: dict[str, str]) -> None:
    """The engine process: load, say so, answer until the other side is gone."""
    os.environ.update(environment)
    asyncio.run(_answer(connection, arguments))


async def _answer(connection: Connection, arguments: tuple[Any, ...]) -> None:
    try:
        engine = VllmEngine(*arguments)  # inside the loop, where vLLM's own client wants to be made
    except UserError as error:
        connection.send(((), error))
        return
    connection.send((engine.controls, None))
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    tasks: dict[int, asyncio.Task[None]] = {}

    async def answer(number: int, method: str, arguments: tuple[Any, ...]) -> None:
        try:
            connection.send((number, await getattr(engine, method)(*arguments), None))
        except Exception as error:
            connection.send((number, None, error))
        finally:
            del tasks[number]

    def begin(number: int, method: str | None, arguments: tuple[Any, ...]) -> None:
        if method is not None:
            tasks[number] = asyncio.create_task(answer(number, method, arguments))
        elif number in tasks:
            tasks[number].cancel()

    def receive() -> None:
        while True:
            try:
                loop.call_soon_threadsafe(begin, *connection.recv())
            except (EOFError, OSError):
                loop.call_soon_threadsafe(ended.set)  # nobody is left to answer
                break

    threading.Thread(target=receive, daemon=True).start()
    await ended.wait()
    engine.close()
    os._exit(0)  # everything durable is written on the other side; what is still asked has nobody to answer to
