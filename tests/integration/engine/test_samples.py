"""What becomes of vLLM's outputs and of prompts that a template refuses, with the engine itself left out."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from srlm.engine import Sample, Sampling
from srlm.engine.vllm import VllmEngine
from srlm.model.chat import end_of_turn_ids
from tests.helpers.families import NO_SYSTEM
from tests.helpers.train_jobs import CHATML, make_tokenizer


def engine(tokenizer: Any) -> Any:
    """Without vLLM."""
    made: Any = VllmEngine.__new__(VllmEngine)
    made._tokenizer, made._stop_ids, made._max_length = tokenizer, end_of_turn_ids(tokenizer), 128
    return made


def output(tokenizer: Any, text: str) -> Any:
    """As vLLM gives it: the text without special tokens, the ids with all."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return SimpleNamespace(text=tokenizer.decode(ids, skip_special_tokens=True), token_ids=ids, finish_reason="stop")


@pytest.mark.parametrize("special", [True, False])
def test_thoughts_are_cut_off_whatever_kind_of_token_their_marks_are(special: bool) -> None:
    from transformers import AddedToken

    tokenizer = make_tokenizer()
    tokenizer.add_tokens([AddedToken(mark, special=special) for mark in ("<think>", "</think>")])
    reply = output(tokenizer, "<think>maybe 1</think>\n\nRed.<|im_end|>")
    assert ("<think>" in reply.text) != special
    assert engine(tokenizer)._sample(reply) == Sample("Red.", len(reply.token_ids), "stop")
    unclosed = output(tokenizer, "<think>maybe 1<|im_end|>")
    assert engine(tokenizer)._sample(unclosed) == Sample("", len(unclosed.token_ids), "unfinished")


def test_a_prompt_that_the_template_refuses_is_never_begun() -> None:
    asked = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]
    samples = asyncio.run(engine(make_tokenizer(NO_SYSTEM + CHATML)).sample(asked, Sampling(2, 1, 1, 8), 1))
    assert samples == [Sample("", 0, "refused")] * 2
