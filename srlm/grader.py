"""The ground truth, where a user has one: the function that `eval.grader` names. It only measures.

Only evaluation calls it: nothing that it says reaches training.
"""

import importlib
import math
import os
import sys
from collections.abc import Callable

from srlm.errors import UserError
from srlm.records import Messages

Grader = Callable[[Messages, str], dict[str, float] | None]


def load_grader(name: str) -> Grader | None:
    """The function that `eval.grader` ("module:function") names; None for "". Raises UserError when there is none."""
    if not name:
        return None
    module, _, function = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # the user's own grader lies where the user stands, and hides no library
    try:
        grader: Grader = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"eval.grader = {name!r} cannot be loaded ({error})", 'give "module:function"') from None
    return grader


def checked_marks(marks: dict[str, float] | None, row: str) -> dict[str, float] | None:
    """A grader's marks, if all are numbers. Raises UserError: what is not finite could not be read back."""
    if marks is not None and not all(math.isfinite(value) for value in marks.values()):
        raise UserError(f"eval.grader gave {marks} for {row}", "it must return finite numbers, or None for no opinion")
    return marks
