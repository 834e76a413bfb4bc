"""The job of the child in which a model writes: which parts of which iteration, and with which engines."""

from pathlib import Path

from srlm.engine.load import LIGHTER, EngineSpec, local_weights
from srlm.process.job import Job


class GenerateJob(Job):
    """What the parent asks of the child: the rows of these `parts` that are missing (see `parts.PARTS`)."""

    run: Path
    t: int  # the iteration whose rows are made
    parts: list[str]
    engine: EngineSpec  # writes
    judge: EngineSpec | None = None  # judges; None: the engine that writes does
    folder: Path | None = None  # of part "answers": where prompts.jsonl lies and answers.jsonl is made

    @property
    def weights(self) -> str:
        """See `Job.weights`."""
        return local_weights(self.engine)

    @property
    def lighter(self) -> str:
        """See `Job.lighter`."""
        return LIGHTER
