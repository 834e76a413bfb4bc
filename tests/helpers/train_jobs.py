"""Jobs for the train step's tests: a tiny random model, rows, and the ways to run a job."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from srlm.process.job import result_of
from srlm.process.launch import launch_command
from srlm.settings import LoraSettings
from srlm.train.job import TrainJob
from srlm.train.steps import STEPS

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WORDS = ["red", "green", "blue", "sky", "sea", "sun", "moon", "star", "tree", "leaf"]


def make_tokenizer(template: str | None = CHATML, eos: str | None = "<|eos|>") -> Any:
    """A byte-level tokenizer, ChatML by default: its end of turn, <|im_end|>, is not its eos."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|im_start|>", "<|im_end|>", "<|pad|>", *([eos] if eos else [])]
    tokenizer.add_special_tokens(special)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=eos, pad_token="<|pad|>", chat_template=template
    )


def make_model(folder: Path, tokenizer: Any, dtype: str = "float32", hidden_size: int = 32) -> Path:
    """A random Llama of a few thousand parameters with `tokenizer`, saved into `folder`."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.set_num_threads(1)  # for a model this small threads only get into each other's way
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        attention_dropout=0.0,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(config).to(getattr(torch, dtype)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def sft_rows(count: int = 20) -> list[dict[str, Any]]:
    return [
        {"id": f"r{i}", "prompt": user(f"say {WORDS[i % 10]}"), "completion": said(" ".join(WORDS[: 1 + i % 7]))}
        for i in range(count)
    ]


def dpo_rows(count: int = 20) -> list[dict[str, Any]]:
    return [
        {
            "id": f"p{i}",
            "prompt": user(f"say {WORDS[i % 10]}"),
            "chosen": said(" ".join(WORDS[: 1 + i % 7])),
            "rejected": said(" ".join(WORDS[-1 - i % 5 :])),
            "chosen_score": 4.0,
        }
        for i in range(count)
    ]


Make = Callable[..., TrainJob]


class CutError(Exception):
    """Stands for a sudden end."""


def run(job: TrainJob) -> dict[str, Any]:
    """The job in this process."""
    from srlm.train.common import train

    return train(job)


def start(job: TrainJob, processes: int = 1) -> "subprocess.Popen[bytes]":
    """The job as the parent starts it: standard input stays open as long as the parent lives."""
    path = _job_file(job)
    path.write_text(job.model_dump_json())
    command = launch_command("srlm.train", path, processes)
    with output_of(job).open("wb") as log:
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True)


def _job_file(job: TrainJob) -> Path:
    return job.log.with_name("child.job.json")


def result(job: TrainJob) -> dict[str, Any]:
    """What the process of `start` reported."""
    found: dict[str, Any] = json.loads(result_of(_job_file(job)).read_text())
    return found


def output_of(job: TrainJob) -> Path:
    """What the process of `start` printed."""
    return job.log.with_name("child.log")


def log_of(job: TrainJob) -> list[dict[str, Any]]:
    return [json.loads(line) for line in job.log.read_text().splitlines()]


def weights(job: TrainJob) -> bytes:
    """All that the training learned: the model's weights, or its adapter's."""
    [file] = job.out.glob("*.safetensors")
    return file.read_bytes()


def loaded(folder: str | Path) -> Any:
    """What a job made, as transformers and peft load it, with no help of srlm's: weights, or a base and its adapter."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    if not (Path(folder) / "adapter_config.json").exists():
        return AutoModelForCausalLM.from_pretrained(folder)
    told = json.loads((Path(folder) / "adapter_config.json").read_text())
    base = AutoModelForCausalLM.from_pretrained(told["base_model_name_or_path"], revision=told["revision"])
    return PeftModel.from_pretrained(base, str(folder)).eval()


def encoder(max_length: int = 128, **kwargs: Any) -> Any:
    from srlm.train.encode import Encoder

    return Encoder(make_tokenizer(**kwargs), max_length)


def encoded(encoder: Any, algorithm: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows as the step of this name encodes them, without those that cannot be used."""
    step = STEPS[algorithm]
    found: list[dict[str, Any]] = encoder.usable([step.row.model_validate(row) for row in rows], step.encode)
    return found


def chain(make: Make, count: int, **changes: Any) -> list[TrainJob]:
    """M1 by SFT, and M2, M3 ... by DPO, each from the one before."""
    lora = {"lora": LoraSettings(rank=4)}
    jobs = [make("sft", "M1", train=lora, **changes)]
    jobs += [
        make("dpo", f"M{t}", train=lora, model=str(jobs[0].out.parent.parent / f"M{t - 1}" / "model"))
        for t in range(2, count + 1)
    ]
    for job in jobs:
        run(job)
    return jobs


def log_probability(model: Any, row: dict[str, Any], side: str) -> float:
    """Of the reply to the prompt, with nothing of TRL's: one row, no padding."""
    import torch

    ids = torch.tensor([row["prompt_ids"] + row[f"{side}_ids"]])
    with torch.no_grad():
        logps = model(ids).logits[0, :-1].log_softmax(-1)
    found = logps.gather(1, ids[0, 1:, None])[len(row["prompt_ids"]) - 1 :]
    return float(found.sum())
