"""What is taught, in tokens: chat templates, ends of turn, labels and dropped rows."""

import pytest

from srlm.errors import UserError
from srlm.model.chat import DEFAULT_CHAT_TEMPLATE, end_of_turn_ids, ensure_chat_template
from tests.helpers.train_jobs import CHATML, Make, dpo_rows, encoded, encoder, make_tokenizer, said, sft_rows, user

PLAIN = (
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)

# --- chat templates ------------------------------------------------------------------------------------------------


def test_end_of_turn_is_what_the_template_puts_after_a_reply() -> None:
    tokenizer = make_tokenizer()
    assert tokenizer.convert_ids_to_tokens(end_of_turn_ids(tokenizer)) == ["<|im_end|>", "<|eos|>"]
    no_eos = make_tokenizer(eos=None)
    assert no_eos.convert_ids_to_tokens(end_of_turn_ids(no_eos)) == ["<|im_end|>"]
    plain = make_tokenizer(PLAIN)
    assert plain.convert_ids_to_tokens(end_of_turn_ids(plain)) == ["<|eos|>"]


def test_default_template_ends_turns_with_the_tokenizers_own_token() -> None:
    tokenizer = make_tokenizer(None)
    assert ensure_chat_template(tokenizer)
    assert not ensure_chat_template(tokenizer)
    assert tokenizer.chat_template == DEFAULT_CHAT_TEMPLATE
    talk = [{"role": "system", "content": "be brief"}, *user("hi"), *said(" hello ")]
    prompt = tokenizer.apply_chat_template(talk[:2], tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template(talk, tokenize=False)
    assert prompt == "### System:\nbe brief\n\n### User:\nhi\n\n### Assistant:\n"
    assert whole == prompt + "hello<|eos|>\n\n"
    assert end_of_turn_ids(tokenizer) == [tokenizer.eos_token_id]


def test_neither_template_nor_end_token_is_the_users_error() -> None:
    with pytest.raises(UserError, match="neither a chat template nor an end token"):
        ensure_chat_template(make_tokenizer(None, None))
    with pytest.raises(UserError, match="ends a turn"):
        end_of_turn_ids(make_tokenizer("{% for m in messages %}{{ m['content'] }}{% endfor %}", None))


# --- rows ----------------------------------------------------------------------------------------------------------


def test_collated_labels_are_the_reply_and_its_end_of_turn(make: Make) -> None:
    """What reaches the loss, through TRL's own collator: all of the reply, <|im_end|>, and nothing of the prompt."""
    from datasets import Dataset

    from srlm.train.log import StepLog
    from srlm.train.models import load_model, load_tokenizer
    from srlm.train.sft import trainer as sft_trainer

    job = make()
    tokenizer = load_tokenizer(job)
    talk = [{"role": "system", "content": "s"}, *user("a"), *said("earlier"), *user("b")]
    rows = [{"id": "x", "prompt": talk, "completion": said("hello")}, *sft_rows(3)]
    data = Dataset.from_list(encoded(encoder(), "sft", rows))
    trainer = sft_trainer(job, load_model(job)[0], tokenizer, data, StepLog(job, {}))
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(4)])
    for row, ids, labels, mask in zip(rows, batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True):
        taught = ids[labels != -100]
        assert (labels[labels != -100] == taught).all()
        assert tokenizer.decode(taught) == row["completion"][0]["content"] + "<|im_end|>"
        prompt = tokenizer.apply_chat_template(row["prompt"], tokenize=False, add_generation_prompt=True)
        assert tokenizer.decode(ids[(labels == -100) & (mask == 1)]) == prompt


def test_template_without_an_end_of_turn_gets_the_end_token() -> None:
    code = encoder(template=PLAIN)
    row = encoded(code, "sft", sft_rows(1))[0]
    assert row["input_ids"][-1] == row["labels"][-1] == code.tokenizer.eos_token_id


def test_rows_that_cannot_be_used_are_counted_by_reason_and_never_cut() -> None:
    code = encoder(max_length=60)
    rows = dpo_rows(4)
    rows[0]["rejected"] = said("x" * 100)
    rows[1]["rejected"] = rows[1]["chosen"]
    rows[2]["chosen"] = said("  ")
    kept = encoded(code, "dpo", rows)
    assert len(kept) == 1
    assert code.dropped == {"overlong": 1, "same": 1, "empty": 1}
    assert code.overlong == ["p0"]
    decode = code.tokenizer.decode
    assert decode(kept[0]["chosen_ids"]) == rows[3]["chosen"][0]["content"] + "<|im_end|>"
    assert decode(kept[0]["rejected_ids"]) == rows[3]["rejected"][0]["content"] + "<|im_end|>"


def test_messages_that_the_template_refuses_are_counted() -> None:
    refusing = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + CHATML
    code = encoder(template=refusing)
    rows = sft_rows(2)
    rows[0]["prompt"] = [{"role": "system", "content": "s"}, *rows[0]["prompt"]]
    assert len(encoded(code, "sft", rows)) == 1
    assert code.dropped == {"template": 1}


# In small, what Qwen3's template does: thoughts stand before the last reply, unless the generation prompt ends them.
THINKING = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if loop.last and m['role'] == 'assistant' %}<think>\n\n</think>\n\n{% endif %}{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)


def test_no_thoughts_are_taught() -> None:
    code = encoder(template=THINKING)
    reply = said("red")
    sft = encoded(code, "sft", [{"id": "r", "prompt": user("say red"), "completion": reply}])[0]
    taught = [token for token, label in zip(sft["input_ids"], sft["labels"], strict=True) if label != -100]
    dpo = encoded(code, "dpo", [{"id": "p", "prompt": user("say red"), "chosen": reply, "rejected": said("sea")}])[0]
    assert code.tokenizer.decode(taught) == code.tokenizer.decode(dpo["chosen_ids"]) == "red<|im_end|>"
    assert code.tokenizer.decode(dpo["prompt_ids"]).endswith("assistant\n<think>\n\n</think>\n\n")


def test_template_that_always_begins_with_thoughts_is_the_users_error() -> None:
    forced = CHATML.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")
    with pytest.raises(UserError, match="generation prompt is not the start of the full chat"):
        encoder(template=forced)


# In small, what gpt-oss's template does; and one that knows no generation prompt: the model would have to write
# "assistant" itself, and its answers would begin with it.
CHANNELS = CHATML.replace(
    "\n{{ m['content']", "{{ '<|pad|>final' if m['role'] == 'assistant' }}\n{{ m['content']"
).replace("assistant\n{% endif %}", "assistant{% endif %}")
NO_PROMPT = CHATML.partition("{% if add_generation_prompt %}")[0]


@pytest.mark.parametrize(("template", "between"), [(CHANNELS, "<|pad|>final"), (NO_PROMPT, "<|im_start|>assistant")])
def test_template_with_tokens_between_its_prompt_and_the_reply_is_the_users_error(template: str, between: str) -> None:
    with pytest.raises(UserError) as caught:
        encoder(template=template)
    assert f"puts {between} between generation prompt and reply" in str(caught.value)


def test_row_whose_prompt_the_template_writes_otherwise_behind_a_reply_is_counted() -> None:
    strict = CHATML.replace("<|im_start|>{{", "{{ '[sea]' if 'sea' in messages[-1]['content'] }}<|im_start|>{{", 1)
    code = encoder(template=strict)
    rows = [{"id": word, "prompt": user("say it"), "completion": said(word)} for word in ("red", "sea")]
    assert len(encoded(code, "sft", rows)) == 1
    assert code.dropped == {"template": 1}
