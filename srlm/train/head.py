"""TRL's LM head: log-probabilities in tiles of some tokens by some entries of the vocabulary, never the full logits.

TRL's trainers take it for the loss; `survives` for its figure. Where all logits were made at once, 4 rows of 1,024
tokens would take 4 GiB with 260,000 entries, and several times that in the backward pass.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from trl.kernels import chunked_logprob
from trl.trainer.utils import add_fused_lm_head

from srlm.model.memory import TILE_TOKENS_ON_CPU


def fit_tiles() -> None:
    """Make TRL's tiles smaller where its own kernels for a GPU do not run.

    There a tile is folded by torch, with some eight copies of it: 4 GiB with TRL's size. Small ones also stay in the
    processor's cache, and are faster. On a GPU a kernel folds a tile in place, and large ones keep it busy.
    """
    if not torch.cuda.is_available():
        chunked_logprob.TOKEN_CHUNK_SIZE = TILE_TOKENS_ON_CPU


@contextmanager
def own_head(model: Any) -> Iterator[None]:
    """The model's forward pass knows `fused_lm_head=True`, in the dtype of its weights.

    A trainer has put forward passes on the objects, TRL one with other outputs and accelerate one in bfloat16: they are
    set aside. `model` may be a peft model.
    """
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    kept = {part: part.__dict__.pop("forward", None) for part in {model, inner}}
    add_fused_lm_head(inner)
    try:
        yield
    finally:
        for part, forward in kept.items():
            part.__dict__.pop("forward", None)
            if forward:
                part.forward = forward
