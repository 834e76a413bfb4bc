"""Which settings would need less memory, where what is set needs more than there is."""

from collections.abc import Callable
from typing import Any

from srlm.config import apply_overrides, parse_config
from srlm.console import gib
from srlm.settings import Config

RANK = 16  # of the adapters that are proposed where all weights are too much
SHORTEST = 512  # tokens: below this, few judge prompts fit

Change = dict[str, Any]  # dotted setting -> its new value
Figure = Callable[[Config], tuple[dict[str, int], int]]  # settings -> (part -> bytes, bytes that are there)


def fitting(config: Config, figure: Figure, candidates: list[list[Change]]) -> tuple[str, ...]:
    """The first of each list of changes that makes it fit, in words: "train.lora.rank = 16 (21.0 GiB)".

    The last list, of several changes together, is for when no single one suffices. () where it fits as it is.
    """
    *single, together = candidates
    if _bytes_if_it_fits(config, figure, {}) is not None:
        return ()
    found = [words for changes in single if (words := _first_fit(config, figure, changes))]
    return tuple(found or filter(None, [_first_fit(config, figure, together)]))


def lighter_trainings(config: Config, tokens: int) -> list[list[Change]]:
    """Changes for a training with rows of at most `tokens`, in each list the mildest first."""
    train = config.train
    checkpointing: list[Change] = [] if train.gradient_checkpointing else [{"train.gradient_checkpointing": True}]
    fewer: list[Change] = [{"train.per_device_batch": rows} for rows in _halves(train.per_device_batch, 1)]
    lora: list[Change] = [] if train.lora.rank else [{"train.lora.rank": RANK}]
    shorter: list[Change] = [{"model.max_length": length} for length in _halves(tokens, SHORTEST)]
    least: Change = {key: value for change in (*checkpointing, *fewer[-1:]) for key, value in change.items()}
    adapted: Change = least | (lora[0] if lora else {})
    gentle: Change = {key: value for change in (*checkpointing, *lora) for key, value in change.items()}
    together = [
        least,
        gentle,
        adapted,
        *(least | change for change in shorter),
        *(adapted | change for change in shorter),
    ]
    return [checkpointing, fewer, lora, shorter, together]


def lighter_engines(config: Config, groups: list[int], replicas: int) -> list[list[Change]]:
    """Changes for engines: a larger group of GPUs for each, fewer `replicas` that share the memory, a shorter context.

    `groups`: see `engine_memory.tensor_groups`.
    """
    spread: list[Change] = [{"engine.args.tensor_parallel_size": count} for count in groups[1:]]
    fewer: list[Change] = [{"engine.replicas": count} for count in _halves(replicas, 1)]
    shorter: list[Change] = [{"model.max_length": length} for length in _halves(config.model.max_length, SHORTEST)]
    together = [change | less for change in (*spread[-1:], *fewer[-1:]) for less in shorter]
    return [spread, fewer, shorter, together]


def _first_fit(config: Config, figure: Figure, changes: list[Change]) -> str:
    """The first change that makes it fit, in words; "" where none does."""
    for change in changes:
        if (size := _bytes_if_it_fits(config, figure, change)) is not None:
            return f"{' and '.join(f'{key} = {_toml(value)}' for key, value in change.items())} ({gib(size)})"
    return ""


def _bytes_if_it_fits(config: Config, figure: Figure, change: Change) -> int | None:
    values = apply_overrides(config.model_dump(), [f"{key}={_toml(value)}" for key, value in change.items()])
    parts, have = figure(parse_config(values, "what would fit"))
    return sum(parts.values()) if sum(parts.values()) <= have else None


def _halves(number: int, least: int) -> list[int]:
    """Half of it, a quarter, ... down to `least`."""
    result = []
    while (number := number // 2) >= least:
        result.append(number)
    return result


def _toml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
