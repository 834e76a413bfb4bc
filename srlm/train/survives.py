"""How much of what a training learned is still there in the model that is saved, and in the model that generates.

A step of training changes a weight by less than bfloat16 can tell: the policy at its last step, in float32, is not the
model that the next iteration gets. So on a sample of the training rows the gain of the saved model over the starting
one is held against the policy's. The gain is DPO's margin without beta, or the drop of SFT's loss.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from srlm.train.encode import IGNORED, Reply
from srlm.train.head import own_head
from srlm.train.job import TrainJob
from srlm.train.models import cast
from srlm.train.steps import STEPS

ROWS = 64  # of the sample, at most
TOKENS = 16_384  # of the sample, at most: four passes over them take about as long as two or three steps of training
TOKENS_AT_ONCE = 2048  # in one forward pass, at most, unless a single reply has more


class Survival:
    """The figure of one training: call `before`, `trained` and `saved` in turn, in the first process only."""

    def __init__(self, job: TrainJob, rows: Any) -> None:
        order = random.Random(job.seed).sample(range(len(rows)), min(ROWS, len(rows)))
        self.replies: list[Reply] = []
        self.rows = tokens = 0
        for row in order:
            found = STEPS[job.algorithm].replies(rows[row])
            tokens += sum(len(ids) for ids, _, _ in found)
            if tokens > TOKENS and self.rows:
                break
            self.rows += 1
            self.replies += found
        self.start: float | None = None
        self.gain: float | None = None

    def before(self, trainer: Any) -> None:
        """Score the starting model, which the trainer's still is, also where it goes on from a checkpoint."""
        self.start = self._score(trainer.model, trainer.args.device)

    def trained(self, trainer: Any) -> None:
        """Score the policy at its last step."""
        found = self._score(trainer.accelerator.unwrap_model(trainer.model), trainer.args.device)
        self.gain = None if found is None or self.start is None else found - self.start

    def saved(self, model: Any, trainer: Any) -> dict[str, Any]:
        """The share of the policy's gain that the model as saved has, and in bfloat16; spoils the model.

        None where the policy has gained nothing, or where memory did not suffice.
        """
        stored = bfloat16 = None
        if self.gain is not None and self.gain > 0:
            stored = self._share(model, trainer)
            cast(model, torch.bfloat16)
            bfloat16 = self._share(model, trainer)
        return {"stored": stored, "bfloat16": bfloat16, "rows": self.rows}

    def _share(self, model: Any, trainer: Any) -> float | None:
        score = self._score(model, trainer.args.device)
        return None if score is None else round((score - self.start) / self.gain, 4)  # type: ignore[operator]

    def _score(self, model: Any, device: Any) -> float | None:
        """Sum over the replies of sign * log-probability, computed in float32; None without the memory for it."""
        try:
            with torch.no_grad(), _in_float32(model, device), own_head(model):
                return sum(self._passes(model))
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            return None

    def _passes(self, model: Any) -> Iterator[float]:
        """One forward pass after the other, with replies of like length together."""
        batch: list[Reply] = []
        for reply in sorted(self.replies, key=lambda reply: len(reply[0])):
            if batch and (len(batch) + 1) * len(reply[0]) > TOKENS_AT_ONCE:
                yield _log_probability(model, batch)
                batch = []
            batch.append(reply)
        yield _log_probability(model, batch)


def _log_probability(model: Any, batch: list[Reply]) -> float:
    """Sum of sign * log-probability of the batch's replies; padded on the right, where no token sees the padding."""
    device = next(model.parameters()).device
    ids = pad_sequence([torch.tensor(ids) for ids, _, _ in batch], batch_first=True).to(device)  # (B, T)
    labels = torch.full_like(ids, IGNORED)
    for row, (tokens, start, _) in enumerate(batch):
        labels[row, start : len(tokens)] = ids[row, start : len(tokens)]
    found = model(input_ids=ids, labels=labels, fused_lm_head=True).log_probs  # (B, T - 1), 0 where nothing is learned
    sign = torch.tensor([value for _, _, value in batch], dtype=torch.float64)
    return float(found.sum(1, dtype=torch.float64).cpu() @ sign)


@contextmanager
def _in_float32(model: Any, device: Any) -> Iterator[None]:
    """The model in evaluation, in float32 and on the device; then each tensor as it was, which loses nothing."""
    training, kept = model.training, {x: (x.device, x.dtype) for x in (*model.parameters(), *model.buffers())}
    model.eval()
    try:
        for x, (_, dtype) in kept.items():
            x.data = x.data.to(device=device, dtype=torch.float32 if dtype.is_floating_point else dtype)
        yield
    finally:
        for x, (place, dtype) in kept.items():
            x.data = x.data.to(device=place, dtype=dtype)
        model.train(training)
