"""What ends a training in the middle."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.helpers.train_jobs import CutError


@pytest.fixture
def cut_after(monkeypatch: Any) -> Callable[[int], None]:
    """Makes trainings end suddenly after the row of a step was written; 0 lets them live."""
    from srlm.train.log import StepLog

    real = StepLog.on_log

    def cut(step: int) -> None:
        def on_log(self: Any, args: Any, state: Any, control: Any, logs: Any, **kwargs: Any) -> None:
            real(self, args, state, control, logs=logs, **kwargs)
            if state.global_step == step:
                raise CutError

        monkeypatch.setattr(StepLog, "on_log", on_log)

    return cut
