"""Load models in vLLM, one after the other in one process, and ask each the same: `python -m tests.helpers.load_all`.

Standard input: a list of (name, folder or hub's id, revision) as JSON. Standard output, in its last line: for each
name the log-probabilities of `WORDS` behind `PREFIX`, two sampled texts and the engine's control strings, or an error.
"""

import asyncio
import gc
import json
import os
import subprocess
import sys
from typing import Any

from srlm.process.child import set_environment
from tests.helpers.places import ROOT

ASKED = [{"role": "user", "content": "say red"}]
PREFIX, WORDS = "I say", ["red", "blue sky", "no", "yes 12"]


def load_all(models: list[tuple[str, str, str | None]], **environment: str) -> dict[str, Any]:
    """What each of the models says, by its name, in a process of its own: vLLM changes what transformers is."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.helpers.load_all"],
        input=json.dumps(models),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "VLLM_LOGGING_LEVEL": "ERROR", "OMP_NUM_THREADS": "1"}
        | environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


async def ask(model: str, revision: str | None) -> dict[str, Any]:
    """What one model says."""
    from srlm.engine import Sampling
    from srlm.engine.load import LocalModel, load_engine

    small = {"kv_cache_memory_bytes": 64 * 2**20}
    async with load_engine(LocalModel(model=model, revision=revision, max_length=128, arguments=small)) as engine:
        logs, samples = await asyncio.gather(
            engine.choices(ASKED, PREFIX, [f" {word}" for word in WORDS]), engine.sample(ASKED, Sampling(2, 1, 1, 8), 1)
        )
        return {"logs": logs, "texts": [sample.text for sample in samples], "controls": sorted(engine.controls)}


def main() -> None:
    """Load and ask; what one leaves behind would be in the way of the next."""
    found: dict[str, Any] = {}
    for name, model, revision in json.load(sys.stdin):
        set_environment(model)
        try:
            found[name] = asyncio.run(ask(model, revision))
        except Exception as error:
            found[name] = {"error": f"{type(error).__name__}: {error}"}
        from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

        gc.collect()
        cleanup_dist_env_and_memory()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
