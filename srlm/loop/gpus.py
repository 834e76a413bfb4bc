"""Which GPUs of a machine a run uses, and which it leaves idle and why: one line, said before anything is loaded."""

from collections.abc import Iterator

from srlm.console import say
from srlm.engine.load import engine_use, replicas_of
from srlm.process.machine import Machine, this_machine
from srlm.settings import Config
from srlm.train.job import processes_of
from srlm.train.steps import STEPS


def say_gpus(config: Config, revision: str | None) -> None:
    """Tell the user, where there are GPUs. `revision` is that of M0."""
    if line := gpu_line(config, revision, this_machine()):
        say(line)


def gpu_line(config: Config, revision: str | None, machine: Machine) -> str:
    """For example "8 GPUs: 4 engines of 2 GPUs each, 8 training processes."; "" where there is no GPU.

    The engines are those with M_t.
    """
    there = len(machine.gpus)
    if not there:
        return ""
    use = engine_use(config, config.model.path, revision, machine)
    engines, asked = replicas_of(config, use, machine), config.train.num_processes
    trainings = {step: processes_of(asked, getattr(config, step).batch_size, there) for step in STEPS}
    counts = _engines(engines, use.spread), _trainings(trainings)
    notes = *_of_engines(config, engines, use.spread, there), *_of_trainings(config, trainings, there)
    return " ".join([f"{_gpus(there)}: {', '.join(counts)}.", *notes])


def _engines(count: int, size: int) -> str:
    words = _number(count, "engine")
    return words if size == 1 else f"{words} of {size} GPUs{' each' if count > 1 else ''}"


def _trainings(counts: dict[str, int]) -> str:
    if len(set(counts.values())) > 1:
        return ", ".join(f"{_number(count, 'process')} for {STEPS[step].label}" for step, count in counts.items())
    return _number(next(iter(counts.values())), "training process")


def _of_engines(config: Config, count: int, size: int, there: int) -> Iterator[str]:
    """Sentences on what engines cannot have, and on what they do not use."""
    asked, idle = config.engine.replicas, there - count * size
    if idle < 0:
        yield f"One engine would need {_gpus(size)}."
    elif asked != "auto" and asked > count:
        yield f"engine.replicas = {asked} would need {_gpus(asked * size)}."
    if idle > 0:
        why = f"each takes {size}" if idle < size else f"engine.replicas = {asked}"
        yield f"Engines leave {_gpus(idle)} idle: {why}."


def _of_trainings(config: Config, counts: dict[str, int], there: int) -> Iterator[str]:
    """Sentences on what trainings cannot have, and on what they do not use."""
    asked = config.train.num_processes
    if asked != "auto" and asked > there:
        yield f"train.num_processes = {asked} would need {_gpus(asked)}."
    if asked != "auto" and asked < there:
        yield f"Training leaves {_gpus(there - asked)} idle: train.num_processes = {asked}."
    elif uneven := [step for step, count in counts.items() if count < there]:
        sizes = " and ".join(f"{step}.batch_size = {getattr(config, step).batch_size}" for step in uneven)
        yield f"Training leaves the other GPUs idle: {sizes} cannot be shared out evenly among {there}."


def _gpus(count: int) -> str:
    return _number(count, "GPU")


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 'es' if noun.endswith('s') else 's'}"
