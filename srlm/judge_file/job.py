"""What parent and child of `srlm judge` agree on: the job, and the rows of the work file."""

from pathlib import Path

from pydantic import BaseModel

from srlm.judge.parse import Scale
from srlm.judge_file.columns import Columns
from srlm.records import Judgement, Record
from srlm.settings import JudgeSettings
from srlm.store import digest


class LocalModel(Record):
    """A model that the child loads; `max_length` None: as much context as it has, within reason."""

    model: str
    revision: str | None
    max_length: int | None
    arguments: dict[str, object]


class Endpoint(Record):
    """A server that speaks OpenAI's protocol. The key is in the environment and nowhere else."""

    url: str
    model: str
    concurrency: int
    timeout: float


class JudgeJob(BaseModel):
    """What the parent asks of the child: judge the input's rows that are missing from `rows`."""

    input: Path
    columns: Columns
    engine: LocalModel | Endpoint
    settings: JudgeSettings
    rubric: Path | None  # None: the rows hold whole judge prompts
    scale: Scale | None
    seed: int
    rows: Path
    result: Path


def weights_digest(model: str) -> str | None:
    """What tells the weights of a local folder from others: names, sizes and times; None for an id or a served name."""
    files = Path(model).glob("*.safetensors")
    found = sorted((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files)
    return digest(found) if found else None


class Judged(Record):
    """A row of the work file: the judgements of each response of input row `row`, which counts from 1."""

    row: int
    judgements: list[list[Judgement]]
