"""The families that people train, each after two steps of SFT and two of DPO: vLLM reads them as transformers does."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from srlm.model.chat import CHAT_OPTIONS
from tests.helpers.families import FAMILIES, as_from_gguf, make_family, two_steps
from tests.helpers.load_all import ASKED, PREFIX, WORDS, load_all
from tests.helpers.train_jobs import loaded, run

# vLLM's kernels for adapters of a mixture of experts need Triton, so they do not run on a CPU
NAMES = [*FAMILIES, "gemma3-base", *(f"{name}-lora" for name in FAMILIES if name != "mixtral")]
OLD, NEW = "0" * 39 + "1", "0" * 39 + "2"  # commits of a hub's model


def trained(name: str, folder: Path) -> Path:
    """M2 of a family, with "-lora" an adapter over M0.

    "gemma3-base" starts from a model without a chat template, as one made from a GGUF file.
    """
    family, _, kind = name.partition("-")
    model = make_family(folder / "M0", family, template=kind != "base")
    if kind == "base":
        as_from_gguf(model)
    for place, algorithm in enumerate(("sft", "dpo"), 1):
        job = two_steps(algorithm, model, folder / f"M{place}", rank=4 if kind == "lora" else 0)
        run(job)
        model = job.out
    return model


def by_transformers(folder: Path) -> list[float]:
    """The log-probabilities of the words, from whole forward passes."""
    import torch
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    network = loaded(folder).to(torch.float32).eval()
    head = tokenizer.apply_chat_template(ASKED, add_generation_prompt=True, tokenize=False, **CHAT_OPTIONS) + PREFIX
    start = len(tokenizer(head, add_special_tokens=False)["input_ids"])
    result = []
    for word in WORDS:
        ids = tokenizer(f"{head} {word}", add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logs = network(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)  # (T, vocabulary)
        result.append(sum(float(logs[place - 1, ids[place]]) for place in range(start, len(ids))))
    return result


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """M2 of each family, by name."""
    root = tmp_path_factory.mktemp("families")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # for models this small threads only get into each other's way
        return {name: trained(name, root / name) for name in NAMES}


@pytest.fixture(scope="module")
def cache(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hub's local cache: the main branch of someone/tiny was one model, and has become another."""
    root = tmp_path_factory.mktemp("cache")
    folder = root / "models--someone--tiny"
    for commit, name in ((OLD, "llama"), (NEW, "mistral")):
        shutil.copytree(models[name], folder / "snapshots" / commit)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(NEW)
    return root


@pytest.fixture(scope="module")
def asked(models: dict[str, Path], cache: Path) -> dict[str, Any]:
    """What vLLM makes of each of them, and of the hub's model at its old commit."""
    given: list[tuple[str, str, str | None]] = [(name, str(folder), None) for name, folder in models.items()]
    return load_all([*given, ("pinned", "someone/tiny", OLD)], HF_HUB_CACHE=str(cache), HF_HUB_OFFLINE="1")


@pytest.mark.parametrize("name", NAMES)
def test_vllm_gives_the_log_probabilities_of_transformers(
    name: str, models: dict[str, Path], asked: dict[str, Any]
) -> None:
    found = asked[name]
    assert "error" not in found, found
    assert found["logs"] == pytest.approx(by_transformers(models[name]), abs=1e-4)
    family = FAMILIES[name.partition("-")[0]]
    assert family.end in found["controls"]
    assert not any(control in text for text in found["texts"] for control in (family.end, family.bos or family.end))


def test_a_pinned_commit_is_what_vllm_loads(asked: dict[str, Any]) -> None:
    assert asked["pinned"]["logs"] == pytest.approx(asked["llama"]["logs"], abs=1e-6)
