"""Judgements per second of srlm's judge, beside raw vLLM and by mode, and its memory over many rows.

    python benchmarks/judge.py rate    [--rows 600] [--rounds 3]    # srlm over raw vLLM, with and without cached prefix
    python benchmarks/judge.py modes   [--rows 600]                 # expected over sampled: speed and pairwise accuracy
    python benchmarks/judge.py memory  [--rows 20000]               # the whole command, peak memory of parent and child

The judge is the demo's base model on its EFT rows. `rate` runs what the child of `srlm judge` runs (read rows,
judge them, append them durably) and then the very same prompts through `LLM.chat`, on engines of the same settings in
one process, by turns; the ratio is of the medians. Loading is not counted.
"""

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from srlm.config import load_recipe, parse_config
from srlm.demo.seed import make
from srlm.engine import Sample, Sampling
from srlm.engine.load import LocalModel
from srlm.judge.agreement import judge_metrics
from srlm.judge_file.__main__ import judge_rows
from srlm.judge_file.columns import Columns
from srlm.judge_file.job import Judged, JudgeJob
from srlm.packaged import DEMO, PROMPTS
from srlm.process.child import set_environment
from srlm.records import JudgeEval, Messages
from srlm.settings import Config, JudgeSettings
from srlm.store import digest, read_rows, write_rows

MODEL = str(DEMO / "base")
Asked = list[tuple[Messages, Sampling, int]]


