"""Small ranked files from the demo's world: questions, each with some four answers and what they are worth."""

import json
import random
from pathlib import Path

from srlm.demo.corpus import known
from srlm.demo.grader import mark
from srlm.demo.seed import distinct_questions, eft_rows


def write_ranked(path: Path, prompts: int, seed: int = 11) -> Path:
    """A ranked.jsonl; people's marks are the world's points, an order within each row."""
    rng = random.Random(seed)
    lines = []
    for text in distinct_questions(prompts, rng):
        answers = [row["response"] for row in eft_rows(text, rng) if row["response"]]
        responses = [{"text": answer, "human": float(mark(known(text), answer).score)} for answer in answers]
        row = {"messages": [{"role": "user", "content": text}], "responses": responses}
        lines.append(json.dumps(row, ensure_ascii=False))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
