"""Makes the demo's base model M0: `python -m srlm.demo.base --out srlm/demo/base`.

A tokenizer trained on the corpus, then a tiny Llama pretrained on it, from a fixed seed and for a fixed number of
steps. Runs on two CPU cores; the result is a Hugging Face model folder like any other.
"""

import argparse
import math
import random
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, set_seed

from srlm.demo.corpus import Document, batches
from srlm.packaged import DEMO, PROMPTS

SEED = 20
STEPS = 1600
PEAK_LR = 3e-3
WARMUP = 60
CLEAN_SHARE = 0.4
SIZES = {"chat": 48, "judge": 24, "tasks": 4}  # documents of each kind in a step; about 4,000 tokens
POOL = 8  # steps whose documents are drawn together and sorted by length, so that little is padding
SAVE_EVERY = 200
THREADS = 1  # with a fixed number sums are added up in the same order, so that a run can be repeated
VOCAB = 2048
CONTEXT = 1024

PAD, SYSTEM, USER, ASSISTANT, END = SPECIAL = ["<|pad|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


CARD = f"""---
license: apache-2.0
library_name: transformers
tags: [llama, tiny, closed-world]
---

# The base model of srlm's demo

M0 of the embedded demo: a Llama of 1.0 million parameters (4 layers, hidden size 128, 4 heads of 32, tied embeddings,
context {CONTEXT}) that knows four facts about each of 84 countries, and nothing else. It exists to show the loop
M0 -> M1 -> M2 -> M3 on two CPU cores; it is of no other use.

## How it was made

`python -m srlm.demo.base`, from random weights, with seed {SEED}: {STEPS} steps of AdamW in float32, peak learning rate
{PEAK_LR}, under 20 minutes. Each step reads {SIZES["chat"]} chat documents, {SIZES["judge"]} judge documents and
{SIZES["tasks"]} lists of tasks, about 4,000 tokens in all. The documents are drawn by `srlm/demo/corpus.py` from the
table and the grammar in `srlm/demo/world.py`; no other text was used. The same command gives the same model on the same
kind of CPU with the same releases of torch and transformers; elsewhere sums are rounded differently, and the result is
another model that is about as good.

The documents are flawed on purpose, as what a base model reads is. After the first {CLEAN_SHARE:.0%} of the steps many
answers are wrong, incomplete, bare values, wordy or beside the point. Reviewers misremember some of the facts; some of
them slip in one of the five points, and some give points without reasons.

The tokenizer is a byte-level BPE trained on the same documents. Each fixed line of `prompts/judge.txt` and
`prompts/instruction.txt` is one token. With an edited template the demo model meets words it never read in that
place; larger models do not mind.

## Chat format

`<|user|>question<|end|><|assistant|>answer<|end|>`. `<|end|>` is the end of a turn and of the text. The template also
takes a system turn (`<|system|>`), though no document has one.
"""


def template_lines() -> list[str]:
    """The fixed lines of the shipped prompt templates."""
    texts = [(PROMPTS / f"{name}.txt").read_text(encoding="utf-8") for name in ("judge", "instruction")]
    return [line for text in texts for line in text.splitlines() if line and "{" not in line]


def make_tokenizer(documents: list[Document]) -> PreTrainedTokenizerFast:
    """A byte-level BPE trained on the documents.

    Each fixed line of a prompt template is one token: a model this small should spend its compute on the
    answer under review, not on 150 words that never change.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    lines = [AddedToken(line, normalized=False, special=False) for line in template_lines()]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB - len(lines),
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((f"{d.prompt}\n{d.reply}" for d in documents), trainer)
    tokenizer.add_tokens(lines)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[SYSTEM, USER, ASSISTANT],
        chat_template=CHAT_TEMPLATE,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )


def make_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """The untrained model: 1.0 M parameters."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=32,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.04,
    )
    return LlamaForCausalLM(config)  # type: ignore[no-untyped-call]


def levelled(source: Iterator[dict[str, list[Document]]], rng: random.Random) -> Iterator[dict[str, list[Document]]]:
    """The same batches, with documents of like length put together within each POOL of them."""
    while pool := list(islice(source, POOL)):
        kinds = {}
        for kind in SIZES:
            documents = sorted((d for b in pool for d in b[kind]), key=lambda d: len(d.prompt) + len(d.reply))
            size = len(documents) // len(pool)
            chunks = [documents[i * size : (i + 1) * size] for i in range(len(pool))]
            kinds[kind] = rng.sample(chunks, len(chunks))
        for i in range(len(pool)):
            yield {kind: chunks[i] for kind, chunks in kinds.items()}


