"""Tasks of the evaluation harness: twelve capitals, to be chosen or to be written."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from srlm.store import write_rows
from tests.helpers.train_jobs import loaded

FACTS = {"Peru": "Lima", "Kenya": "Nairobi", "France": "Paris", "Norway": "Oslo", "Japan": "Tokyo", "Cuba": "Havana"}
FACTS |= {"Ghana": "Accra", "Iran": "Tehran", "Spain": "Madrid", "Italy": "Rome", "Egypt": "Cairo", "Chile": "Santiago"}
HEAD = """
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
doc_to_text: "{{question}}"
metadata: {version: 3}
"""
CHOICE = """
task: capitals_choice
output_type: multiple_choice
doc_to_choice: "{{choices}}"
doc_to_target: answer
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
"""
WRITTEN = """
task: capitals_written
output_type: generate_until
doc_to_target: "{{choices[answer]}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 32, do_sample: false}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
"""


def questions() -> list[dict[str, Any]]:
    """Twelve, each with four choices that are wrong in the next three countries' capitals."""
    capitals, rows = list(FACTS.values()), []
    for number, country in enumerate(FACTS):
        said = [f"The capital of {country} is {capitals[(number + k) % len(capitals)]}." for k in range(4)]
        right = number % 4
        said[0], said[right] = said[right], said[0]
        rows.append({"question": f"What is the capital of {country}?", "choices": said, "answer": right})
    return rows


def write_tasks(folder: Path) -> Path:
    """A folder with two tasks over the same twelve questions."""
    write_rows(folder / "capitals.jsonl", questions())
    for name, text in (("choice", CHOICE), ("written", WRITTEN)):
        (folder / f"{name}.yaml").write_text(text + HEAD.replace("DATA", str(folder / "capitals.jsonl")))
    return folder


def srlm(*arguments: Any) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "srlm.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=900)


def directly(model: Path) -> tuple[float, float]:
    """Accuracy of choosing and of writing, without the harness: transformers, one sequence at a time."""
    import torch
    from transformers import AutoTokenizer

    tokenizer, lm = AutoTokenizer.from_pretrained(model), loaded(model)
    chosen = written = 0
    for row in questions():
        asked = [{"role": "user", "content": row["question"]}]
        head = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=False)
        scores = []
        for choice in row["choices"]:
            tail = tokenizer(choice, add_special_tokens=False)["input_ids"]
            with torch.no_grad():
                logits = lm(input_ids=torch.tensor([head + tail])).logits[0, len(head) - 1 : -1].log_softmax(-1)
            scores.append(float(logits.gather(1, torch.tensor(tail)[:, None]).sum()))
        chosen += scores.index(max(scores)) == row["answer"]
        answer = lm.generate(input_ids=torch.tensor([head]), max_new_tokens=32, do_sample=False)[0, len(head) :]
        said = tokenizer.decode(answer, skip_special_tokens=True).split("\n")[0]
        written += said == row["choices"][row["answer"]]
    return chosen / len(FACTS), written / len(FACTS)
