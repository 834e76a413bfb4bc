"""What parent and child of `srlm judge` agree on: the job, and the rows of the work file."""

from pathlib import Path

from srlm.engine.load import LIGHTER, EngineSpec, local_weights
from srlm.judge.parse import Scale
from srlm.judge_file.columns import Columns
from srlm.process.job import Job
from srlm.records import Judgement, Record
from srlm.settings import JudgeSettings


class JudgeJob(Job):
    """What the parent asks of the child: judge the input's rows that are missing from `rows`."""

    input: Path
    columns: Columns
    engine: EngineSpec
    settings: JudgeSettings
    rubric: Path | None  # None: the rows hold whole judge prompts
    scale: Scale | None
    seed: int
    rows: Path

    @property
    def weights(self) -> str:
        """See `Job.weights`."""
        return local_weights(self.engine)

    @property
    def lighter(self) -> str:
        """See `Job.lighter`."""
        return LIGHTER


class Judged(Record):
    """A row of the work file: the judgements of each response of input row `row`, which counts from 1."""

    row: int
    judgements: list[list[Judgement]]
