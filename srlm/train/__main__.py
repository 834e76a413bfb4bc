"""The training child (`python -m srlm.train JOB.json`): one training, in this process or in several by torchrun."""

import sys
from typing import Any

from srlm.process.child import main
from srlm.train.job import TrainJob


def work(job: TrainJob) -> dict[str, Any]:
    """Do the job."""
    from srlm.train.common import train  # torch and TRL: only now, after the environment is set

    return train(job)


if __name__ == "__main__":
    sys.exit(main(TrainJob, work))
