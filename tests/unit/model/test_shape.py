"""What a config.json says of a model's size."""

import pytest

from srlm.model.shape import UnknownShapeError, lora_parameters, parameters_of, shape_of, width_of
from tests.helpers.shapes import LLAMA_8B


def test_published_models_have_the_parameters_that_their_makers_name() -> None:
    llama = parameters_of(shape_of(LLAMA_8B))
    assert llama.total == 8_030_261_248  # Llama 3 8B
    assert llama.head == llama.embeddings == 128256 * 4096
    smollm = LLAMA_8B | {"vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30}
    smollm |= {"num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True}
    assert parameters_of(shape_of(smollm)).total == 134_515_008  # SmolLM2-135M
    mixtral = LLAMA_8B | {
        "model_type": "mixtral",
        "vocab_size": 32000,
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
    }
    assert parameters_of(shape_of(mixtral)).total == 46_702_792_704  # Mixtral 8x7B


def test_a_tied_head_has_no_parameters_of_its_own() -> None:
    tied = parameters_of(shape_of(LLAMA_8B | {"tie_word_embeddings": True}))
    assert tied.head == 0
    assert tied.total == parameters_of(shape_of(LLAMA_8B)).total - 128256 * 4096


def test_what_gemma_leaves_out_is_known() -> None:
    text = {"hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text", "num_hidden_layers": 34}
    shape = shape_of({"model_type": "gemma3", "torch_dtype": "bfloat16", "text_config": text, "vision_config": {}})
    assert (shape.heads, shape.key, shape.vocabulary, shape.tied, shape.width) == (8, 1024, 262208, True, 2)
    assert parameters_of(shape).total == 3_880_263_168  # Gemma 3 4B without what sees images


def test_layers_that_slide() -> None:
    kinds = ["sliding_attention"] * 5 + ["full_attention"]
    config = LLAMA_8B | {
        "model_type": "gemma3_text",
        "layer_types": kinds,
        "sliding_window": 512,
        "num_hidden_layers": 6,
    }
    shape = shape_of(config)
    assert (shape.window, shape.sliding_layers) == (512, 5)
    assert shape_of(LLAMA_8B | {"sliding_window": 512}).window == 0  # a window that no layer uses


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model_type": "mamba"}, "type mamba are not known"),
        ({}, "type unknown are not known"),
        ({"model_type": "llama"}, "does not say 'hidden_size'"),
        (LLAMA_8B | {"vocab_size": "many"}, "does not say"),
        (LLAMA_8B | {"num_attention_heads": 0}, "does not say"),
        (LLAMA_8B | {"layer_types": 3}, "does not say"),
    ],
)
def test_what_cannot_be_known_is_not_guessed(config: dict[str, object], words: str) -> None:
    with pytest.raises(UnknownShapeError, match=words):
        shape_of(config)


def test_adapters_grow_with_their_rank() -> None:
    shape = shape_of(LLAMA_8B)
    assert lora_parameters(shape, 0) == 0
    assert lora_parameters(shape, 16) == 2 * lora_parameters(shape, 8) == 41_943_040  # peft's own count for Llama 3 8B


@pytest.mark.parametrize(
    ("dtype", "width"), [("bfloat16", 2), ("torch.float16", 2), ("float32", 4), (None, 4), ("float64", 4)]
)
def test_width_of_a_weight(dtype: str | None, width: int) -> None:
    assert width_of(dtype) == width
