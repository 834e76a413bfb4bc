"""Tokens per second of srlm's rollout over raw vLLM on the same prompts with the same sampling, in one process.

    python benchmarks/rollout.py [--prompts 256] [--rounds 3]

srlm makes rollouts of the demo's instructions: candidates, then their judgements, rows appended to disk. Raw
vLLM then gets the very same prompts through `LLM.chat`: all candidate prompts in one call, all judge prompts
in a second one. Both use the same loaded engine; the order alternates, and the ratio is of the medians.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from srlm.config import load_recipe, parse_config
from srlm.demo.seed import make
from srlm.engine import Sample, Sampling
from srlm.generate.rollout import roll_out, work_on
from srlm.judge.judge import make_judge
from srlm.judge.prompts import Templates
from srlm.packaged import DEMO, PROMPTS
from srlm.process.child import set_environment
from srlm.records import Messages, PromptRow, Rollout
from srlm.settings import Config
from srlm.store import Appender


class Recording:
    """Passes requests on to an engine and remembers prompts and tokens."""

    def __init__(self, engine: Any) -> None:
        self.engine, self.controls, self.asked, self.tokens = engine, engine.controls, [], 0  # type: ignore[var-annotated]

    async def sample(self, messages: Messages, sampling: Sampling, seed: int) -> list[Sample]:
        """See `Engine.sample`."""
        samples: list[Sample] = await self.engine.sample(messages, sampling, seed)
        self.asked.append((messages, sampling, seed))
        self.tokens += sum(sample.tokens for sample in samples)
        return samples


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    set_environment()
    os.environ["VLLM_LOGGING_LEVEL"] = "ERROR"
    from srlm.engine.vllm import VllmEngine, engine_arguments

    recipe = load_recipe("demo")
    model = str(DEMO / "base")
    config = parse_config(recipe | {"model": recipe["model"] | {"path": model}}, "demo")
    rows = [row["messages"][:1] for row in make(12)["ift.jsonl"]][: arguments.prompts]
    prompts = [PromptRow(id=str(n), messages=messages) for n, messages in enumerate(rows)]
    engine = VllmEngine(model, None, config.model.max_length, config.engine.args, seed=1)
    from vllm import LLM

    llm = LLM(**engine_arguments(model, None, config.model.max_length, config.engine.args))
    rates: dict[str, list[float]] = {"srlm": [], "raw vLLM": []}
    for number in range(arguments.rounds):
        for loaded in (engine.core.engine, llm.llm_engine):
            loaded.reset_prefix_cache()  # every round starts cold
        seconds, recording = srlm_rollout(engine, config, prompts, number)
        rates["srlm"].append(recording.tokens / seconds)
        raw_seconds, raw_tokens = raw_rollout(llm, recording.asked)
        rates["raw vLLM"].append(raw_tokens / raw_seconds)
        print(f"round {number + 1}: srlm {rates['srlm'][-1]:,.0f} tokens/s, raw {rates['raw vLLM'][-1]:,.0f} tokens/s")
    ours, raw = (statistics.median(rates[name]) for name in rates)
    print(f"median: srlm {ours:,.0f} tokens/s, raw vLLM {raw:,.0f} tokens/s, ratio {ours / raw:.3f}")


def srlm_rollout(engine: Any, config: Config, prompts: list[PromptRow], seed: int) -> tuple[float, Recording]:
    """Seconds, and what was asked, of srlm's own rollout with its rows written to disk."""
    recording = Recording(engine)
    judge = make_judge(recording, Templates(PROMPTS), config.judge)

    async def work(row: PromptRow) -> Rollout:
        count = config.rollout.candidates
        return await roll_out(recording, judge, config.rollout, row.id, row.messages, count, seed)

    async def items() -> Any:
        for row in prompts:
            yield row

    async def run(path: Path) -> None:
        slots = asyncio.Semaphore(config.rollout.max_in_flight)
        with Appender(path) as file:
            await work_on(items(), work, slots, file)

    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        asyncio.run(run(Path(folder) / "rollouts.jsonl"))
        return time.monotonic() - started, recording


def raw_rollout(llm: Any, asked: list[tuple[Messages, Sampling, int]]) -> tuple[float, int]:
    """Seconds and tokens of the same requests through `LLM.chat`: the candidates first, then the judgements."""
    from vllm import SamplingParams

    candidates = asked[0][1].n
    seconds, tokens = 0.0, 0
    for stage in (True, False):
        requests = [request for request in asked if (request[1].n == candidates) == stage]
        conversations: Any = [messages for messages, _, _ in requests]
        parameters = [
            SamplingParams(n=s.n, temperature=s.temperature, top_p=s.top_p, max_tokens=s.max_tokens, seed=seed)
            for _, s, seed in requests
        ]
        started = time.monotonic()
        outputs = llm.chat(conversations, parameters, use_tqdm=False)
        seconds += time.monotonic() - started
        tokens += sum(len(completion.token_ids) for output in outputs for completion in output.outputs)
    return seconds, tokens


if __name__ == "__main__":
    main()