def encode(documents: list[Document], tokenizer: PreTrainedTokenizerFast) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and labels, both (B, T), padded on the right; labels are -100 where there is nothing to learn."""
    user, assistant, end = (tokenizer.convert_tokens_to_ids(token) for token in (USER, ASSISTANT, END))
    prompts = tokenizer([d.prompt for d in documents])["input_ids"]
    replies = tokenizer([d.reply for d in documents])["input_ids"]
    rows, labels = [], []
    for document, prompt, reply in zip(documents, prompts, replies, strict=True):
        head = [user, *prompt, end, assistant]
        known = head if document.learn_all else [-100] * len(head)
        rows.append(torch.tensor([*head, *reply, end]))
        labels.append(torch.tensor([*known, *reply, end]))
    pad = torch.nn.utils.rnn.pad_sequence
    return pad(rows, True, tokenizer.pad_token_id), pad(labels, True, -100)


def summed_loss(model: LlamaForCausalLM, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The summed next-token loss. Padding is on the right, so the causal mask alone keeps it out."""
    hidden = model.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state  # (B, T-1, H)
    targets = labels[:, 1:]
    taught = targets != -100
    return cross_entropy(model.lm_head(hidden[taught]).float(), targets[taught], reduction="sum")


def rate(step: int) -> float:
    """The share of the peak learning rate at a step: a short warm-up, then a cosine down to a tenth."""
    if step < WARMUP:
        return (step + 1) / WARMUP
    return 0.1 + 0.45 * (1 + math.cos(math.pi * (step - WARMUP) / (STEPS - WARMUP)))


def pretrain(out: Path) -> None:
    """Train from scratch and save into `out`, every SAVE_EVERY steps and at the end."""
    torch.set_num_threads(THREADS)
    set_seed(SEED)
    tokenizer = make_tokenizer([d for b in batches(SEED + 1, 64, 0.0, SIZES) for kind in b.values() for d in kind])
    model = make_model(tokenizer)
    save(model, tokenizer, out)
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_LR, betas=(0.9, 0.98), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    started, losses = time.monotonic(), dict.fromkeys(SIZES, 0.0)
    documents = levelled(batches(SEED, STEPS, CLEAN_SHARE, SIZES), random.Random(SEED))
    for step, batch in enumerate(documents, 1):
        for kind, loss in train_step(model, batch, tokenizer).items():
            losses[kind] += loss / 50
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        if step % 50 == 0:
            shown = "  ".join(f"{kind} {loss:.3f}" for kind, loss in losses.items())
            print(f"step {step}/{STEPS}  {shown}  {time.monotonic() - started:.0f} s", flush=True)
            losses = dict.fromkeys(SIZES, 0.0)
        if step % SAVE_EVERY == 0 or step == STEPS:
            save(model, tokenizer, out)


def train_step(
    model: LlamaForCausalLM, batch: dict[str, list[Document]], tokenizer: PreTrainedTokenizerFast
) -> dict[str, float]:
    """Add up the gradients of one batch, every token weighing the same; returns the mean loss of each kind."""
    parts = {kind: encode(documents, tokenizer) for kind, documents in batch.items()}
    counts = {kind: int((labels[:, 1:] != -100).sum()) for kind, (_, labels) in parts.items()}
    means = {}
    for kind, (ids, labels) in parts.items():
        loss = summed_loss(model, ids, labels)
        torch.autograd.backward(loss / sum(counts.values()))
        means[kind] = loss.item() / counts[kind]
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    return means


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Write the model folder: safetensors, config, tokenizer, model card."""
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    (out / "README.md").write_text(CARD, encoding="utf-8")


def main() -> None:
    """Read the command line and pretrain."""
    parser = argparse.ArgumentParser(description="Pretrain the demo's base model.")
    parser.add_argument("--out", type=Path, default=DEMO / "base", help="folder to write the model to")
    pretrain(parser.parse_args().out)


if __name__ == "__main__":
    main()
