"""What a training and an engine hold, part by part."""

from dataclasses import replace
from typing import Any

import pytest

from srlm.model.engine_memory import EngineUse, engine_memory, kv_cache, spread_out, tensor_groups
from srlm.model.memory import Training, activations, training_memory
from srlm.model.shape import Shape, lora_parameters, parameters_of, shape_of

CARD = 80 * 2**30
SHAPE = shape_of(
    {
        "model_type": "llama",
        "vocab_size": 32000,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "torch_dtype": "bfloat16",
    }
)
TOTAL = parameters_of(SHAPE).total
SFT = Training(rows=1, tokens=2048, accumulation=16)


def total(job: Training, shape: Shape = SHAPE) -> int:
    return sum(training_memory(shape, job).values())


def test_weights_gradients_and_moments_of_a_full_training() -> None:
    parts = training_memory(SHAPE, SFT)
    assert parts["weights"] == parts["gradients"] == 4 * TOTAL
    assert parts["optimizer"] == 8 * TOTAL
    assert parts["gradient buckets"] == 0
    assert parts["bfloat16 copies"] == 2 * parameters_of(SHAPE).layers


def test_dpo_has_two_sequences_a_row_and_holds_no_second_model() -> None:
    single = replace(SFT, checkpointing=True)
    pairs = replace(single, pairs=True)
    assert activations(SHAPE, pairs) == 2 * activations(SHAPE, single)
    assert total(pairs) - total(single) < TOTAL  # bytes: a model in bfloat16 would take twice that


def test_lora_trains_little_and_keeps_the_rest_as_it_was_saved() -> None:
    parts, adapters = training_memory(SHAPE, replace(SFT, lora_rank=16)), lora_parameters(SHAPE, 16)
    assert parts["weights"] == 2 * TOTAL + 4 * adapters
    assert parts["optimizer"] == 8 * adapters
    assert parts["bfloat16 copies"] == 0
    on_cpu = training_memory(SHAPE, replace(SFT, lora_rank=16, gpu=False))
    assert on_cpu["weights"] == 4 * TOTAL + 4 * adapters


def test_what_takes_less_takes_less() -> None:
    assert total(replace(SFT, checkpointing=True)) < total(SFT)
    assert total(replace(SFT, tokens=1024)) < total(SFT)
    assert total(SFT) < total(replace(SFT, rows=2))
    assert total(replace(SFT, lora_rank=16)) < total(replace(SFT, lora_rank=16, lora_dropout=0.1))
    assert total(replace(SFT, lora_rank=16, checkpointing=True)) < total(replace(SFT, checkpointing=True)) // 3


def test_several_processes_hold_buckets_of_gradients() -> None:
    assert total(replace(SFT, processes=8)) - total(SFT) == 4 * TOTAL


def test_with_checkpointing_a_layer_keeps_its_input_alone() -> None:
    assert activations(SHAPE, replace(SFT, checkpointing=True)) == 32 * 2048 * 4096 * 4


def test_without_accumulation_gradients_come_as_activations_go() -> None:
    large, small = replace(SFT, rows=8, accumulation=1), replace(SFT, accumulation=1, checkpointing=True)
    assert training_memory(SHAPE, large)["gradients"] == 0  # the LM head's moment is the fullest
    assert training_memory(SHAPE, small)["gradients"] == 4 * TOTAL  # the end of the backward pass is
    assert total(replace(large, accumulation=2)) > total(large)


def test_with_checkpointing_the_fullest_moment_is_the_end_of_the_forward_pass() -> None:
    parts = training_memory(SHAPE, replace(SFT, checkpointing=True))
    assert parts["bfloat16 copies"] == 2 * parameters_of(SHAPE).layers


