"""What a training holds in memory, beside what srlm plans for it (srlm/model/memory.py), on a CPU or a GPU.

    python benchmarks/memory.py peaks [--steps 2]     # planned over measured: three sizes to fit on, a fourth to check
    python benchmarks/memory.py gpu [--only 135M,8B]  # planned over measured on a GPU, of all that fits

`peaks` starts the real train child on random Llama models as `srlm iterate` starts it, and takes the largest resident
set that the kernel saw (ru_maxrss), above the peak of the same child with a model of some thousand parameters: that is
what its imports take. The figure for what is lost between blocks is fitted on the first three sizes, to compare with
the one in srlm; the ratios are those of srlm's own.

`gpu` does the same on a GPU, with models of 0.1 to 8 billion parameters. Measured is what torch reserved of the card,
and what CUDA takes beside that (memory.CUDA_CONTEXT).

Where the memory goes: benchmarks/memory_parts.py.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from srlm.console import gib
from srlm.model import memory
from srlm.model.memory import Training, training_memory
from srlm.model.shape import Shape, shape_of
from srlm.process.job import result_of
from srlm.process.launch import MEMORY, launch_command
from srlm.process.machine import this_machine
from srlm.settings import DPOSettings, LoraSettings, SFTSettings, TrainSettings
from srlm.store import write_rows
from srlm.train.job import TrainJob

MIB = 2**20
LLAMA = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
SIZES = {  # LLAMA's numbers, entries of the vocabulary, and whether the head is the embedding
    "imports": ((32, 64, 2, 2, 2), 300, True),
    "10M": ((256, 704, 8, 8, 4), 16384, True),
    "30M": ((512, 1408, 8, 8, 8), 8192, True),
    "80M": ((768, 2048, 10, 12, 4), 32000, False),
    "135M": ((576, 1536, 30, 9, 3), 49152, True),  # SmolLM2-135M; not fitted on
    # on a GPU also the shapes of Qwen2.5-0.5B, SmolLM2-1.7B and Llama-3.1-8B
    "0.5B": ((896, 4864, 24, 14, 2), 151936, True),
    "1.7B": ((2048, 8192, 24, 32, 32), 49152, True),
    "8B": ((4096, 14336, 32, 32, 8), 128256, False),
}
ON_GPU = "135M,0.5B,1.7B,8B"
TOKENS = {"10M": 512, "30M": 512, "80M": 256, "135M": 256}  # a row; fewer where a step takes long
WAYS: dict[str, tuple[bool, dict[str, Any]]] = {  # name -> on pairs, and more of the plan
    "SFT": (False, {}),
    "SFT, checkpointing": (False, {"checkpointing": True}),
    "SFT, LoRA": (False, {"lora_rank": 16}),
    "DPO": (True, {}),
    "DPO, checkpointing": (True, {"checkpointing": True}),
    "DPO, LoRA": (True, {"lora_rank": 16}),
    "SFT, LoRA, checkp.": (False, {"lora_rank": 16, "checkpointing": True}),
    "DPO, LoRA, checkp.": (True, {"lora_rank": 16, "checkpointing": True}),
}
ROWS = 4  # sequences of a forward pass: four rows of SFT, two pairs of DPO
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


# --- models, rows, jobs ----------------------------------------------------------------------------------------------


def make_model(name: str, folder: str) -> None:
    """A random Llama with a byte-level tokenizer: a token for each letter. On a GPU it is made there, in bfloat16."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    letters = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    letters.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    letters.add_special_tokens(["<|im_start|>", "<|im_end|>", "<|pad|>", "<|eos|>"])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=letters, eos_token="<|eos|>", pad_token="<|pad|>", chat_template=CHATML
    )
    widths, vocabulary, tied = SIZES[name]
    config = LlamaConfig(
        **dict(zip(LLAMA, widths, strict=True)),
        vocab_size=vocabulary,
        tie_word_embeddings=tied,
        max_position_embeddings=4096,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    gpu = torch.cuda.is_available()
    with torch.device("cuda" if gpu else "cpu"):
        model = LlamaForCausalLM(config)
    model.to(torch.bfloat16 if gpu else torch.float32).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def made(name: str, folder: Path) -> Path:
    """The model of that name, made in a process of its own: a large parent would count in its children's peaks."""
    maker = get_context("spawn").Process(target=make_model, args=(name, str(folder / name)))
    maker.start()
    maker.join()
    return folder / name


def rows(pairs: bool, count: int, tokens: int) -> Iterator[dict[str, Any]]:
    """Rows of so many tokens, every second one a little shorter, so that there is padding as in any real data."""

    def said(role: str, letters: int) -> list[dict[str, str]]:
        return [{"role": role, "content": "x" * letters}]

    for number in range(count):
        # "<s>user\n(20)</s>\n<s>assistant\n...</s>": 20 letters of markup as tokens, without the prompt's own
        reply = tokens - 40 - 3 * (number % 2)
        row = {"id": str(number), "prompt": said("user", 20)}
        if pairs:
            yield row | {"chosen": said("assistant", reply), "rejected": said("assistant", reply - 2)}
        else:
            yield row | {"completion": said("assistant", reply)}


def make_job(folder: Path, model: Path, plan: Training, steps: int) -> TrainJob:
    """The job of a plan, with rows for so many steps."""
    batch = plan.rows * plan.accumulation
    write_rows(folder / "rows.jsonl", rows(plan.pairs, batch * steps, plan.tokens))
    kind = DPOSettings if plan.pairs else SFTSettings
    return TrainJob(
        algorithm="dpo" if plan.pairs else "sft",
        model=str(model),
        rows=folder / "rows.jsonl",
        out=folder / "model",
        checkpoints=folder / "checkpoints",
        log=folder / "train.jsonl",
        reference=folder / "reference.json",
        seed=1,
        max_length=plan.tokens,
        train=TrainSettings(
            per_device_batch=plan.rows,
            gradient_checkpointing=plan.checkpointing,
            lora=LoraSettings(rank=plan.lora_rank, dropout=plan.lora_dropout),
        ),
        optimizer=kind(epochs=1, batch_size=batch),
    )


def run(command: list[str], job_file: Path, environment: dict[str, str]) -> tuple[int, str]:
    """(largest resident set in bytes, output) of a child."""
    with job_file.with_suffix(".log").open("w+") as log:
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, env=environment | os.environ
        )
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = status
        log.seek(0)
        output = log.read()
    if status:
        raise SystemExit(f"{' '.join(command)} failed:\n{output[-2000:]}")
    return usage.ru_maxrss * 1024, output


