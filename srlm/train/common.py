"""One training from start to end, whatever the step: read down `train` and you know what happens."""

import copy
import errno
import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from datasets import Dataset
from transformers import PrinterCallback, set_seed

from srlm.errors import UserError
from srlm.store import read_json, read_rows
from srlm.train import checkpoints
from srlm.train.encode import Encoder
from srlm.train.guard import guard
from srlm.train.head import fit_tiles
from srlm.train.job import TrainJob
from srlm.train.log import StepLog, cut_back
from srlm.train.models import RECORD, load_model, load_tokenizer, move_into_place, save_model, saved_dtype
from srlm.train.steps import STEPS
from srlm.train.survives import Survival


def train(job: TrainJob) -> dict[str, Any]:
    """Do the job, from its newest complete checkpoint if it has one; returns what the result file reports.

    Raises UserError for what the user can mend, OSError for a full disk. Under torchrun every process calls this; only
    the first one writes.
    """
    if job.out.exists():
        return _finished(job)
    started = time.monotonic()
    set_seed(job.seed)
    if "OMP_NUM_THREADS" not in os.environ:  # torchrun sets it
        torch.set_num_threads(len(os.sched_getaffinity(0)))
    fit_tiles()
    tokenizer = load_tokenizer(job)
    encoder = Encoder(tokenizer, job.max_length)
    rows = _encode(job, encoder)
    model, dtype = load_model(job)
    config = copy.deepcopy(model.config)
    newest = checkpoints.newest(job.checkpoints, job.digests)
    step = checkpoints.step_of(newest)
    callback = StepLog(job, cut_back(job.log, step) if _is_first() else {})
    trainer = callback.trainer = STEPS[job.algorithm].trainer(job, model, tokenizer, rows, callback)
    trainer.longest_first = checkpoints.longest_first(newest)
    trainer.remove_callback(PrinterCallback)
    trackers = guard(trainer)
    survival = Survival(job, rows)
    if _is_first():
        checkpoints.remove_torn(job.checkpoints)
        survival.before(trainer)
    on_gpu = trainer.args.device.type == "cuda"
    if on_gpu:
        torch.cuda.empty_cache()  # of what the measurement above took
        torch.cuda.reset_peak_memory_stats()
    with _full_disk_is_oserror():
        trainer.train(resume_from_checkpoint=str(newest) if newest else None)
    peak = torch.cuda.max_memory_reserved() if on_gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    dtype = saved_dtype(job, dtype)
    info = _info(job, encoder, trainer, callback, dtype) | {
        "rows": len(rows),
        "resumed_from_step": step,
        "peak_memory": peak,  # bytes: what torch took of the GPU for the steps, or this process of memory till then
        "trackers": [tracker.problem for tracker in trackers if tracker.problem],
    }
    if _is_first():
        survival.trained(trainer)
        with _full_disk_is_oserror():
            model = save_model(trainer, job, dtype, config)
            info |= {"survives": survival.saved(model, trainer), "seconds": round(time.monotonic() - started, 2)}
            move_into_place(job, info)
        checkpoints.keep_newest(job.checkpoints, job.train.keep_checkpoints)
    return info


def _is_first() -> bool:
    """Whether this is the process that writes."""
    return os.environ.get("RANK", "0") == "0"


def _finished(job: TrainJob) -> dict[str, Any]:
    """A model that is in place already: only the tidying up after it was interrupted. Returns what it reported."""
    path = job.out / RECORD
    record = read_json(path) if path.is_file() else {}
    if record.get("job") not in job.digests:
        raise UserError(f"{job.out} already exists, made by another training", "move it away")
    if _is_first():
        checkpoints.keep_newest(job.checkpoints, job.train.keep_checkpoints)
    info: dict[str, Any] = record["info"]
    return info


def _encode(job: TrainJob, encoder: Encoder) -> Dataset:
    """The job's rows as token ids. Raises UserError when none is left."""
    step = STEPS[job.algorithm]
    encoded = encoder.usable(read_rows(job.rows, step.row), step.encode)
    if not encoded:
        why = ", ".join(f"{count} {reason}" for reason, count in encoder.dropped.items()) or "the file is empty"
        fix = "raise model.max_length" if "overlong" in encoder.dropped else "check the rows"
        raise UserError(f"{job.rows}: no rows to train on ({why})", fix)
    return Dataset.from_list(encoded)


def _info(job: TrainJob, encoder: Encoder, trainer: Any, callback: StepLog, dtype: torch.dtype) -> dict[str, Any]:
    """What the training did, for the run's record."""
    step = STEPS[job.algorithm]
    return {
        "rows_dropped": encoder.dropped,
        "overlong": len(encoder.overlong),
        "overlong_ids": encoder.overlong[:20],
        "truncated": 0,
        "steps": trainer.state.global_step,
        "epochs": trainer.state.epoch,
        "tokens": callback.last.get("tokens", 0),
        "final": {name: callback.last[name] for name in ("loss", *step.final) if name in callback.last},
        "world_size": trainer.args.world_size,
        "device": str(trainer.args.device),
        "dtype": {
            "weights": _name(trainer.model.dtype),
            "forward": "bfloat16" if trainer.args.bf16 else _name(trainer.model.dtype),
            "saved": _name(dtype),
        },
    } | step.note(job)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@contextmanager
def _full_disk_is_oserror() -> Iterator[None]:
    """safetensors and torch report a full disk as errors of their own: raise the plain OSError instead."""
    try:
        yield
    except Exception as error:
        if "os error 28" in str(error) or "No space left" in str(error):
            raise OSError(errno.ENOSPC, "No space left on device") from error
        raise
