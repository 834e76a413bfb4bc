"""The merge child (`python -m srlm.train.merge JOB.json`): a LoRA adapter and its base become one plain model."""

import sys
from pathlib import Path
from typing import Any, Literal

from srlm.model.adapter import base_of
from srlm.process.child import main
from srlm.process.job import Job


class MergeJob(Job):
    """The folder of an adapter in, the folder of a model out, in float32 or in the dtype of the adapter's base."""

    adapter: str
    out: Path
    save_dtype: Literal["float32", "base"]

    @property
    def weights(self) -> str:
        """See `Job.weights`."""
        return base_of(self.adapter, None)[0]


def work(job: MergeJob) -> dict[str, Any]:
    """Do the job, on the CPU: nothing is computed but the sums."""
    import torch

    from srlm.model.tokenizer import load_tokenizer
    from srlm.train.models import cast, load_weights, merged, with_adapter, write_whole

    base = load_weights(*base_of(job.adapter, None))
    config, dtype = base.config, torch.float32 if job.save_dtype == "float32" else base.dtype
    model = merged(with_adapter(base, job.adapter))
    cast(model, dtype)
    write_whole(model, job.out, load_tokenizer(job.adapter), config)
    return {}


if __name__ == "__main__":
    sys.exit(main(MergeJob, work))