# --- peaks -----------------------------------------------------------------------------------------------------------


def trained(model: Path, plan: Training, steps: int) -> tuple[int, dict[str, Any]]:
    """(largest resident set of the train child in bytes, what it reports)."""
    with tempfile.TemporaryDirectory(prefix="memory-") as name:
        folder = Path(name)
        job_file = folder / "train.job.json"
        job_file.write_text(make_job(folder, model, plan, steps).model_dump_json())
        found, _ = run(launch_command("srlm.train", job_file), job_file, MEMORY | {"TMPDIR": name})
        info: dict[str, Any] = json.loads(result_of(job_file).read_text())["info"]
        assert info["steps"] == steps, info
        assert not info["overlong"], info
        return found, info


def peaks(steps: int) -> None:
    """Print planned over measured for each size and each way to train."""
    with tempfile.TemporaryDirectory(prefix="memory-") as name:
        imports, _ = trained(made("imports", Path(name)), Training(4, 64, gpu=False), steps)
        print(f"The imports take {gib(imports)}; all else is above that. {steps} steps each.")
        print(f"{'model':<7}{'what':<20}{'planned':>10}{'measured':>10}{'ratio':>8}")
        found: list[tuple[str, Shape, Training, int]] = []
        for size, tokens in TOKENS.items():
            model = made(size, Path(name))
            shape = shape_of(json.loads((model / "config.json").read_text()))
            for what, (pairs, settings) in WAYS.items():
                plan = Training(ROWS // 2 if pairs else ROWS, tokens, pairs, accumulation=2, gpu=False, **settings)
                measured = trained(model, plan, steps)[0] - imports
                found.append((size, shape, plan, measured))
                total = planned(shape, plan)
                print(f"{size:<7}{what:<20}{gib(total):>10}{gib(measured):>10}{total / measured:>8.2f}", flush=True)
    *_, last = TOKENS
    for what, lora, used in (("", False, memory.LOST), (" by LoRA", True, memory.LOST_BY_LORA)):
        chosen = [row[1:] for row in found if row[0] != last and bool(row[2].lora_rank) == lora]
        print(f"Fitted on the first three: {best_fit(chosen, used)} times the inputs are lost{what}; srlm says {used}.")
    worst = max(abs(1 - planned(*row[1:3]) / row[3]) for row in found if row[0] == last)
    print(f"{last}, not fitted on: at most {worst:.0%} off.")


def gpu(only: str, tokens: int, steps: int) -> None:
    """Print planned over measured for each size and each way to train that fits the GPU."""
    card = this_machine().card
    print(f"The GPU has {gib(card)}. {steps} steps each, of two forward passes of {ROWS} x {tokens} tokens.")
    print(f"{'model':<7}{'what':<20}{'planned':>10}{'measured':>10}{'ratio':>8}")
    with tempfile.TemporaryDirectory(prefix="memory-") as name:
        for size in only.split(","):
            model = made(size, Path(name))
            shape = shape_of(json.loads((model / "config.json").read_text()))
            for what, (pairs, settings) in WAYS.items():
                plan = Training(ROWS // 2 if pairs else ROWS, tokens, pairs, accumulation=2, **settings)
                total = planned(shape, plan)
                if total > card:
                    print(f"{size:<7}{what:<20}{gib(total):>10}  is more than there is")
                    continue
                measured = trained(model, plan, steps)[1]["peak_memory"] + memory.CUDA_CONTEXT
                print(f"{size:<7}{what:<20}{gib(total):>10}{gib(measured):>10}{total / measured:>8.2f}", flush=True)


def planned(shape: Shape, plan: Training) -> int:
    """Bytes that srlm plans."""
    return sum(training_memory(shape, plan).values())


def best_fit(found: list[tuple[Shape, Training, int]], used: float) -> float:
    """How often the inputs of all layers are lost: planned over measured is nearest to 1, in the mean of the squares.

    `used` is srlm's figure.
    """

    def error(times: float) -> float:
        errors = []
        for shape, plan, measured in found:
            parts = training_memory(shape, plan)
            rest = sum(parts.values()) - parts["lost between blocks"]
            errors.append((1 - (rest + parts["lost between blocks"] * times / used) / measured) ** 2)
        return statistics.mean(errors)

    return min((step / 2 for step in range(101)), key=error)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["peaks", "gpu"])
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--only", default=ON_GPU, help="models, for gpu")
    options = parser.parse_args()
    if options.what == "peaks":
        peaks(options.steps)
    else:
        gpu(options.only, options.tokens, options.steps)


if __name__ == "__main__":
    main()
