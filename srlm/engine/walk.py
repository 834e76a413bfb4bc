"""How likely each of several continuations is, one token at a time: a walk over the tree of their tokens. Pure."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Collection

# log-probabilities of the wanted tokens after the context, both as token ids
NextTokens = Callable[[list[int], list[int]], Awaitable[dict[int, float]]]

UNASKED = math.log(1e-3)  # of a choice less likely than this, no request asks whether its number goes on


async def log_probabilities(
    paths: list[list[int]], start: int, numbers: list[bool], digits: Collection[int], next_tokens: NextTokens
) -> list[float]:
    """Log-probability of each path's tokens from `start` on; before it all paths are the same.

    A path whose number could go on (`numbers`) ends it there: the probability of the tokens in `digits` behind it does
    not count. For improbable numbers that is left out (`UNASKED`), which adds less than 0.001 to their probability.
    """
    found = [-math.inf] * len(paths)

    async def visit(context: list[int], members: list[int], so_far: float) -> None:
        """`members`: the paths that begin with `context`, whose log-probability from `start` on is `so_far`."""
        ended = [i for i in members if len(paths[i]) == len(context)]
        children: dict[int, list[int]] = {}
        for i in members:
            if i not in ended:
                children.setdefault(paths[i][len(context)], []).append(i)
        goes_on = digits if so_far > UNASKED and any(numbers[i] for i in ended) else ()
        wanted = list(dict.fromkeys([*children, *goes_on]))
        logs = await next_tokens(context, wanted) if wanted else {}
        longer = min(1.0, sum(math.exp(logs[token]) for token in goes_on if token in logs))
        for i in ended:
            found[i] = so_far + (_log(1 - longer) if numbers[i] else 0.0)
        await asyncio.gather(
            *(visit([*context, token], below, so_far + logs[token]) for token, below in children.items())
        )

    await visit(paths[0][:start], list(range(len(paths))), 0.0)
    return found


def common_start(sequences: list[list[int]]) -> int:
    """How many first items all sequences share."""
    first = min(sequences, key=len)
    return next((i for i, item in enumerate(first) if any(s[i] != item for s in sequences)), len(first))


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf
