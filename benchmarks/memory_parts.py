"""Where the memory of a training goes on a CPU, and what tiles of the LM head take.

    python benchmarks/memory_parts.py parts [--tokens 1024] # the demo's model, and one of SmolLM2-135M's shape
    python benchmarks/memory_parts.py tiles [--tokens 1024] # TRL's tiles of the LM head and srlm's: memory, loss, time

`parts` looks at the resident set at the moments of the second step of SFT on 4 rows (and of the first: no optimizer
yet). There the C library is told to give each block back at once, so that differences are what lives, and no more:
activations, from the step's beginning to the LM head; the head, the peak of its backward pass above what was there
before; gradients, what is left after the backward pass; optimizer, what the optimizer's first step leaves. Weights
are counted as saved, since their file is mapped.

`tiles` trains a model of SmolLM2-135M's shape on 4 sequences a step, with checkpointing, with TRL's tiles and with
srlm's in turn. It shows the largest resident set, imports included, the last loss, and the time of a step after the
first.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from memory import ROWS, WAYS, made, make_job, planned, run

from srlm.console import gib
from srlm.model import memory
from srlm.model.memory import Training
from srlm.model.shape import Shape, parameters_of, shape_of
from srlm.packaged import DEMO
from srlm.process.launch import MEMORY
from srlm.process.machine import free_memory
from srlm.train.job import TrainJob

EXACT = {"MALLOC_MMAP_THRESHOLD_": str(2**16), "MALLOC_TRIM_THRESHOLD_": str(2**16)}  # blocks are given back at once


# --- parts -----------------------------------------------------------------------------------------------------------


def parts(tokens: int) -> None:
    """Print where the memory of a step goes, beside the plan."""
    plan = Training(ROWS, tokens, gpu=False)
    with tempfile.TemporaryDirectory(prefix="memory-") as name:
        for label, model in (("demo", DEMO / "base"), ("135M", made("135M", Path(name)))):
            shape = shape_of(json.loads((model / "config.json").read_text()))
            for checkpointing in (False, True):
                job = replace(plan, checkpointing=checkpointing)
                if planned(shape, job) > 0.9 * free_memory():
                    print(f"{label}: left out, since only {gib(free_memory())} are free for {gib(planned(shape, job))}")
                    continue
                with tempfile.TemporaryDirectory(prefix="memory-") as scratch:
                    job_file = Path(scratch) / "trace.job.json"
                    job_file.write_text(make_job(Path(scratch), model, job, 2).model_dump_json())
                    command = [sys.executable, __file__, "trace", "--job", str(job_file)]
                    _, output = run(command, job_file, EXACT)
                show_parts(f"{label}{', checkpointing' if checkpointing else ''}", shape, job, output)


def show_parts(label: str, shape: Shape, job: Training, output: str) -> None:
    """Print the parts of one model from the child's trace."""
    trace = [json.loads(line) for line in output.splitlines() if line.startswith('{"moment"')]
    first, second = ({row["moment"]: row for row in trace if row["step"] == step} for step in (0, 1))
    weights = parameters_of(shape).total * memory.FLOAT32
    begin, before, head, after = (second[name] for name in ("begin", "before head", "head", "backward"))
    measured = {
        "weights": weights,
        "gradients": after["now"] - begin["now"],
        # weights are there at the first step: they were read to score the starting model
        "optimizer": begin["now"] - first["begin"]["now"],
        "activations": before["now"] - begin["now"],
        "LM head": head["peak"] - before["now"],
    }
    told = memory.training_memory(shape, replace(job, accumulation=2)) | {
        "activations": memory.activations(shape, job),
        "LM head": memory.lm_head(shape, job),
    }
    print(f"{label}, SFT, {ROWS} x {job.tokens} tokens")
    for part, size in measured.items():
        print(f"  {part:<14}{gib(size):>10} measured {gib(told[part]):>10} planned")


