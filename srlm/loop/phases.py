"""The phases of an iteration as child processes: the job file, the progress on the way, the record at the end.

The story that puts them in order is `iterate`.
"""

import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from srlm.console import say
from srlm.generate.canaries import NAMES
from srlm.generate.job import GenerateJob, Part
from srlm.loop.other_models import softening
from srlm.process.launch import Watch, run_child
from srlm.records import PromptRow, RatedRow
from srlm.run.folder import Run, Status
from srlm.run.stages import BASELINE, Stage
from srlm.store import read_rows
from srlm.train.job import TrainJob, launch_command

# Progress of what other models are asked: label, and the rows that count.
OTHERS = {
    "past": ("an earlier model answers the same instructions", "past.jsonl"),
    "judge_past": ("judges the earlier model's answers", "past_judged.jsonl"),
    "previous": ("the previous model judges its candidates", "previous_judged.jsonl"),
}


class Phases:
    """What an iteration runs: the run, the stages that bring it to M_n, and the lock that the children inherit."""

    def __init__(self, run: Run, n: int, lock: int) -> None:
        self.run, self.n, self.lock = run, n, lock
        self.stages = {stage.name: stage for stage in run.stages(n)}

    def train_child(self, name: str, algorithm: Literal["sft", "dpo"], start: int, rows: Path) -> None:
        """Train the model `name` from M_start on the rows, in a child process."""
        run, folder = self.run, self.run.root / name
        job = TrainJob(
            algorithm=algorithm,
            model=run.model(start),
            revision=None if start else run.config.model.revision,
            rows=rows,
            out=folder / "model",
            checkpoints=folder / "checkpoints",
            log=folder / "train.jsonl",
            result=run.log(f"{name}-train").with_suffix(".result.json"),
            seed=run.config.run.seed,
            max_length=run.config.model.max_length,
            train=run.config.train,
            optimizer=run.config.sft if algorithm == "sft" else run.config.dpo,
            consistency=1.0 if algorithm == "sft" else softening(run, start),
        )
        command = launch_command(self.write_job(f"{name}-train", job), run.config.train.num_processes)
        with self.recorded(self.stages[f"{name}/train"]) as info:
            info["launch"] = command
            batches = math.ceil(sum(1 for _ in job.rows.open()) / job.optimizer.batch_size)
            label, steps = f"{name}: {algorithm.upper()} of M{start}", math.ceil(batches * job.optimizer.epochs)
            watches = [Watch(label, job.log, steps, steps=True)]
            info |= run_child(command, job.result, run.log(f"{name}-train"), watches, self.lock)
        if info["overlong"]:
            say(f"{name}: {info['overlong']} rows are longer than model.max_length and were left out of training")
        for problem in info.get("trackers", []):
            say(f"{name}, train.report_to: {problem}")

    def generate_child(self, t: int, model: str, parts: list[Part]) -> dict[str, Any]:
        """Run the rollout child on `model` for the given parts of iteration t."""
        run, name = self.run, f"{BASELINE if 'judge' in parts else f'M{t}'}-{'-'.join(parts)}"
        job = GenerateJob(
            run=run.root,
            t=t,
            model=model,
            revision=run.config.model.revision if model == run.config.model.path else None,
            parts=parts,
            result=run.log(name).with_suffix(".result.json"),
        )
        command = [sys.executable, "-P", "-m", "srlm.generate", str(self.write_job(name, job))]
        return run_child(command, job.result, run.log(name), [self.watch(t, part) for part in parts], self.lock)

    def watch(self, t: int, part: Part) -> Watch:
        """The progress bar of one part."""
        run, count = self.run, self.run.config.instructions.count
        if part == "eval":
            held_out = sum(1 for _ in read_rows(run.seed("held_out_eft"), RatedRow))
            prompts = sum(1 for _ in read_rows(run.seed("eval_prompts"), PromptRow))
            canaries = len(NAMES) * min(run.config.eval.canaries, prompts)
            return Watch(f"M{t}: evaluation", run.folder(t) / "eval.jsonl", held_out + prompts + canaries)
        if part == "judge":
            total = sum(1 for _ in read_rows(run.seed("ranked"), RatedRow))
            return Watch("baseline: judging what people ranked", run.baseline / "judgements.jsonl", total)
        if part in OTHERS:
            label, name = OTHERS[part]
            return Watch(f"M{t}: {label}", run.aift(t) / name, sum(1 for _ in (run.aift(t) / "rollouts.jsonl").open()))
        if part == "instructions":
            return Watch(f"M{t}: instructions", run.aift(t) / "instructions.jsonl", count)
        return Watch(f"M{t}: AIFT(M{t}), instructions rolled out", run.aift(t) / "rollouts.jsonl", count)

    def done(self, stage: Stage) -> bool:
        """Whether the stage is done and still holds."""
        return self.run.state(stage)[0] == "done"

    def write_job(self, name: str, job: Any) -> Path:
        """Write a child's job file beside its log."""
        path = self.run.log(name).with_suffix(".job.json")
        path.write_text(job.model_dump_json(indent=2))
        return path

    @contextmanager
    def recorded(self, *stages: Stage) -> Iterator[dict[str, Any]]:
        """Record the stages as running, then as they end; what the block puts into the yielded dict is kept."""
        for stage in stages:
            self.run.begin(stage)
        started = time.monotonic()
        info: dict[str, Any] = {}
        status: Status = "failed"
        try:
            yield info
            status = "done"
        except KeyboardInterrupt:
            status = "interrupted"
            raise
        finally:
            rest = time.monotonic() - started
            for stage in reversed(stages):  # the first one also bears the loading of the model
                seconds = info.get(stage.part, 0.0) if stage is not stages[0] else rest
                self.run.end(stage, status, seconds, info)
                rest -= seconds
