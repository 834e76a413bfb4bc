"""The order of the training rows: random, but with rows of like length beside each other within an optimizer step.

IFT rows are short and EFT rows long; in one padded forward pass most of the work would go into padding. Which rows make
up a step stays random; only how a step is shared out into forward passes follows length, which leaves the gradient
as it is.
"""

from collections.abc import Iterator
from typing import Any

import torch


class StepOrder(torch.utils.data.Sampler[int]):
    """A permutation of the rows per epoch, from (seed, epoch), sorted by length within each optimizer step."""

    def __init__(self, lengths: list[int], rows_per_step: int, seed: int) -> None:
        self.lengths, self.rows_per_step, self.seed, self.epoch = lengths, rows_per_step, seed, 0

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(len(self.lengths), generator=generator).tolist()
        for start in range(0, len(order), self.rows_per_step):
            # longest first: what does not fit into memory is known at the first step
            yield from sorted(order[start : start + self.rows_per_step], key=lambda row: -self.lengths[row])


class LevelledBatches:
    """Mixed into a trainer whose dataset has a `length` column: draws the rows in StepOrder.

    The log callback sets the epoch: accelerate's data loader forgets it when it skips batches on resume.
    """

    order: StepOrder

    def _get_train_sampler(self, train_dataset: Any = None) -> StepOrder:
        trainer: Any = self
        args = trainer.args
        rows = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
        self.order = StepOrder(list(trainer.train_dataset["length"]), rows, args.seed)
        return self.order
