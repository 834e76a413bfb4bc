"""`srlm eval --tasks`: every model of a run does tasks of lm-evaluation-harness, and the user sees what changed.

RUN/tasks/M1.jsonl    one row per task that M1 did; what was done before is not done again
"""

import importlib.util
from typing import Any

from srlm.console import say
from srlm.engine.load import local_model, weights_digest
from srlm.errors import UserError
from srlm.measure.figures import measured_model
from srlm.measure.harness.job import HarnessJob, Measure, TaskRow
from srlm.measure.harness.table import compared, cut, show
from srlm.process.launch import Watch, run_child
from srlm.run.folder import Run
from srlm.store import digest, read_rows


def eval_tasks(run: Run, tasks: str, limit: int | None, few_shot: int | None, as_json: bool) -> None:
    """Let all evaluated models do `tasks` (names or paths, with commas between them), and show the figures.

    Raises UserError for tasks that cannot be used, StageError when a child crashed.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise UserError("--tasks needs lm-evaluation-harness, which is not installed", 'pip install "srlm[eval]"')
    asked = [item.strip() for item in tasks.split(",") if item.strip()]
    if not asked:
        raise UserError("--tasks: no task is named", "e.g. --tasks arc_easy,hellaswag or --tasks ./my-tasks")
    say(f"Reading tasks: {', '.join(asked)}")
    with run.lock() as lock:
        run.load()
        measured_model(run, None)
        job = HarnessJob(
            asked=asked,
            limit=limit,
            few_shot=few_shot,
            seed=run.config.run.seed,
            max_length=run.config.model.max_length,
            measure=None,
        )
        found = _child(run, job, None, lock)
        rows = {t: _rows(run, t, job, found, lock) for t in run.measured}
    data = {"harness": found["harness"], "limit": limit, "tasks": compared(rows), "cut": cut(rows)}
    show(data, [f"M{t}" for t in rows], as_json)


def _rows(run: Run, t: int, job: HarnessJob, found: dict[str, Any], lock: int) -> list[TaskRow]:
    """M_t's row of each task; a child makes those that are missing, but for a model whose weights were removed."""
    keys = {name: row_key(run, t, job, found["harness"], content) for name, content in found["tasks"].items()}
    path = run.paths.tasks / f"M{t}.jsonl"
    known = {row.key: row for row in read_rows(path, TaskRow)}
    owed = {name: key for name, key in keys.items() if key not in known}
    if owed and run.removed(f"M{t}"):
        say(f"M{t}: its weights were removed (train.keep_models), so it cannot do {', '.join(owed)}")
    elif owed:
        model = local_model(run.config, run.model(t), run.revision(run.model(t)))
        measure = Measure(model=model, keys=owed, rows=path)
        job = job.model_copy(update={"measure": measure})
        _child(run, job, Watch(f"M{t}: tasks", path, len(known) + len(owed)), lock)
        known = {row.key: row for row in read_rows(path, TaskRow)}
    return [known[key] for key in keys.values() if key in known]


def row_key(run: Run, t: int, job: HarnessJob, harness: str, content: str) -> str:
    """Covers what decides the figures of a task: its content, the weights, how they are loaded, and how it is asked.

    Weights that were removed still count as what they were.
    """
    source, gone = run.config.model, run.removed(f"M{t}")
    weights = gone["weights"] if gone else weights_digest(run.model(t)) or [source.path, run.revision(source.path)]
    loaded = [source.max_length, run.config.engine.args]
    return digest(content, weights, loaded, harness, job.limit, job.few_shot, job.seed)


def _child(run: Run, job: HarnessJob, watch: Watch | None, lock: int) -> dict[str, Any]:
    return run_child("srlm.measure.harness", job, run.log("tasks"), [watch] if watch else [], lock)
