"""TRL's LM head: values of the whole vocabulary are there for the tokens of a tile at once, never for a whole pass."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from trl.kernels import chunked_logprob
from trl.trainer import utils

from srlm.model.memory import TILE_TOKENS, TILE_TOKENS_ON_CPU, TILE_VOCABULARY
from srlm.settings import LoraSettings
from srlm.train import head
from tests.helpers.train_jobs import Make, loaded, log_of, make_tokenizer, run

VOCABULARY = len(make_tokenizer())


class Watch(TorchDispatchMode):
    """Sees every tensor that is made, also in the backward pass: for how many tokens one has the whole vocabulary."""

    tokens = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor) and VOCABULARY in tensor.shape:
                self.tokens = max(self.tokens, tensor.numel() // VOCABULARY)
        return made


def tokens_at_once(job: Any) -> int:
    """Of a whole training: with DPO's reference, and with what is measured before and after."""
    with Watch() as watch:
        run(job)
    return watch.tokens


LORA = {"lora": LoraSettings(rank=4)}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "SFT": ("sft", {}),
    "SFT, LoRA": ("sft", {"train": LORA}),
    "SFT, checkpointing": ("sft", {"train": {"gradient_checkpointing": True}}),
    "SFT, bfloat16": ("sft", {"optimizer": {"extra": {"bf16": True}}}),
    "DPO": ("dpo", {}),
    "DPO, LoRA": ("dpo", {"train": LORA}),
    "DPO, NLL": ("dpo", {"optimizer": {"nll_weight": 1.0}}),
    "DPO, softened": ("dpo", {"consistency": 0.8}),
    "DPO, LoRA, NLL, softened": ("dpo", {"train": LORA, "optimizer": {"nll_weight": 1.0}, "consistency": 0.8}),
}


@pytest.mark.parametrize("case", CASES)
def test_no_pass_makes_all_its_logits(make: Make, case: str) -> None:
    """Passes have more tokens than a tile here, else one would be smaller."""
    algorithm, changes = CASES[case]
    assert tokens_at_once(make(algorithm, **changes)) == TILE_TOKENS_ON_CPU


@pytest.mark.parametrize("algorithm", ["sft", "dpo"])
def test_tiles_change_memory_and_not_the_loss(make: Make, monkeypatch: Any, algorithm: str) -> None:
    ours, theirs = make(algorithm, "ours"), make(algorithm, "theirs")
    run(ours)
    monkeypatch.setattr(head, "TILE_TOKENS_ON_CPU", TILE_TOKENS)
    assert tokens_at_once(theirs) > TILE_TOKENS_ON_CPU
    for name in ("loss", "grad_norm"):
        found = [[row[name] for row in log_of(job)] for job in (ours, theirs)]
        assert found[0] == pytest.approx(found[1], rel=1e-4)


def test_a_gpu_keeps_the_tiles_of_trls_kernels(monkeypatch: Any) -> None:
    monkeypatch.setattr(chunked_logprob, "TOKEN_CHUNK_SIZE", TILE_TOKENS)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    head.fit_tiles()
    assert chunked_logprob.TOKEN_CHUNK_SIZE == TILE_TOKENS


def test_the_plan_knows_trls_tiles() -> None:
    """A TRL with others wants another plan."""
    assert f"\nTOKEN_CHUNK_SIZE = {TILE_TOKENS}\n" in Path(chunked_logprob.__file__).read_text()
    assert utils._CHUNKED_LOGPROB_CHUNK_SIZE == TILE_VOCABULARY


def test_own_head_sets_a_trainers_forward_pass_aside(base: Path) -> None:
    """And puts it back."""
    model, ids = loaded(base), torch.tensor([[5, 6, 7, 8, 9]])
    labels = torch.tensor([[-100, -100, 7, 8, 9]])
    with torch.no_grad():
        wanted = model(ids).logits[:, :-1].log_softmax(-1).gather(2, ids[:, 1:, None])[..., 0]

    def trainers(*_: Any, **__: Any) -> None:
        raise AssertionError("the trainer's own")

    model.forward = trainers
    with torch.no_grad(), head.own_head(model):
        found = model(input_ids=ids, labels=labels, fused_lm_head=True).log_probs
    assert found[0].tolist() == pytest.approx([0, *wanted[0, 1:].tolist()], abs=1e-5)
    assert model.forward is trainers
