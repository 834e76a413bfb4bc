"""Numbers as characters: a curve in one line, bars of a histogram."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

MOST_BARS = 12  # of a histogram
_HEIGHTS = "▁▂▃▄▅▆▇█"
_EIGHTHS = " ▏▎▍▌▋▊▉"


def sparkline(values: Sequence[float]) -> str:
    """One character a value, from the lowest (▁) to the highest (█); a flat line stays low."""
    low, high = min(values), max(values)
    span = high - low or 1.0
    return "".join(_HEIGHTS[min(7, int((value - low) / span * 8))] for value in values)


def bar(share: float, width: int) -> str:
    """`share` (0 to 1) of `width` characters, to an eighth of one; what is more than nothing is seen."""
    eighths = max(round(share * width * 8), int(share > 0))
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def histogram(counts: Mapping[str, int], width: int = 40) -> list[tuple[str, str, str, str]]:
    """(label, count, share of all, bar) for each entry; the longest bar is `width` characters.

    Entries are numbers. Of more than MOST_BARS those with the same whole part are one (scores of the mode `expected`).
    """
    if len(counts) > MOST_BARS:
        whole: Counter[str] = Counter()
        for label, count in counts.items():
            whole[f"{math.floor(float(label))}"] += count
        counts = whole
    total, most = sum(counts.values()), max(counts.values(), default=0)
    return [
        (label, f"{count:,}", f"{count / total:.1%}", bar(count / most, width))
        for label, count in counts.items()
        if total
    ]
