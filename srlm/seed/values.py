"""Single values of a row as text, numbers and ratings, and the error for a row that cannot be used."""

import math
import re
import sys
from typing import Any

from srlm.errors import UserError
from srlm.judge.verdict import read_verdict
from srlm.seed.files import RawRow

_RATING = re.compile(
    r"([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)\s*"
    r"(?:(?:/|out of)\s*(?P<top>\d+(?:\.\d+)?)|(?P<percent>%)|(?:stars?|points?|pts?)\.?)?",
    re.IGNORECASE,
)
_LABELS = {"1": "A", "first": "A", "2": "B", "second": "B", "1.5": "tie", "tie (bothbad)": "tie"}


class RowError(UserError):
    """One row cannot be used; it is left out with `reason`.

    `shape`: its columns, types or roles are others than those that are read. Where most rows are so, it is another kind
    of file, and the command stops. Without it the row is of the right shape, but holds what nothing can be made of.
    """

    def __init__(self, raw: RawRow, reason: str, fix: str = "", shape: bool = True) -> None:
        super().__init__(f"{raw.where}: {reason}", fix or "remove the row")
        self.reason, self.shape = reason, shape


def stop_if_most(wrong: list[RowError], rows: int) -> None:
    """Raise the first error of shape where most rows have one: these are no strays, it is another kind of file."""
    if 2 * len(wrong) > rows:
        share = f" ({len(wrong)} of {rows} rows are of a wrong shape)" if rows > 1 else ""
        raise UserError(wrong[0].problem, f"{wrong[0].fix}{share}")


def checked_string(raw: RawRow, name: str, value: Any) -> str:
    """`value` as text, null as empty. Raises RowError for what is no text, or none that UTF-8 can write."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RowError(raw, f"{name} must be text, found {type(value).__name__}", "make it text")
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can express and UTF-8 cannot
        raise RowError(raw, f"{name} holds an invalid Unicode character", "remove it") from None
    return value


def checked_number(raw: RawRow, name: str, value: Any, top: float | None = None) -> float | None:
    """`value` as a number, None where it is missing or not finite. Raises RowError for anything else.

    With `top`, a rating in words ("4/5") is one too, if it is on the scale that ends there.
    """
    if value is None:
        return None
    if not isinstance(value, bool) and isinstance(value, int | float):
        return float(value) if abs(value) <= sys.float_info.max else None  # an integer may be too long for a float
    if top is not None and isinstance(value, str):
        number, scale = rating(value)
        if math.isfinite(number) and scale in ("", f"of {top:g}"):
            return number
    raise RowError(raw, f"{name} must be a number, found {type(value).__name__}", "make it a number")


def rating(value: Any) -> tuple[float, str]:
    """What people gave an answer, and its scale where the value says it: "of 5", "percent", else empty.

    5, "5", "5 stars", "5 points" -> (5, ""); "4/5", "4 out of 5" -> (4, "of 5"); "80%" -> (80, "percent"); true and
    false (thumbs up and down) are 1 and 0. Anything else, such as "N/A", is NaN.
    """
    text = str(value).strip()
    if text.lower() in ("true", "false"):
        return float(text.lower() == "true"), ""
    found = _RATING.fullmatch(text)
    if found is None:
        return math.nan, ""
    number = float(found[1])
    scale = "percent" if found["percent"] else f"of {float(found['top']):g}" if found["top"] else ""
    return (number if math.isfinite(number) else math.nan), scale


def preferred(value: Any) -> str | None:
    """Which of two answers a label calls better: "A", "B" or "tie"; None where it says nothing.

    By numbers, or by any form that a judge's verdict may have, such as "A>B" or "model_b".
    """
    text = f"{value:g}" if isinstance(value, float) else str(value).strip().lower()
    return _LABELS.get(text.removesuffix(".0")) or read_verdict(text).choice
