"""Counts of parameters, and what layers keep for the backward pass, against transformers' own models."""

from dataclasses import replace
from typing import Any

import pytest

from srlm.model.memory import Training, layer_activations
from srlm.model.shape import Shape, lora_parameters, parameters_of, shape_of

TINY: dict[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
HEADS = {"head_dim": 40}  # not hidden_size / num_attention_heads
MIXTURE = {"num_experts": 8, "num_local_experts": 8, "num_experts_per_tok": 2}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": HEADS | {"attention_bias": True, "mlp_bias": True},
    "smollm3": {},
    "mistral": HEADS,
    "qwen2": {},
    "qwen3": HEADS,
    "gemma": HEADS,
    "gemma2": HEADS,
    "gemma3_text": HEADS,
    "phi": {},
    "phi3": {},
    "olmo2": {},
    "granite": {},
    "mixtral": HEADS | MIXTURE,
    "qwen3_moe": HEADS | MIXTURE | {"moe_intermediate_size": 128},
    "olmoe": MIXTURE,
    "granitemoe": MIXTURE,
}
# Widths, layers, heads and the like of published models.
PUBLISHED: dict[str, dict[str, Any]] = {
    "llama": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32}
    | {"num_key_value_heads": 8, "head_dim": 64, "vocab_size": 128256, "tie_word_embeddings": True},  # Llama 3.2 1B
    "qwen3": {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16}
    | {"num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936, "tie_word_embeddings": True},  # Qwen3 0.6B
    "gemma3_text": {"hidden_size": 1152, "intermediate_size": 6912, "num_hidden_layers": 26, "num_attention_heads": 4}
    | {"num_key_value_heads": 1, "head_dim": 256, "vocab_size": 262144},  # Gemma 3 1B
    "mistral": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32}
    | {"num_key_value_heads": 8, "vocab_size": 32768, "tie_word_embeddings": False},  # Mistral 7B v0.3
    "phi": {"hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 32, "num_attention_heads": 32}
    | {"vocab_size": 51200, "tie_word_embeddings": False},  # Phi-2
    "olmo2": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 16}
    | {"vocab_size": 100352, "tie_word_embeddings": False},  # OLMo 2 1B
    "granite": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 40, "num_attention_heads": 32}
    | {"num_key_value_heads": 8, "vocab_size": 49155, "tie_word_embeddings": True},  # Granite 3.1 2B
    "qwen3_moe": {"hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 48, "num_attention_heads": 32}
    | {"num_key_value_heads": 4, "head_dim": 128, "vocab_size": 151936, "tie_word_embeddings": False}
    | {"num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768},  # Qwen3 30B-A3B
}
# Billions of parameters, as their makers give them.
NAMED = {"llama": 1.24, "qwen3": 0.60, "gemma3_text": 1.00, "mistral": 7.25, "phi": 2.78}
NAMED |= {"olmo2": 1.48, "granite": 2.53, "qwen3_moe": 30.5}
ROWS, TOKENS = 2, 250  # 500 tokens: a width that no weight has


def built(kind: str, settings: dict[str, Any], device: str = "meta") -> tuple[Any, Shape]:
    """The model, without weights on the meta device, and the shape that its config.json would tell."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    config = CONFIG_MAPPING[kind](**settings)
    with torch.device(device):
        return AutoModelForCausalLM.from_config(config), shape_of(config.to_dict())


@pytest.mark.parametrize("kind", FAMILIES)
def test_parameters_of_tiny_models(kind: str) -> None:
    model, shape = built(kind, TINY | FAMILIES[kind])
    assert parameters_of(shape).total == sum(weight.numel() for weight in model.parameters())
    embeddings = model.get_input_embeddings().weight.numel()
    assert parameters_of(shape).embeddings == embeddings
    assert (parameters_of(shape).head == 0) == (
        model.get_output_embeddings().weight is model.get_input_embeddings().weight
    )


@pytest.mark.parametrize("kind", FAMILIES)
def test_parameters_of_adapters(kind: str) -> None:
    from peft import LoraConfig, get_peft_model

    model, shape = built(kind, TINY | FAMILIES[kind])
    adapted = get_peft_model(model, LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM"))
    trained = sum(weight.numel() for weight in adapted.parameters() if weight.requires_grad)
    assert lora_parameters(shape, 8) == trained


@pytest.mark.parametrize("kind", PUBLISHED)
def test_parameters_of_published_models(kind: str) -> None:
    model, shape = built(kind, PUBLISHED[kind])
    assert parameters_of(shape).total == sum(weight.numel() for weight in model.parameters())
    assert parameters_of(shape).total / 1e9 == pytest.approx(NAMED[kind], rel=0.01)


@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("kind", [kind for kind in FAMILIES if kind != "granitemoe"])
def test_what_a_layer_keeps_for_the_backward_pass(kind: str, bfloat16: bool) -> None:
    settings = TINY | FAMILIES[kind] | {"attention_bias": False, "mlp_bias": False}
    kept = [kept_by(kind, settings | {"num_hidden_layers": layers}, bfloat16) for layers in (2, 3)]
    shape = shape_of({"model_type": kind} | settings)
    job = Training(ROWS, TOKENS, gpu=bfloat16)  # on a GPU the forward pass is in bfloat16
    assert layer_activations(shape, job) == pytest.approx((kept[1] - kept[0]) / (ROWS * TOKENS), rel=0.1)


@pytest.mark.parametrize("dropout", [0.0, 0.05])
def test_what_a_layer_keeps_under_lora(dropout: float) -> None:
    settings = TINY | HEADS
    kept = [kept_by("llama", settings | {"num_hidden_layers": layers}, False, dropout) for layers in (2, 3)]
    job = Training(ROWS, TOKENS, lora_rank=8, lora_dropout=dropout, gpu=False)
    planned = layer_activations(shape_of({"model_type": "llama"} | settings), job)
    assert planned == pytest.approx((kept[1] - kept[0]) / (ROWS * TOKENS), rel=0.05)


def kept_by(kind: str, settings: dict[str, Any], bfloat16: bool, dropout: float | None = None) -> int:
    """Bytes that a forward pass of padded rows saves for the backward pass, but for weights and copies of them."""
    import torch

    model, _ = built(kind, settings, "cpu")
    weights = {tuple(weight.shape) for weight in model.parameters()}
    if dropout is not None:
        from peft import LoraConfig, get_peft_model

        adapters = LoraConfig(r=8, lora_dropout=dropout, target_modules="all-linear", task_type="CAUSAL_LM")
        model = get_peft_model(model, adapters).get_base_model()
    own = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    saved: dict[int, Any] = {}

    def keep(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        copy = tensor.dtype == torch.bfloat16 and {tuple(tensor.shape), tuple(tensor.shape[::-1])} & weights
        if storage.data_ptr() not in own and not copy:
            saved[storage.data_ptr()] = tensor  # held, so that no other gets its place
        return tensor

    ids, mask = torch.randint(3, 300, (ROWS, TOKENS)), torch.ones(ROWS, TOKENS, dtype=torch.long)
    mask[0, -5:] = 0
    model.train()
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=bfloat16),
    ):
        model.base_model(input_ids=ids, attention_mask=mask, use_cache=False)
    return sum(tensor.untyped_storage().nbytes() for tensor in saved.values())


def test_a_dense_layer_among_experts() -> None:
    settings = TINY | FAMILIES["qwen3_moe"] | {"mlp_only_layers": [1]}
    model, shape = built("qwen3_moe", settings)
    assert shape.dense_layers == 1
    assert parameters_of(shape).total == sum(weight.numel() for weight in model.parameters())
    assert parameters_of(replace(shape, dense_layers=0)).total != parameters_of(shape).total
