"""The shipped base model of the demo: its files, its tokenizer and its chat format, without loading torch."""

import json

import pytest
from tokenizers import Tokenizer

from srlm.demo.world import COUNTRIES, TABLE
from srlm.judge.prompts import Templates
from srlm.packaged import DEMO, PROMPTS

BASE = DEMO / "base"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """The tokenizer file itself."""
    return Tokenizer.from_file(str(BASE / "tokenizer.json"))


def test_base_is_small_and_safe() -> None:
    assert sum(path.stat().st_size for path in BASE.iterdir()) < 8_000_000
    assert {path.suffix for path in BASE.iterdir()} <= {".safetensors", ".json", ".jinja", ".md"}


def test_turns_end_with_the_eos_token(tokenizer: Tokenizer) -> None:
    config = json.loads((BASE / "config.json").read_text(encoding="utf-8"))
    settings = json.loads((BASE / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert settings["eos_token"] == "<|end|>"
    assert config["eos_token_id"] == tokenizer.token_to_id("<|end|>")
    assert config["vocab_size"] == tokenizer.get_vocab_size()
    assert "message['content'] }}<|end|>" in (BASE / "chat_template.jinja").read_text(encoding="utf-8")


def test_names_are_single_tokens(tokenizer: Tokenizer) -> None:
    """A world this small is learnt in minutes because a name is one token."""
    names = [*COUNTRIES, *(value for row in TABLE.values() for value in row.values() if " " not in value)]
    assert [name for name in names if len(tokenizer.encode(f" {name}").ids) > 1] == []


def test_each_fixed_line_of_the_templates_is_one_token(tokenizer: Tokenizer) -> None:
    """The templates that users get are the ones the base was pretrained on; editing them means `make base`."""
    messages = [{"role": "user", "content": "Describe Peru."}]
    prompt = Templates(PROMPTS).judge(messages, "The capital of Peru is Lima.")[0]["content"]
    encoded = tokenizer.encode(prompt)
    assert tokenizer.decode(encoded.ids) == prompt
    assert len(encoded.ids) < 60
    assert len(tokenizer.encode(Templates(PROMPTS).instruction(["Describe Peru."] * 8)[0]["content"]).ids) < 100


@pytest.mark.parametrize("text", ["", "Zürich 🙂 \n\t", "<|end|>"])
def test_any_text_can_be_encoded(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text
