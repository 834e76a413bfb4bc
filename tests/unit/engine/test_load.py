"""How a model is loaded on a machine: how many engines, over how many GPUs each, and how many rows at once."""

from pathlib import Path
from typing import Any

import pytest

from srlm.config import apply_overrides, parse_config
from srlm.engine.load import LocalModel, local_model
from srlm.engine.replicas import shares_of_devices
from srlm.process.machine import Machine
from srlm.store import write_json
from tests.helpers.machines import GIB, pretend, with_gpus
from tests.helpers.shapes import LLAMA_8B

LLAMA_70B = LLAMA_8B | {
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
}
UNKNOWN = {"model_type": "mamba"}


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """How a model with this config.json is loaded on a machine, with these settings."""

    def load(config: dict[str, Any], machine: Machine, *overrides: str, **more: Any) -> LocalModel:
        write_json(tmp_path / "config.json", config)
        pretend(monkeypatch, machine)
        settings = parse_config(apply_overrides({"model": {"path": str(tmp_path)}}, list(overrides)), "test")
        return local_model(settings, str(tmp_path), None, **more)

    return load


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_a_model_that_one_gpu_holds_has_an_engine_on_each(loaded: Any, count: int) -> None:
    found = loaded(LLAMA_8B, with_gpus(count))
    assert (found.replicas, found.cards, found.arguments) == (count, 1, {})


# GPUs -> (engines, GPUs of each) of 70 billion parameters: 132 GiB of weights in 16 bits.
@pytest.mark.parametrize(("count", "expected"), [(8, (2, 4)), (4, (1, 4)), (3, (1, 2)), (2, (1, 2)), (1, (1, 1))])
def test_a_larger_model_is_spread_over_the_smallest_group_that_holds_it(
    loaded: Any, count: int, expected: tuple[int, int]
) -> None:
    found = loaded(LLAMA_70B, with_gpus(count))
    assert (found.replicas, found.cards) == expected
    assert found.arguments == ({"tensor_parallel_size": found.cards} if found.cards > 1 else {})
    assert loaded(LLAMA_70B, with_gpus(8, 141 * GIB)).cards == 2


def test_what_the_user_says_of_groups_stands(loaded: Any) -> None:
    found = loaded(LLAMA_8B, with_gpus(8), "engine.args.tensor_parallel_size=4")
    assert (found.replicas, found.cards, found.arguments) == (2, 4, {"tensor_parallel_size": 4})
    layers = loaded(LLAMA_70B, with_gpus(8), "engine.args.pipeline_parallel_size=2")
    assert (layers.replicas, layers.cards) == (2, 4)
    assert layers.arguments == {"pipeline_parallel_size": 2, "tensor_parallel_size": 2}
    assert loaded(LLAMA_70B, with_gpus(8), "engine.args.tensor_parallel_size=1").replicas == 8
    half = loaded(LLAMA_8B, with_gpus(8, 24 * GIB), "engine.args.gpu_memory_utilization=0.5")
    assert half.cards > loaded(LLAMA_8B, with_gpus(8, 24 * GIB)).cards


def test_replicas_are_at_most_as_many_as_the_gpus_hold(loaded: Any) -> None:
    assert loaded(LLAMA_8B, with_gpus(1), "engine.replicas=2").replicas == 1
    assert loaded(LLAMA_8B, with_gpus(8), "engine.replicas=2").replicas == 2
    assert loaded(LLAMA_70B, with_gpus(8), "engine.replicas=8").replicas == 2
    assert loaded(LLAMA_8B, with_gpus(2), "engine.args.tensor_parallel_size=4").replicas == 1  # vLLM says what is wrong


def test_a_model_of_unknown_shape_is_spread_only_by_the_user(loaded: Any) -> None:
    assert (loaded(UNKNOWN, with_gpus(8)).replicas, loaded(UNKNOWN, with_gpus(8)).cards) == (8, 1)
    assert loaded(UNKNOWN, with_gpus(8), "engine.args.tensor_parallel_size=2").replicas == 4


def test_on_a_cpu_there_is_one_engine_unless_the_user_says_otherwise(loaded: Any) -> None:
    laptop = Machine(memory=12 * GIB)
    assert (loaded(LLAMA_8B, laptop).replicas, loaded(LLAMA_8B, laptop).cards) == (1, 0)
    assert loaded(LLAMA_8B, laptop, "engine.replicas=2").replicas == 2


def test_rows_at_once_follow_the_sequences_of_all_engines(loaded: Any) -> None:
    laptop = Machine(memory=12 * GIB)
    assert loaded(LLAMA_8B, laptop).in_flight == 256
    assert loaded(LLAMA_8B, laptop, "engine.replicas=2").in_flight == 512
    assert loaded(LLAMA_8B, with_gpus(3)).in_flight == 3 * 1024
    assert loaded(LLAMA_8B, with_gpus(3, 48 * GIB)).in_flight == 3 * 256
    assert loaded(LLAMA_8B, with_gpus(3), "engine.args.max_num_seqs=8").in_flight == 24


def test_another_models_context_may_be_longer(loaded: Any) -> None:
    assert loaded(LLAMA_8B, with_gpus(1)).max_length == 2048
    assert loaded(LLAMA_8B, with_gpus(1), whole_context=True).max_length is None


def test_each_engine_has_gpus_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert shares_of_devices(2, 1) == [{"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "1"}]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7,5,3,1,0")
    assert shares_of_devices(2, 2) == [{"CUDA_VISIBLE_DEVICES": "7,5"}, {"CUDA_VISIBLE_DEVICES": "3,1"}]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-8932,GPU-77aa,GPU-0001")
    assert shares_of_devices(3, 1)[2] == {"CUDA_VISIBLE_DEVICES": "GPU-0001"}


def test_engines_on_a_cpu_share_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(5)))
    assert shares_of_devices(2, 0) == [{"OMP_NUM_THREADS": "2"}] * 2
    assert shares_of_devices(8, 0)[0] == {"OMP_NUM_THREADS": "1"}
