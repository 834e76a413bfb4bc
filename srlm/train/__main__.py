"""`python -m srlm.train JOB.json`: runs one training job; exit codes as in srlm.child."""

import os
import sys
from pathlib import Path

from srlm.errors import USER_ERROR, UserError
from srlm.process.child import die_with_parent, run_job, set_environment
from srlm.train.job import TrainJob


def main(job: TrainJob) -> int:
    """Run the job in this process, one of several under torchrun; only the first one writes the result."""
    set_environment(job.model)
    from srlm.train.common import train  # torch and TRL: only now, after the environment is set

    if os.environ.get("RANK", "0") == "0":
        job.result.unlink(missing_ok=True)
        return run_job(lambda: train(job), job.result)
    try:
        train(job)
    except UserError:
        return USER_ERROR
    return 0


if __name__ == "__main__":
    die_with_parent()
    sys.exit(main(TrainJob.model_validate_json(Path(sys.argv[1]).read_text(encoding="utf-8"))))
