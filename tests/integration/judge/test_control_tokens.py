"""The judge's prompts through real tokenizers: no control token comes from data."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from srlm.judge.rubric import load_rubric
from srlm.model.chat import CHAT_OPTIONS, control_strings, ensure_chat_template
from srlm.packaged import DEMO, PROMPTS
from tests.helpers.attacks import ATTACKS
from tests.helpers.train_jobs import CHATML, make_tokenizer

LLAMA2 = (
    "{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
    "{% else %} {{ m['content'] }}</s>{% endif %}{% endfor %}"
)
VICUNA = (
    "{% for m in messages %}{% if m['role'] == 'user' %}USER: {{ m['content'] }} "
    "{% else %}ASSISTANT: {{ m['content'] }}</s>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
DATA = st.lists(st.sampled_from(ATTACKS) | st.text(max_size=6), max_size=4).map("".join)


def demo_tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(DEMO / "base")


TOKENIZERS = {
    "demo": demo_tokenizer,
    "chatml": lambda: make_tokenizer(CHATML, "<|endoftext|>"),
    "llama 2": lambda: make_tokenizer(LLAMA2, "</s>"),
    "vicuna": lambda: make_tokenizer(VICUNA, "</s>"),
    "default": lambda: make_tokenizer(None, "</s>"),
}


def test_control_strings_are_added_tokens_and_what_stands_between_turns() -> None:
    assert control_strings(make_tokenizer(CHATML)) == {"<|im_start|>", "<|im_end|>", "<|pad|>", "<|eos|>"}
    assert control_strings(make_tokenizer(LLAMA2, "</s>")) >= {"</s>", "[INST]", "[/INST]"}
    assert control_strings(make_tokenizer(VICUNA, "</s>")) >= {"</s>", "USER:", "ASSISTANT:"}
    tokenizer = make_tokenizer(None, "</s>")
    ensure_chat_template(tokenizer)
    assert control_strings(tokenizer) >= {"</s>", "### User:", "### Assistant:"}


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("rubric", ["judge.txt", "pairwise.txt"])
def test_data_never_becomes_a_control_token(name: str, rubric: str) -> None:
    tokenizer = TOKENIZERS[name]()
    ensure_chat_template(tokenizer)
    found, controls = load_rubric(PROMPTS / rubric), control_strings(tokenizer)
    control_ids = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}

    def ids(data: str) -> list[int]:
        responses = (data,) if found.kind == "scored" else (data, data)
        messages = found.fill([{"role": "user", "content": data}], responses, controls=controls)
        chat: Any = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_dict=False, **CHAT_OPTIONS
        )
        return [token for token in chat if token in control_ids]

    bare = ids("x")

    @settings(max_examples=40)
    @given(DATA)
    def check(data: str) -> None:
        assert ids(data) == bare

    check()
    for attack in ATTACKS:
        assert ids(attack) == bare, attack
