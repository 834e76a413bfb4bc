"""The phases of an iteration as child processes: the job file, the progress on the way, the record at the end.

The story that puts them in order is `iterate`.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from srlm.console import say
from srlm.generate.job import GenerateJob
from srlm.generate.parts import Place, engines_of, watches
from srlm.loop.needs import gradient_checkpointing
from srlm.loop.stages import stages
from srlm.model.adapter import adapter_of
from srlm.process.launch import Watch, run_child
from srlm.process.machine import devices, this_machine
from srlm.run.folder import Run, Status
from srlm.run.paths import BASELINE
from srlm.run.stage import Stage, model_number
from srlm.train.job import TrainJob, processes_of
from srlm.train.steps import TrainingStep


class Phases:
    """What an iteration runs: the run, the stages that bring it to M_n, and the lock that the children inherit."""

    def __init__(self, run: Run, n: int, lock: int) -> None:
        self.run, self.n, self.lock = run, n, lock
        self.stages = {stage.name: stage for stage in stages(run, n)}

    def train_child(self, name: str, step: TrainingStep) -> None:
        """Train a model ("M2" from M1; "baseline", like M1, from M0) by the step, in a child process."""
        run, paths, start = self.run, self.run.paths.trained(name), max(model_number(name) - 1, 0)
        job = TrainJob(
            algorithm=step.name,
            model=run.model(start),
            revision=run.revision(run.model(start)),
            rows=step.rows(run, name),
            out=paths.weights,
            checkpoints=paths.checkpoints,
            log=paths.train_log,
            reference=paths.reference,
            seed=run.config.run.seed,
            max_length=run.config.model.max_length,
            train=run.config.train.model_copy(update={"gradient_checkpointing": gradient_checkpointing(run, step)}),
            optimizer=getattr(run.config, step.name),
            merge=start > 0 and adapter_of(run.model(start)) is None,
            **step.values(run, name),
        )
        gpus = len(this_machine().gpus)
        processes = processes_of(job.train.num_processes, job.optimizer.batch_size, gpus)
        seen = devices(0, processes) if gpus else {}  # with more GPUs than processes TRL refuses to train
        with self.recorded(self.stages[f"{name}/train"]) as info:
            batches = math.ceil(sum(1 for _ in job.rows.open()) / job.optimizer.batch_size)
            label, steps = f"{name}: {step.label} of M{start}", math.ceil(batches * job.optimizer.epochs)
            watch = Watch(label, job.log, steps, steps=True)
            info |= run_child("srlm.train", job, run.log(f"{name}-train"), [watch], self.lock, processes, seen)
        if info["overlong"]:
            say(f"{name}: {info['overlong']} rows are longer than model.max_length and were left out of training")
        for problem in info.get("trackers", []):
            say(f"{name}, train.report_to: {problem}")

    def generate_child(self, t: int, model: str, parts: list[str]) -> dict[str, Any]:
        """Have `model` (a folder, a hub id, or a name at instructions.endpoint) write the parts of iteration t."""
        run, name = self.run, f"{BASELINE if 'judge' in parts else f'M{t}'}-{'-'.join(parts)}"
        writer, judge = engines_of(run.config, model, run.revision(model), parts)
        job = GenerateJob(run=run.root, t=t, parts=parts, engine=writer, judge=judge)
        return run_child("srlm.generate", job, run.log(name), watches(Place(run, t), parts), self.lock)

    def done(self, stage: Stage) -> bool:
        """Whether the stage is done and still holds."""
        return self.run.state(stage)[0] == "done"

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
