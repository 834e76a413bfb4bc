"""What parent and child of `srlm eval --tasks` agree on: the job, and the rows of a model's results."""

from pathlib import Path

from srlm.engine.load import LocalModel
from srlm.process.job import Job
from srlm.records import Record


class Measure(Record):
    """Which model does which tasks: task -> key of its row, which covers all that decides its figures."""

    model: LocalModel
    keys: dict[str, str]
    rows: Path


class HarnessJob(Job):
    """What the parent asks of the child: look which tasks are meant, or let a model do them."""

    asked: list[str]  # names, YAML files, folders
    limit: int | None  # of questions per task; None: all
    few_shot: int | None  # examples per question; None: as the task says
    seed: int
    max_length: int  # of prompt and reply together, in tokens
    measure: Measure | None


class Figure(Record):
    """One metric of one task (or of a group of tasks) for one model."""

    task: str
    metric: str
    value: float | None
    stderr: float | None
    higher_is_better: bool | None
    questions: int
    version: str | None  # of the task
    few_shot: int | None  # examples per question, which the task may forbid; None: not the same in a group's parts
    within: str | None  # the group whose figure sums this one up


class TaskRow(Record):
    """What one model did in one task as it was asked for, which may be a group of many."""

    key: str
    task: str
    harness: str  # version
    seconds: float
    cut: int  # prompts that were too long and lost their beginning
    figures: list[Figure]