def trace(job: TrainJob) -> None:
    """Be the child of `parts`: do the job in this process, and print the resident set at each moment."""
    from transformers import Trainer
    from trl.kernels import ChunkedLogProbFunction as Head

    from srlm.train.common import train

    step, inside = -1, False  # what survives of the training is measured by the same head, outside of the steps
    forward_head, backward_head, whole = Head.forward, Head.backward, Trainer.training_step

    def note(moment: str) -> None:
        if not inside:
            return
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        peak, now = (int(status[name].split()[0]) * 1024 for name in ("VmHWM", "VmRSS"))
        print(json.dumps({"moment": moment, "step": step, "peak": peak, "now": now}), flush=True)
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew

    def forward(*arguments: Any) -> Any:
        note("before head")
        return forward_head(*arguments)

    def backward(*arguments: Any) -> Any:
        note("before backward")
        result = backward_head(*arguments)
        note("head")
        return result

    def training_step(*arguments: Any, **named: Any) -> Any:
        nonlocal step, inside
        step, inside = step + 1, True
        note("begin")
        result = whole(*arguments, **named)
        note("backward")
        inside = False
        return result

    Head.forward, Head.backward = staticmethod(forward), staticmethod(backward)
    Trainer.training_step = training_step
    train(job)


# --- tiles -----------------------------------------------------------------------------------------------------------


def tiles(tokens: int, steps: int) -> None:
    """Print what TRL's tiles take and what srlm's do."""
    print(f"{'what':<20}{'tile':>6}{'peak':>10}{'loss':>12}{'s/step':>8}")
    with tempfile.TemporaryDirectory(prefix="memory-") as name:
        model = made("135M", Path(name))
        for what in ("SFT, checkpointing", "DPO, checkpointing"):
            pairs, settings = WAYS[what]
            plan = Training(ROWS // 2 if pairs else ROWS, tokens, pairs, gpu=False, **settings)
            found = []
            for tile in (memory.TILE_TOKENS, memory.TILE_TOKENS_ON_CPU):
                peak, loss, seconds = tiled(model, plan, steps, tile)
                found.append((peak, seconds))
                print(f"{what:<20}{tile:>6}{gib(peak):>10}{loss:>12.6f}{seconds:>8.1f}", flush=True)
            (theirs, slow), (ours, fast) = found
            print(f"  srlm's take {ours / theirs:.0%} of the memory, and {fast / slow:.0%} of the time of a step")


def tiled(model: Path, plan: Training, steps: int, tile: int) -> tuple[int, float, float]:
    """(largest resident set in bytes, last loss, seconds of a step) with tiles of so many tokens."""
    with tempfile.TemporaryDirectory(prefix="memory-") as name:
        job = make_job(Path(name), model, plan, steps)
        job_file = Path(name) / "tiled.job.json"
        job_file.write_text(job.model_dump_json())
        command = [sys.executable, __file__, "tiled", "--job", str(job_file), "--tile", str(tile)]
        peak, _ = run(command, job_file, MEMORY)
        first, *_, last = (json.loads(line) for line in job.log.read_text().splitlines())
        return peak, last["loss"], (last["seconds"] - first["seconds"]) / (steps - 1)


def train_tiled(job: TrainJob, tile: int) -> None:
    """Be the child of `tiles`."""
    from srlm.train import head
    from srlm.train.common import train

    head.TILE_TOKENS_ON_CPU = tile
    train(job)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["parts", "tiles", "trace", "tiled"])
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--job", type=Path, help="for trace and tiled, the children of `parts` and `tiles`")
    parser.add_argument("--tile", type=int, help="likewise: tokens of a tile")
    options = parser.parse_args()
    if options.what == "parts":
        parts(options.tokens)
    elif options.what == "tiles":
        tiles(options.tokens, options.steps)
    else:
        from srlm.process.child import set_environment

        job = TrainJob.model_validate_json(options.job.read_bytes())
        set_environment(job.model)  # before torch
        if options.what == "trace":
            trace(job)
        else:
            train_tiled(job, options.tile)


if __name__ == "__main__":
    main()
