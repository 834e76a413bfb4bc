"""Chat templates: a default for tokenizers that have none, and the tokens that end the assistant's turn.

Training must teach the end-of-turn token and generation must stop at it, so both ask `end_of_turn_ids`.
"""

import re
from typing import Any

from srlm.errors import UserError

# Of well-known chat models: for endpoints, whose tokenizer is not at hand.
_COMMON = """<|im_start|> <|im_end|> <|im_sep|> <|endoftext|> <|endofprompt|> <|begin_of_text|> <|end_of_text|>
    <|eot_id|> <|eom_id|> <|start_header_id|> <|end_header_id|> <|python_tag|> <|system|> <|user|> <|assistant|> <|end|>
    <|start|> <|message|> <|channel|> <|return|> <|pad|> <s> </s> <pad> <unk> <bos> <eos> <start_of_turn> <end_of_turn>
    [INST] [/INST] [SYSTEM_PROMPT] [/SYSTEM_PROMPT] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [TOOL_CALLS] [TOOL_RESULTS]
    [/TOOL_RESULTS] <<SYS>> <</SYS>> <think> </think> <tool_call> </tool_call> <tool_response> </tool_response>
    <｜begin▁of▁sentence｜> <｜end▁of▁sentence｜> <｜User｜> <｜Assistant｜>
    <|START_OF_TURN_TOKEN|> <|END_OF_TURN_TOKEN|>
    <|USER_TOKEN|> <|CHATBOT_TOKEN|> <|SYSTEM_TOKEN|>"""
COMMON_CONTROLS = frozenset(_COMMON.split())

# For every use of a chat template, training and generation alike. Qwen3 and its like otherwise begin a reply with a
# block of thoughts in generation, and have an empty one taught; other templates ignore the option.
CHAT_OPTIONS: dict[str, Any] = {"enable_thinking": False}

# Every turn is a headed block. The head ends in a newline so that the prompt's last token and the reply's first one
# do not merge, and replies are trimmed for the same reason. The tokenizer's own end token ends the assistant's turn.
DEFAULT_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "### {{ message['role'] | capitalize }}:\n{{ message['content'] | trim }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\\n\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}### Assistant:\n{% endif %}"
)


def ensure_chat_template(tokenizer: Any, begin: bool = False) -> bool:
    """Give a Hugging Face tokenizer without a chat template the default one; True when that was needed.

    The default one writes the `bos` token where the tokenizer begins every text with it, or where `begin` asks for it.
    It stands there once: what a template has written is tokenized without special tokens. Raises UserError for a
    tokenizer with neither a chat template nor an end token: nothing would tell the model where to stop.
    """
    if tokenizer.chat_template:
        return False
    if tokenizer.eos_token is None:
        problem = f"{tokenizer.name_or_path}: the tokenizer has neither a chat template nor an end token"
        raise UserError(problem, "give it a chat template or an eos_token")
    begin = begin or begins_texts(tokenizer)
    tokenizer.chat_template = ("{{ bos_token }}" if begin else "") + DEFAULT_CHAT_TEMPLATE
    return True


def begins_texts(tokenizer: Any) -> bool:
    """Whether the tokenizer itself puts its `bos` token before a plain text."""
    return tokenizer.bos_token_id is not None and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]


def control_strings(tokenizer: Any) -> frozenset[str]:
    """What data must not hold in a prompt: texts of added tokens, and what the chat template puts between turns.

    Added tokens of white space are no control tokens; neither is a plain word between turns, such as ChatML's "user".
    """
    added = {str(token) for token in tokenizer.added_tokens_decoder.values()}
    probes = ["firstturnprobe", "replyprobe", "secondturnprobe"]
    turns = [{"role": role, "content": text} for role, text in zip(("user", "assistant", "user"), probes, strict=True)]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True, **CHAT_OPTIONS)
    for token in sorted(added, key=len, reverse=True):
        text = text.replace(token, "\n")
    between = re.split("|".join(probes), text)[1:]
    heads = {line.strip() for piece in between for line in piece.splitlines()}
    return frozenset(s for s in added if s.strip()) | {s for s in heads if len(s) > 2 and not s.isalnum()}


def end_of_turn_ids(tokenizer: Any) -> list[int]:
    """Ids of the tokens that end the assistant's turn: first what the chat template puts after a reply, then `eos`.

    For ChatML-like templates the two differ. Raises UserError where there is neither, or no chat template, or where a
    reply is generated behind another text than it is trained behind: what stood between the two would be learnt as a
    part of every reply, and be part of the answers from then on.
    """
    ensure_chat_template(tokenizer)
    reply = "endofturnprobe"
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": reply}]
    head = tokenizer.apply_chat_template(turns[:1], tokenize=False, add_generation_prompt=True, **CHAT_OPTIONS)
    before, _, after = tokenizer.apply_chat_template(turns, tokenize=False, **CHAT_OPTIONS).rpartition(reply)
    if not before.startswith(head):
        problem = f"{tokenizer.name_or_path}: the chat template's generation prompt is not the start of the full chat"
        raise UserError(problem, "use a chat template that puts nothing (such as thoughts) before a reply")
    if between := before[len(head) :].strip():
        problem = f"{tokenizer.name_or_path}: the chat template puts {between} between generation prompt and reply"
        fix = "use a model whose replies begin right after that prompt, or give the tokenizer such a chat template"
        raise UserError(problem, fix)
    control = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    tail = tokenizer(after, add_special_tokens=False)["input_ids"]
    found = [token for token in tail if token in control][:1]
    if tokenizer.eos_token_id is not None:
        found.append(tokenizer.eos_token_id)
    if not found:
        problem = f"{tokenizer.name_or_path}: neither the chat template nor the tokenizer has a token that ends a turn"
        raise UserError(problem, "give the tokenizer an eos_token")
    return list(dict.fromkeys(found))
