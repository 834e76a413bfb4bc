"""The order of the training rows: random, but with rows of like length beside each other within an optimizer step.

IFT rows are short and EFT rows long; in one padded forward pass most of the work would go into padding. Which rows make
up a step stays random; only how a step is shared out into forward passes follows length, which leaves the gradient
as it is. One row is an exception: the longest one changes places with a row of the first step, so that what does not
fit into memory is known there and not hours later.
"""

from collections.abc import Iterator
from typing import Any

import torch


class StepOrder(torch.utils.data.Sampler[int]):
    """A permutation of the rows per epoch, from (seed, epoch), sorted by length within each optimizer step.

    `longest_first`: the first epoch begins with the longest row.
    """

    def __init__(self, lengths: list[int], rows_per_step: int, seed: int, longest_first: bool = True) -> None:
        self.lengths, self.rows_per_step, self.seed, self.epoch = lengths, rows_per_step, seed, 0
        self.longest_first = longest_first

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(len(self.lengths), generator=generator).tolist()
        if self.longest_first and self.epoch == 0:
            place = order.index(max(order, key=self.lengths.__getitem__))
            order[0], order[place] = order[place], order[0]
        for start in range(0, len(order), self.rows_per_step):
            # the longest pass of a step comes first, too
            yield from sorted(order[start : start + self.rows_per_step], key=lambda row: -self.lengths[row])


class LevelledBatches:
    """Mixed into a trainer whose dataset has a `length` column: draws the rows in StepOrder.

    The log callback sets the epoch: accelerate's data loader forgets it when it skips batches on resume.
    """

    order: StepOrder
    longest_first = True  # False: it goes on from a checkpoint of before this was done

    def _get_train_sampler(self, train_dataset: Any = None) -> StepOrder:
        trainer: Any = self
        args = trainer.args
        rows = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
        self.order = StepOrder(list(trainer.train_dataset["length"]), rows, args.seed, self.longest_first)
        return self.order
