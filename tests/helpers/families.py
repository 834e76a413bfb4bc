"""Tiny random models of the families that people train, each with what is peculiar about its tokenizer and template.

The templates are of our own wording; the markers in them are the families'.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srlm.settings import DPOSettings, LoraSettings, SFTSettings, TrainSettings
from srlm.store import write_rows
from srlm.train.job import TrainJob
from tests.helpers.train_jobs import dpo_rows, sft_rows


@dataclass(frozen=True)
class Family:
    """One architecture: its config's class and values in transformers, and what is known of its chat."""

    config: str
    values: dict[str, Any]
    tokenizer: Callable[[], Any]
    template: str
    bos: str | None  # the beginning token that a prompt holds once; None: it has none
    end: str  # of the assistant's turn


def _byte_level(kind: str, special: str, **values: Any) -> Callable[[], Any]:
    """A tokenizer as GPT-2's and Qwen's: bytes, and no token for a beginning."""

    def make() -> Any:
        import transformers
        from tokenizers import pre_tokenizers

        tokens = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *special.split()]
        vocabulary = {token: place for place, token in enumerate(tokens)}
        named = {"extra_special_tokens": special.split()} | values
        return getattr(transformers, kind)(vocab=vocabulary, merges=[], **named)

    return make


def _sentence_piece(kind: str, special: str, **values: Any) -> Callable[[], Any]:
    """A tokenizer as Llama 2's, Mistral's and Gemma's: letters, a token for a space, bytes for the rest."""

    def make() -> Any:
        import transformers

        letters = [chr(code) for code in range(33, 127)]
        tokens = [*special.split(), *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *letters]
        vocabulary = {token: place for place, token in enumerate(tokens)}
        return getattr(transformers, kind)(vocab=vocabulary, merges=[], extra_special_tokens=special.split(), **values)

    return make


def _llama_3() -> Any:
    """Llama 3's beginning token comes from tokenizer.json: its class has no setting for it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: place for place, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    begin = (special[0], tokenizer.token_to_id(special[0]))
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{special[0]} $A", special_tokens=[begin])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=special[0], eos_token=special[4])


def _headed(head: str, end: str, begin: str) -> str:
    """A template of turns with a head and an end; `begin` is the head of the assistant's next turn."""
    turn = head + "{{ m['content'] | trim }}" + end
    return "{% for m in messages %}" + turn + "{% endfor %}{% if add_generation_prompt %}" + begin + "{% endif %}"


BOS = "{{ bos_token }}"
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no turn of a system here') }}{% endif %}"
# Llama 2's and Mistral's way: the user's turn holds the marks, the assistant's ends with the end token.
INSTRUCTED = (
    "{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
    "{% elif m['role'] == 'assistant' %} {{ m['content'] | trim }}{{ eos_token }}"
    "{% else %}{{ raise_exception('only users and assistants speak here') }}{% endif %}{% endfor %}"
)
# Qwen3's way: empty thoughts stand before the last reply, and in the prompt when thoughts are switched off.
THINKING = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if loop.last and m['role'] == 'assistant' %}<think>\n\n</think>\n\n{% endif %}{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
ROLE = "{{ m['role'] }}"
LLAMA = _headed(
    f"<|start_header_id|>{ROLE}<|end_header_id|>\n\n",
    "<|eot_id|>",
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
)
GEMMA = _headed(
    "<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n",
    "<end_of_turn>\n",
    "<start_of_turn>model\n",
)
PHI = _headed(f"<|{ROLE}|>\n", "<|end|>\n", "<|assistant|>\n")
OLMO = _headed(f"<|{ROLE}|>\n", "{{ eos_token if m['role'] == 'assistant' }}\n", "<|assistant|>\n")
GRANITE = _headed(
    f"<|start_of_role|>{ROLE}<|end_of_role|>", "<|end_of_text|>\n", "<|start_of_role|>assistant<|end_of_role|>"
)
MISTRAL_TOKENS = _sentence_piece("LlamaTokenizer", "<unk> <s> </s> [INST] [/INST]", add_bos_token=True)
QWEN_TOKENS = _byte_level(
    "Qwen2Tokenizer",
    "<|endoftext|> <|im_start|> <|im_end|>",
    eos_token="<|im_end|>",
    pad_token="<|endoftext|>",
)
GEMMA_TOKENS = _sentence_piece(
    "GemmaTokenizer", "<pad> <eos> <bos> <unk> <start_of_turn> <end_of_turn>", add_bos_token=True
)
PHI_TOKENS = _sentence_piece(
    "LlamaTokenizer",
    "<unk> <s> <|endoftext|> <|system|> <|user|> <|assistant|> <|end|>",
    eos_token="<|endoftext|>",
)
OLMO_TOKENS = _byte_level("GPT2Tokenizer", "<|endoftext|> <|pad|>", pad_token="<|pad|>")
GRANITE_TOKENS = _byte_level(
    "GPT2Tokenizer",
    "<|end_of_text|> <|start_of_role|> <|end_of_role|>",
    **dict.fromkeys(("bos_token", "eos_token", "pad_token", "unk_token"), "<|end_of_text|>"),
)
GRANITE_SCALES = {
    "embedding_multiplier": 12.0,
    "logits_scaling": 8.0,
    "residual_multiplier": 0.22,
    "attention_multiplier": 0.1,
}
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None}
WINDOW = {"sliding_window": 32, "query_pre_attn_scalar": 32}  # shorter than what the tests ask

