"""Numbers as characters: a curve in one line, bars of a histogram."""

from collections.abc import Mapping, Sequence

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
    """(label, count, share of all, bar) for each entry; the longest bar is `width` characters."""
    total, most = sum(counts.values()), max(counts.values(), default=0)
    return [
        (label, f"{count:,}", f"{count / total:.1%}", bar(count / most, width))
        for label, count in counts.items()
        if total
    ]
