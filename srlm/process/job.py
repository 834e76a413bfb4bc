"""What a parent asks of a child process: the base of all job files."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict


class Job(BaseModel):
    """A job file: written by the parent, read by the child. The child's result lies beside it (`result_of`)."""

    # what an earlier version wrote into a job file and this one does not know plays no part
    model_config = ConfigDict(extra="ignore", frozen=True)

    @property
    def weights(self) -> str:
        """The model that the child loads; where it is a local folder, no hub is asked for anything. "": none."""
        return ""

    @property
    def lighter(self) -> str:
        """What the user can do where the child's memory does not suffice; "": nothing is known."""
        return ""


def result_of(job_file: Path, rank: int = 0) -> Path:
    """Where the child leaves its result: {"ok": true, "info": ...}, or what went wrong; each process a file of its own.

    Of several processes (`rank` from 0 on) the first one's file says what was done; all may say what went wrong.
    """
    return job_file.with_suffix("").with_suffix(f".result.{rank}.json" if rank else ".result.json")