@pytest.mark.parametrize(
    ("tokens", "accumulation", "settings", "measured"),
    [
        (256, 2, {}, 4.30),
        (256, 2, {"checkpointing": True}, 2.83),
        (256, 2, {"lora_rank": 16}, 3.13),
        (1024, 1, {"checkpointing": True}, 4.48),
    ],
)
def test_the_plan_for_a_cpu_is_near_what_was_measured(
    tokens: int, accumulation: int, settings: dict[str, Any], measured: float
) -> None:
    """SFT of SmolLM2-135M's shape by benchmarks/memory.py, in GiB: what is lost grows with tokens, too."""
    smol = {"vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30}
    heads = {"num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True}
    shape = shape_of({"model_type": "llama", "torch_dtype": "float32"} | smol | heads)
    job = Training(4, tokens, accumulation=accumulation, gpu=False, **settings)
    assert total(job, shape) / 2**30 == pytest.approx(measured, rel=0.15)


def test_on_a_cpu_large_blocks_are_given_back_whole() -> None:
    """So that nothing is lost between them."""
    on_cpu = replace(SFT, gpu=False)
    assert training_memory(SHAPE, on_cpu)["lost between blocks"] == 0
    assert training_memory(SHAPE, replace(on_cpu, tokens=2047))["lost between blocks"] > 0


def test_experts_that_a_token_goes_through_count_for_activations_and_all_for_weights() -> None:
    mixture = replace(SHAPE, experts=8, active=2, expert_mlp=SHAPE.mlp)
    more = replace(mixture, experts=16)
    assert activations(mixture, SFT) == activations(more, SFT) > activations(SHAPE, SFT)
    assert parameters_of(more).total > parameters_of(mixture).total > TOTAL


def test_an_engine_needs_its_weights_and_one_sequence() -> None:
    parts = engine_memory(SHAPE, EngineUse(4096, CARD, {}))
    assert parts["weights"] == 2 * TOTAL
    assert parts["KV cache of one sequence"] == 2 * 32 * 4096 * 4096 * 2  # 2 GiB for Llama 2 7B
    spread = engine_memory(SHAPE, EngineUse(4096, CARD, {"tensor_parallel_size": 4}))
    assert spread["weights"] == TOTAL // 2
    assert engine_memory(SHAPE, EngineUse(4096, CARD, {"dtype": "float32"}))["weights"] == 4 * TOTAL
    assert engine_memory(SHAPE, EngineUse(4096, 0, {}))["weights"] == 4 * TOTAL  # on a CPU


def test_the_weights_are_cut_as_vllm_can_cut_them() -> None:
    """Heads, MLP and vocabulary evenly; heads of keys and values evenly, or each copied as often."""
    use = EngineUse(4096, CARD, {})
    assert tensor_groups(SHAPE, use, 8) == [1, 2, 4, 8]
    assert tensor_groups(SHAPE, use, 3) == [1, 2]
    three = replace(SHAPE, heads=24, key=6 * SHAPE.head, mlp=12288, vocabulary=64 * 3 * 100)
    assert tensor_groups(three, use, 8) == [1, 2, 3, 6]  # 4 divides 24 heads, but not 6 of keys
    assert tensor_groups(replace(three, key=SHAPE.head), use, 8) == [1, 2, 3, 4, 6, 8]
    assert tensor_groups(replace(SHAPE, mlp=11010), use, 8) == [1, 2]
    assert tensor_groups(SHAPE, replace(use, arguments={"pipeline_parallel_size": 2}), 8) == [1, 2, 4]
    assert tensor_groups(SHAPE, replace(use, arguments={"pipeline_parallel_size": 8}), 2) == [1]


def test_the_smallest_group_that_holds_the_model_with_room_to_spare() -> None:
    one = sum(engine_memory(SHAPE, EngineUse(4096, CARD, {})).values())
    for card, expected in ((2 * one, 1), (int(one / 0.9), 2), (one // 2, 4), (one // 100, 8)):
        assert spread_out(SHAPE, EngineUse(4096, card, {}), 8).spread == expected
    asked = EngineUse(4096, one // 100, {"tensor_parallel_size": 2})
    assert spread_out(SHAPE, asked, 8) is asked


def test_an_engine_holds_the_adapter_beside_the_weights() -> None:
    parts = engine_memory(SHAPE, EngineUse(4096, CARD, {}, lora_rank=16))
    assert parts["adapter"] == 2 * lora_parameters(SHAPE, 16)
    assert engine_memory(SHAPE, EngineUse(4096, CARD, {}))["adapter"] == 0


def test_sliding_layers_keep_no_more_than_their_window() -> None:
    sliding = replace(SHAPE, window=512, sliding_layers=30)
    assert kv_cache(sliding, 4096, 2) == 2 * SHAPE.key * 2 * (2 * 4096 + 30 * 512)
    assert kv_cache(sliding, 256, 2) == kv_cache(SHAPE, 256, 2)


@pytest.mark.parametrize(("arguments", "share"), [({}, 0.92), ({"gpu_memory_utilization": 0.5}, 0.5)])
def test_the_share_that_vllm_takes(arguments: dict[str, object], share: float) -> None:
    assert EngineUse(4096, CARD, arguments).share == share
