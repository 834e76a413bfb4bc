"""What of a training survives its saving: a float32 model keeps it, a bfloat16 one loses small steps."""

from typing import Any

import pytest

from srlm.settings import LoraSettings
from tests.helpers.train_jobs import Make, log_of, make_model, make_tokenizer, run, weights


@pytest.fixture(scope="module")
def half(tmp_path_factory: Any) -> str:
    """A model that came in bfloat16."""
    return str(make_model(tmp_path_factory.mktemp("half"), make_tokenizer(), "bfloat16"))


def survives(
    make: Make, half: str, algorithm: str, save_dtype: str, rank: int = 0, rate: float = 2e-5, merge: bool = False
) -> Any:
    train = {"save_dtype": save_dtype, "lora": LoraSettings(rank=rank)}
    optimizer = {"learning_rate": rate}
    job = make(algorithm, f"{save_dtype}-{rank}", model=half, train=train, optimizer=optimizer, merge=merge)
    return run(job)["survives"]


@pytest.mark.parametrize(
    ("algorithm", "rate"),
    [("sft", 3e-6), ("dpo", 1e-6)],  # seen in bfloat16: 0.20 and 0.05
)
def test_float32_keeps_small_steps_and_bfloat16_loses_them(make: Make, half: str, algorithm: str, rate: float) -> None:
    whole = survives(make, half, algorithm, "float32", rate=rate)
    assert whole["stored"] == pytest.approx(1, abs=0.01)
    assert whole["rows"] == 20
    assert whole["bfloat16"] < 0.5
    lossy = survives(make, half, algorithm, "base", rate=rate)
    assert lossy == whole | {"stored": whole["bfloat16"]}  # it is saved as it generates


def test_an_adapter_keeps_steps_that_merging_would_lose(make: Make, half: str) -> None:
    """Seen in bfloat16: the adapter beside its base 1.00, merged into it 0.15."""
    apart = survives(make, half, "dpo", "float32", 4, 1e-6)
    assert apart["stored"] == 1
    assert apart["bfloat16"] == pytest.approx(1, abs=0.1)
    merged = survives(make, half, "dpo", "base", 4, 1e-6, merge=True)
    assert merged["bfloat16"] < 0.5


def test_the_gain_is_trls_own_margin(make: Make, half: str, monkeypatch: Any) -> None:
    """One batch over and over, so that the log's last margin is of the whole sample, but for the last step."""
    from srlm.train import survives as module

    kept: list[Any] = []
    real = module.Survival.trained

    def spying(self: Any, trainer: Any) -> None:
        real(self, trainer)
        kept.append(self)

    monkeypatch.setattr(module.Survival, "trained", spying)
    optimizer = {"batch_size": 20, "epochs": 40, "beta": 0.5}
    run(job := make("dpo", model=half, optimizer=optimizer, train={"per_device_batch": 20}))
    margin = kept[0].gain / kept[0].rows
    assert log_of(job)[-1]["reward_margin"] == pytest.approx(0.5 * margin, rel=0.05)


def test_a_training_that_gains_nothing_has_no_share(make: Make, half: str) -> None:
    assert survives(make, half, "dpo", "float32", rate=1e-30) == {"stored": None, "bfloat16": None, "rows": 20}


def test_the_sample_is_bounded_by_tokens_and_at_least_one_row(make: Make, half: str, monkeypatch: Any) -> None:
    monkeypatch.setattr("srlm.train.survives.TOKENS", 1)
    assert survives(make, half, "dpo", "float32")["rows"] == 1


def test_measuring_changes_no_weight(make: Make, half: str, monkeypatch: Any) -> None:
    run(measured := make("dpo", "a", model=half))
    for name in ("before", "trained"):
        monkeypatch.setattr(f"srlm.train.survives.Survival.{name}", lambda *_: None)
    info = run(plain := make("dpo", "b", model=half))
    assert info["survives"]["stored"] is None
    assert weights(measured) == weights(plain)
