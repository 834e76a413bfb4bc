"""The judge against real tokenizers and vLLM: no control token in data, and the probabilities of scores."""

import asyncio
import math
from pathlib import Path
from typing import Any

import pytest
from attacks import ATTACKS
from hypothesis import given, settings
from hypothesis import strategies as st
from train_jobs import CHATML, make_model, make_tokenizer

from srlm.engine.server import ServerEngine
from srlm.judge.rubric import load_rubric
from srlm.model.chat import CHAT_OPTIONS, control_strings, ensure_chat_template
from srlm.packaged import DEMO, PROMPTS

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


# --- vLLM ------------------------------------------------------------------------------------------------------------

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


@pytest.mark.slow
class Spelling(ServerEngine):
    """A server whose tokens are characters, and that remembers what it is asked."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:9/v1", "m", 4, 1.0)
        self.contexts: list[str] = []

    async def _post(self, path: str, body: dict[str, Any], missing: str = "") -> dict[str, Any] | None:
        if path.endswith("/tokenize"):
            turns = body.get("messages", [{"content": body.get("prompt", "")}])
            return {"tokens": [ord(sign) for turn in turns for sign in turn["content"]]}
        self.contexts.append("".join(map(chr, body["prompt"])))
        top = {f"token_id:{ord(sign)}": math.log(0.1) for sign in " 0123456789"}
        return {"choices": [{"logprobs": {"top_logprobs": [top]}}]}


@pytest.mark.parametrize(("scale", "ends"), [(range(6), []), (range(1, 11), ["1"])])
def test_a_server_is_asked_for_the_end_of_a_number_only_where_another_goes_on(scale: range, ends: list[str]) -> None:
    server = Spelling()
    choices = [f" {number}" for number in scale]
    logs = asyncio.run(server.choices([{"role": "user", "content": "Q"}], "Score:", choices))
    assert logs is not None
    assert server.contexts == ["QScore:", "QScore: ", *(f"QScore: {number}" for number in ends)]


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
