"""DPO's loss as it was trained on: softened by consistency (CREAM), with an NLL term (Iterative RPO)."""

import math
from typing import Any

import pytest

from srlm.errors import UserError
from srlm.train.dpo import dpo_losses
from tests.helpers.train_jobs import Make, dpo_rows, encoded, encoder, log_of, run


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def one_row_a_step(make: Make, rows: list[dict[str, Any]], nll_weight: float, consistency: float) -> list[Any]:
    """The log of a training in which each step is one pair, so that its logged margin and loss are that pair's."""
    optimizer = {"batch_size": 1, "epochs": 1, "learning_rate": 2e-2, "beta": 0.5, "nll_weight": nll_weight}
    job = make("dpo", rows=rows, optimizer=optimizer, consistency=consistency)
    run(job)
    return log_of(job)


@pytest.mark.parametrize("c", [0.75, 0.4])
def test_softened_loss_is_c_dpo_plus_the_rest_of_swapped_dpo(make: Make, c: float) -> None:
    log = one_row_a_step(make, dpo_rows(6), 0.0, c)
    assert max(abs(row["reward_margin"]) for row in log) > 0.2  # else every loss would be ln 2
    for row in log:
        margin = row["reward_margin"]
        assert row["loss"] == pytest.approx(c * softplus(-margin) + (1 - c) * softplus(margin), abs=2e-3)


@pytest.mark.parametrize("c", [1.0, 0.8])
def test_nll_weight_adds_the_chosen_answers_loss_per_token(make: Make, c: float) -> None:
    rows = [row | {"id": str(i)} for i, row in enumerate(dpo_rows(1) * 4)]
    tokens = len(encoded(encoder(), "dpo", rows)[0]["chosen_ids"])
    for row in one_row_a_step(make, rows, 0.5, c):
        dpo = c * softplus(-row["reward_margin"]) + (1 - c) * softplus(row["reward_margin"])
        assert row["loss"] == pytest.approx(dpo - 0.5 * row["logps_chosen"] / tokens, abs=2e-3)


def test_without_the_options_trl_is_told_nothing_of_losses() -> None:
    assert dpo_losses(0.0, 1.0) == {}
    assert dpo_losses(1.0, 1.0) == {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 1.0]}


def test_a_loss_of_ones_own_beside_the_options_is_refused(make: Make) -> None:
    with pytest.raises(UserError, match="loss_type is set by srlm's own settings"):
        run(make("dpo", optimizer={"nll_weight": 1.0, "extra": {"loss_type": "ipo"}}))


def test_label_smoothing_that_the_loss_would_ignore_is_refused(make: Make) -> None:
    with pytest.raises(UserError, match="label_smoothing does nothing with this loss"):
        run(make("dpo", optimizer={"extra": {"label_smoothing": 0.1}}))
    run(make("dpo", optimizer={"extra": {"label_smoothing": 0.1, "loss_type": "robust"}}))


def test_a_checkpoint_of_another_consistency_is_not_gone_on_with(make: Make) -> None:
    assert make("dpo").digest() != make("dpo", consistency=0.9).digest()


def test_training_in_bfloat16_passes_the_check_of_its_reference(make: Make) -> None:
    """As on a GPU. Other rows share a forward pass than when the reference was computed, so that rounding differs."""
    job = make("dpo", optimizer={"extra": {"bf16": True}}, train={"per_device_batch": 2})
    run(job)
    first = log_of(job)[0]
    assert first["rewards_chosen"] == pytest.approx(0, abs=0.05)
