"""The order of the rows: levelled within steps, the longest row first, and as it was in a training of before that."""

import json
from itertools import pairwise
from typing import Any

import pytest

from srlm.train import checkpoints
from srlm.train.batches import StepOrder
from tests.helpers.train_jobs import CutError, Make, dpo_rows, log_of, run, said, sft_rows, weights

LENGTHS = [(i * 37) % 101 for i in range(50)]


def test_row_order_is_a_permutation_levelled_within_steps() -> None:
    order = StepOrder(LENGTHS, 8, seed=3)
    first = list(order)
    assert sorted(first) == list(range(50))
    assert list(order) == first
    steps = [first[i : i + 8] for i in range(0, 50, 8)]
    assert all(LENGTHS[a] >= LENGTHS[b] for step in steps for a, b in pairwise(step))
    order.epoch = 1
    assert {tuple(sorted(list(order)[i : i + 8])) for i in range(0, 50, 8)} != {tuple(sorted(s)) for s in steps}


@pytest.mark.parametrize("seed", range(5))
def test_the_first_epoch_begins_with_the_longest_row(seed: int) -> None:
    """It changes places with one other, and later epochs are as they were."""
    order, before = StepOrder(LENGTHS, 8, seed), StepOrder(LENGTHS, 8, seed, longest_first=False)
    assert LENGTHS[next(iter(order))] == max(LENGTHS)
    assert sorted(order) == list(range(50))
    steps = [[set(list(rows)[i : i + 8]) for i in range(0, 50, 8)] for rows in (order, before)]
    assert sum(len(ours - theirs) for ours, theirs in zip(*steps, strict=True)) <= 2
    order.epoch = before.epoch = 1
    assert list(order) == list(before)


def with_a_long_row(algorithm: str, place: int) -> list[dict[str, Any]]:
    """20 rows; the reply of the one that is in this place of the order without the longest first is long."""
    rows = sft_rows() if algorithm == "sft" else dpo_rows()
    late = list(StepOrder([1] * 20, 8, 7, longest_first=False))[place]
    rows[late]["completion" if algorithm == "sft" else "rejected"] = said("green " * 12)
    return rows


@pytest.mark.parametrize("algorithm", ["sft", "dpo"])
def test_the_first_forward_pass_has_the_most_tokens(make: Make, monkeypatch: Any, algorithm: str) -> None:
    from transformers import Trainer

    widths: list[int] = []
    real = Trainer.training_step

    def spying(self: Any, model: Any, inputs: Any, *rest: Any) -> Any:
        widths.append(inputs["input_ids"].shape[1])
        return real(self, model, inputs, *rest)

    monkeypatch.setattr(Trainer, "training_step", spying)
    run(make(algorithm, rows=with_a_long_row(algorithm, -1), optimizer={"epochs": 1}))
    assert widths[0] == max(widths) > max(widths[1:])


def test_a_training_of_before_goes_on_in_its_own_order(make: Make, cut_after: Any, monkeypatch: Any) -> None:
    """In today's order it would never see the row that has changed places, and another one twice."""
    rows = with_a_long_row("sft", -1)
    run(today := make(name="today", rows=rows))
    with monkeypatch.context() as before:
        before.setattr(checkpoints, "longest_first", lambda _: False)
        run(straight := make(name="straight", rows=rows))
        cut_after(3)
        with pytest.raises(CutError):
            run(job := make(name="cut", rows=rows))
    for seal in job.checkpoints.glob("*/complete.json"):
        told = json.loads(seal.read_text())
        del told["longest_first"]
        seal.write_text(json.dumps(told))
    cut_after(5)  # and once more: what it seals itself names that order
    with pytest.raises(CutError):
        run(job)
    cut_after(0)
    assert run(job)["resumed_from_step"] == 4
    assert weights(job) == weights(straight) != weights(today)
    assert log_of(job)[2]["loss"] == log_of(straight)[2]["loss"] != log_of(today)[2]["loss"]
