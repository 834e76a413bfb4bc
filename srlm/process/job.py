"""What a parent asks of a child process: the base of all job files."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict


class Job(BaseModel):
    """A job file: written by the parent, read by the child. The child's result lies beside it (`result_of`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @property
    def weights(self) -> str:
        """The model that the child loads; where it is a local folder, no hub is asked for anything. "": none."""
        return ""

    @property
    def lighter(self) -> str:
        """What the user can do where the child's memory does not suffice; "": nothing is known."""
        return ""


def result_of(job_file: Path) -> Path:
    """Where the child of a job file leaves its result: {"ok": true, "info": ...} or what the user did wrong."""
    return job_file.with_suffix("").with_suffix(".result.json")
