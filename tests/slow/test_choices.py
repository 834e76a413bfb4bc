"""vLLM's probabilities of scores, held against whole forward passes."""

import asyncio
import math
from pathlib import Path

import pytest

from tests.helpers.train_jobs import make_model, make_tokenizer

PREFIXES = ["Score:", "It is right.\nScore:", "Rating: **", "Score: "]
ASKED = [{"role": "user", "content": "Judge this."}]
SCORES = [str(score) for score in range(11)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model: its probabilities are flat, so that "1" and "10" both matter."""
    return make_model(tmp_path_factory.mktemp("model") / "m", make_tokenizer(), hidden_size=64)  # the least for vLLM


def by_transformers(model: Path, prefix: str, space: str) -> list[float]:
    """The probability of each score, of 1 that it ends there, from whole forward passes."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    network = AutoModelForCausalLM.from_pretrained(model).eval()
    head = tokenizer.apply_chat_template(ASKED, add_generation_prompt=True, tokenize=False) + prefix
    start = len(tokenizer(head)["input_ids"])
    digits = tokenizer.convert_tokens_to_ids(list("0123456789"))
    result = []
    for score in SCORES:
        ids = tokenizer(head + space + score)["input_ids"]
        with torch.no_grad():
            logs = network(torch.tensor([ids])).logits[0].log_softmax(-1)  # (T, vocabulary)
        path = sum(float(logs[place - 1, ids[place]]) for place in range(start, len(ids)))
        goes_on = float(logs[-1, digits].exp().sum())
        result.append(math.exp(path) * (1 - goes_on if score == "1" else 1))
    return result


def test_vllm_gives_the_probability_of_each_whole_number(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("srlm.engine.walk.UNASKED", -math.inf)  # a random model finds every number improbable
    from srlm.engine.vllm import VllmEngine
    from srlm.process.child import set_environment

    set_environment(str(model))
    engine = VllmEngine(str(model), None, 128, {}, seed=1)

    async def ask() -> list[list[float] | None]:
        cases = [(prefix, "" if prefix.endswith((" ", "*")) else " ") for prefix in PREFIXES]
        return await asyncio.gather(
            *(engine.choices(ASKED, prefix, [space + score for score in SCORES]) for prefix, space in cases),
            engine.choices(ASKED, "x" * 100, SCORES),
        )

    *found, overlong = asyncio.run(ask())
    for prefix, logs in zip(PREFIXES, found, strict=True):
        space = "" if prefix.endswith((" ", "*")) else " "
        expected = by_transformers(model, prefix, space)
        assert [math.exp(log) for log in logs or []] == pytest.approx(expected, rel=2e-3)
    assert overlong is None