FAMILIES = {
    "llama": Family("LlamaConfig", {}, _llama_3, BOS + LLAMA, "<|begin_of_text|>", "<|eot_id|>"),
    "qwen3": Family("Qwen3Config", {}, QWEN_TOKENS, THINKING, None, "<|im_end|>"),
    "gemma3": Family("Gemma3TextConfig", WINDOW, GEMMA_TOKENS, NO_SYSTEM + BOS + GEMMA, "<bos>", "<end_of_turn>"),
    "mistral": Family("MistralConfig", {"sliding_window": None}, MISTRAL_TOKENS, BOS + INSTRUCTED, "<s>", "</s>"),
    "phi": Family("Phi3Config", {"pad_token_id": 0}, PHI_TOKENS, PHI, None, "<|end|>"),
    "olmo2": Family("Olmo2Config", {}, OLMO_TOKENS, BOS + OLMO, "<|endoftext|>", "<|endoftext|>"),
    "granite": Family("GraniteConfig", GRANITE_SCALES, GRANITE_TOKENS, GRANITE, None, "<|end_of_text|>"),
    "mixtral": Family("MixtralConfig", EXPERTS, MISTRAL_TOKENS, BOS + INSTRUCTED, "<s>", "</s>"),
}
SIZES = {
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 32,  # the least that vLLM's attention takes on a CPU
    "max_position_embeddings": 256,
}


def make_family(folder: Path, name: str, template: bool = True) -> Path:
    """A tiny random model of the family, saved into `folder`; without a chat template, as base models come."""
    import torch
    import transformers

    torch.set_num_threads(1)  # for a model this small threads only get into each other's way
    torch.manual_seed(0)
    family = FAMILIES[name]
    tokenizer = family.tokenizer()
    tokenizer.chat_template = family.template if template else None
    values = {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": True,
    }
    config = getattr(transformers, family.config)(**SIZES | values | family.values)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def as_from_gguf(folder: Path) -> Path:
    """The model's tokenizer as one made from a GGUF file: it has its beginning token, and adds it to no text."""
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"post_processor": None}))
    return folder


def two_steps(algorithm: str, model: Path, folder: Path, rank: int = 0) -> TrainJob:
    """A training of two steps on eight rows, under LoRA where `rank` is above 0; the model is made in the folder."""
    make = {"sft": (SFTSettings, sft_rows), "dpo": (DPOSettings, dpo_rows)}
    settings, rows = make[algorithm]
    write_rows(folder / "rows.jsonl", rows(8))
    return TrainJob(
        algorithm=algorithm,
        model=str(model),
        rows=folder / "rows.jsonl",
        out=folder / "model",
        checkpoints=folder / "checkpoints",
        log=folder / "train.jsonl",
        reference=folder / "reference.json",
        seed=7,
        max_length=128,
        train=TrainSettings(per_device_batch=4, save_steps=100, lora=LoraSettings(rank=rank)),
        optimizer=settings(learning_rate=5e-3, epochs=1, batch_size=4),
    )
