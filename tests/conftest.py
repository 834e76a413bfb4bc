"""Settings of all property tests; fixtures of the train step's tests. Unit tests come by here too: no torch."""

import os
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from srlm.settings import DPOSettings, SFTSettings, TrainSettings
from srlm.store import write_rows
from srlm.train.job import TrainJob
from tests.helpers.train_jobs import Make, dpo_rows, make_model, make_tokenizer, sft_rows

hypothesis.settings.register_profile("srlm", deadline=None)  # the machine has other work: seconds prove nothing
hypothesis.settings.load_profile("srlm")


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    os.environ["OMP_NUM_THREADS"] = "1"
    return make_model(tmp_path_factory.mktemp("base") / "model", make_tokenizer())


@pytest.fixture
def make(base: Path, tmp_path: Path) -> Make:
    """Makes a job: 20 rows, batches of 8, 2 epochs = 6 steps, a checkpoint every 2."""

    def job(algorithm: str = "sft", name: str = "a", rows: Any = None, **changes: Any) -> TrainJob:
        folder = tmp_path / name
        write_rows(
            folder / "rows.jsonl", rows if rows is not None else (dpo_rows if algorithm == "dpo" else sft_rows)()
        )
        kind = {"sft": SFTSettings, "dpo": DPOSettings}[algorithm]
        train = {"per_device_batch": 4, "save_steps": 2} | changes.pop("train", {})
        optimizer = {"learning_rate": 5e-3, "epochs": 2, "batch_size": 8} | changes.pop("optimizer", {})
        paths = {"out": "model", "checkpoints": "checkpoints", "log": "train.jsonl", "reference": "reference.json"}
        values: dict[str, Any] = {key: folder / path for key, path in paths.items()}
        values |= {"algorithm": algorithm, "model": str(base), "rows": folder / "rows.jsonl", "seed": 7}
        values |= {"max_length": 128, "train": TrainSettings(**train), "optimizer": kind(**optimizer)}
        return TrainJob(**values | changes)

    return job
