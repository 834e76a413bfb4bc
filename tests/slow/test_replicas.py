"""Several engines side by side give what one gives, and none is waited for in vain. With the real engine."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from srlm.engine import Sampling
from srlm.engine.replicas import Replicas, replicas
from srlm.engine.vllm import VllmEngine
from srlm.errors import StageError, UserError
from srlm.packaged import DEMO

MODEL = str(DEMO / "base")
GREEDY = Sampling(n=1, temperature=0.0, top_p=1.0, max_tokens=12)
QUESTIONS = [f"What is the capital of {name}?" for name in ("France", "Peru", "Japan", "Kenya", "Norway", "Chile")]


async def answers(engine: Any) -> list[str]:
    asked = [engine.sample([{"role": "user", "content": question}], GREEDY, 1) for question in QUESTIONS]
    return [samples[0].text for samples in await asyncio.gather(*asked)]


@pytest.fixture(scope="module")
def _one_thread() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.mark.usefixtures("_one_thread")
def test_two_engines_answer_as_one_and_a_dead_one_is_noticed() -> None:
    alone = asyncio.run(answers(VllmEngine(MODEL, None, 256, {}, 1)))
    with replicas((MODEL, None, 256, {}, 1), 2, 0) as engine:
        assert isinstance(engine, Replicas)
        assert asyncio.run(answers(engine)) == alone
        assert len(set(alone)) > 1  # else the comparison says nothing

        first = engine._workers[0]._process
        assert first.pid is not None
        os.kill(first.pid, signal.SIGKILL)
        with pytest.raises((StageError, OSError)):
            asyncio.run(answers(engine))
        second = engine._workers[1]._process
    assert not second.is_alive()


@pytest.mark.usefixtures("_one_thread")
def test_what_is_wrong_in_an_engine_process_reaches_the_user(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match="unknown key max_num_sequences"),
        replicas((MODEL, None, 256, {"max_num_sequences": 8}, 1), 2, 0),
    ):
        pass