class Recording:
    """Passes requests on to an engine and remembers them."""

    def __init__(self, engine: Any) -> None:
        self.engine, self.controls, self.asked = engine, engine.controls, []  # type: ignore[var-annotated]

    async def sample(self, messages: Messages, sampling: Sampling, seed: int) -> list[Sample]:
        """See `Engine.sample`."""
        self.asked.append((messages, sampling, seed))
        found: list[Sample] = await self.engine.sample(messages, sampling, seed)
        return found

    async def choices(self, messages: Messages, prefix: str, choices: list[str]) -> list[float] | None:
        """See `Engine.choices`."""
        found: list[float] | None = await self.engine.choices(messages, prefix, choices)
        return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=["rate", "modes", "memory"])
    parser.add_argument("--rows", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    set_environment(MODEL)
    os.environ["VLLM_LOGGING_LEVEL"] = "ERROR"
    default = 20_000 if arguments.part == "memory" else 600
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.jsonl"
        write_rows(file, rows(arguments.rows or default))
        if arguments.part == "memory":
            memory(file)
        elif arguments.part == "modes":
            modes(file, arguments.rounds)
        else:
            rate(file, arguments.rounds)


def rows(count: int) -> list[dict[str, Any]]:
    """EFT rows of the demo's world, repeated with a number where there are too few of them."""
    given = make(12)["eft.jsonl"]
    names = ("messages", "response", "human_score", "prompt_group")
    return [{name: given[n % len(given)][name] for name in names} | {"n": n} for n in range(count)]


def configuration() -> Config:
    """The demo's settings."""
    recipe = load_recipe("demo")
    return parse_config(recipe | {"model": recipe["model"] | {"path": MODEL}}, "demo")


def job_of(file: Path, settings: JudgeSettings, name: str) -> JudgeJob:
    """The job of `srlm judge` on the file."""
    return JudgeJob(
        input=file,
        columns=Columns(prompt="messages", responses=["response"]),
        engine=LocalModel(model=MODEL, revision=None, max_length=None, arguments={}),
        settings=settings,
        rubric=PROMPTS / "judge.txt",
        scale=None,
        seed=1,
        rows=file.with_name(name),
    )


def load() -> tuple[Any, Any, Any]:
    """Our engine, vLLM's own `LLM` of the same settings, and our engine without the prefix cache.

    All stay loaded: the end of one would take vLLM's process groups from the others.
    """
    from vllm import LLM

    from srlm.engine.vllm import VllmEngine, engine_arguments

    config = configuration()
    args, length = config.engine.args, config.model.max_length
    plain = VllmEngine(MODEL, None, length, args | {"enable_prefix_caching": False}, seed=1)
    return VllmEngine(MODEL, None, length, args, seed=1), LLM(**engine_arguments(MODEL, None, length, args)), plain


def timed(job: JudgeJob, engine: Any) -> tuple[float, Asked]:
    """Wall seconds of judging all rows from a cold prefix cache, and what was asked."""
    engine.core.engine.reset_prefix_cache()
    recording = Recording(engine)
    job.rows.unlink(missing_ok=True)
    started = time.monotonic()
    asyncio.run(judge_rows(job, recording))
    return time.monotonic() - started, recording.asked


def raw(llm: Any, asked: Asked) -> float:
    """Wall seconds of the same requests through `LLM.chat`."""
    from vllm import SamplingParams

    llm.llm_engine.reset_prefix_cache()
    conversations: Any = [messages for messages, _, _ in asked]
    parameters = [
        SamplingParams(n=s.n, temperature=s.temperature, top_p=s.top_p, max_tokens=s.max_tokens, seed=seed)
        for _, s, seed in asked
    ]
    started = time.monotonic()
    llm.chat(conversations, parameters, use_tqdm=False)
    return time.monotonic() - started


def rate(file: Path, rounds: int) -> None:
    """srlm over raw vLLM, then srlm without the cached prefix."""
    settings = configuration().judge
    job = job_of(file, settings, "rate.jsonl")
    found: dict[str, list[float]] = {"srlm": [], "raw vLLM": [], "srlm, no cached prefix": []}
    engine, llm, plain = load()
    for number in range(rounds):
        seconds, asked = timed(job, engine)
        judgements = len(asked) * settings.samples
        found["srlm"].append(judgements / seconds)
        found["raw vLLM"].append(judgements / raw(llm, asked))
        seconds, asked = timed(job, plain)
        found["srlm, no cached prefix"].append(judgements / seconds)
        print(f"round {number + 1}: " + ", ".join(f"{k} {v[-1]:.1f}/s" for k, v in found.items() if v), flush=True)
    middle = {name: statistics.median(values) for name, values in found.items()}
    for name, value in middle.items():
        print(f"{name}: {value:.1f} judgements/s")
    print(f"srlm over raw vLLM: {middle['srlm'] / middle['raw vLLM']:.3f}")
    print(f"cached prefix over none: {middle['srlm'] / middle['srlm, no cached prefix']:.3f}")


def modes(file: Path, rounds: int) -> None:
    """Mode `expected`, with and without a justification first, beside `sampled` with K and with one sample."""
    given = configuration().judge
    changes: dict[str, dict[str, Any]] = {
        f"sampled, K = {given.samples}": {},
        "sampled, K = 1": {"samples": 1},
        "expected behind 1 justification": {"mode": "expected", "samples": 1},
        "expected, no justification": {"mode": "expected", "justify": False},
    }
    from srlm.engine.vllm import VllmEngine

    config = configuration()
    engine = VllmEngine(MODEL, None, config.model.max_length, config.engine.args, seed=1)
    for name, change in changes.items():
        job = job_of(file, given.model_copy(update=change), f"{digest(name)}.jsonl")
        seconds = statistics.median(timed(job, engine)[0] for _ in range(rounds))
        metrics = judge_metrics(evaluations(file, job.rows))
        low, high = metrics["pairwise_interval"]
        responses = sum(1 for _ in read_rows(job.rows, Judged))
        print(
            f"{name}: {metrics['judgements'] / seconds:.1f} judgements/s, {responses / seconds:.1f} responses/s, "
            f"pairwise accuracy {metrics['pairwise_accuracy']:.3f} ({low:.3f} to {high:.3f}), "
            f"tied pairs {metrics['tied_pairs']:.3f}, parsed {metrics['parse_rate']:.3f}",
            flush=True,
        )


def evaluations(file: Path, judged: Path) -> list[JudgeEval]:
    """The judged rows beside what people gave them."""
    given = [json.loads(line) for line in file.read_text().splitlines()]
    result = []
    for row in read_rows(judged, Judged):
        values = given[row.row - 1]
        evaluation = {"id": str(row.row), "group": values["prompt_group"], "human": values["human_score"]}
        result.append(JudgeEval(**evaluation, judgements=row.judgements[0]))
    return result


def memory(file: Path) -> None:
    """The command itself, watched: peak resident memory of the parent, and the child's at a tenth and at the end."""
    command = [sys.executable, "-m", "srlm.cli", "judge", str(file), "--model", MODEL, "--samples", "1"]
    options = ["--set", "judge.max_tokens=96", "--set", "model.max_length=512", "--set", "engine.args.max_num_seqs=256"]
    total = sum(1 for _ in file.open())
    work = file.with_name(f".{file.stem}.judged.jsonl.work") / "rows.jsonl"
    started, marks = time.monotonic(), {}
    parent = subprocess.Popen([*command, *options], stderr=subprocess.DEVNULL)
    while parent.poll() is None:
        done = work.read_bytes().count(b"\n") if work.exists() else 0
        for share in (10, 25, 50, 75, 99):
            if done >= total * share // 100 and share not in marks:
                marks[share] = resident(parent.pid)
                ours, child = marks[share]
                print(f"{share}% ({done} rows): parent {ours:.0f} MiB, child {child:.0f} MiB", flush=True)
        time.sleep(0.5)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    seconds = time.monotonic() - started
    print(f"{total} rows in {seconds:.0f} s, exit code {parent.returncode}, peak of any process {peak:.0f} MiB")


def resident(pid: int) -> tuple[float, float]:
    """Resident memory of a process and of its first child, in MiB; 0 for what is gone."""

    def of(number: str) -> float:
        try:
            lines = Path(f"/proc/{number}/status").read_text().splitlines()
        except OSError:
            return 0.0
        return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), 0.0)

    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return of(str(pid)), of(children[0]) if children else 0.0


if __name__ == "__main__":
    main()
