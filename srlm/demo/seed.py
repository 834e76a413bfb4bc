"""Writes the demo's seed files: `python -m srlm.demo.seed --out srlm/demo/data`.

ift.jsonl (prompts with answers, nearly all good), eft.jsonl (several answers per prompt, each with a review that
stands for a human's) and eval_prompts.jsonl. No prompt is in two of them. The same seed writes the same files.
"""

import argparse
import json
import random
from pathlib import Path
from typing import Any

from srlm.demo.answers import Habits, answer, good_answer
from srlm.demo.corpus import REVIEWED, SLOPPY, junk, known
from srlm.demo.grader import mark
from srlm.demo.reviews import review
from srlm.demo.world import Question, ask
from srlm.packaged import DEMO

SEED = 7
IFT_ROWS = 300
EFT_PROMPTS = 360
EFT_ANSWERS = 4  # per prompt
EVAL_PROMPTS = 200
SLOPPY_IFT = 0.15  # share of IFT answers that are no better than the base's reading
JUNK_EFT = 0.1  # share of EFT prompts with one response that is no answer at all
MISTAKEN = Habits(wrong=0.6)  # faultless but for its facts: only knowing them tells it from a good answer

Row = dict[str, Any]


def make(seed: int = SEED) -> dict[str, list[Row]]:
    """File name -> rows."""
    rng = random.Random(seed)
    prompts = distinct_questions(IFT_ROWS + EFT_PROMPTS + EVAL_PROMPTS, rng)
    ift, eft = prompts[:IFT_ROWS], prompts[IFT_ROWS : IFT_ROWS + EFT_PROMPTS]
    return {
        "ift.jsonl": [ift_row(text, rng) for text in ift],
        "eft.jsonl": [row for text in eft for row in eft_rows(text, rng)],
        "eval_prompts.jsonl": [{"messages": [_turn("user", text)]} for text in prompts[IFT_ROWS + EFT_PROMPTS :]],
    }


def distinct_questions(count: int, rng: random.Random) -> list[str]:
    """`count` questions, no two alike, in random order."""
    found: dict[str, None] = {}
    while len(found) < count:
        found.setdefault(ask(rng))
    return list(found)


def ift_row(text: str, rng: random.Random) -> Row:
    """A prompt with an answer to learn from."""
    question = known(text)
    sloppy = rng.random() < SLOPPY_IFT
    reply = answer(question, SLOPPY, rng) if sloppy else good_answer(question, rng)
    return {"messages": [_turn("user", text), _turn("assistant", reply)]}


def eft_rows(text: str, rng: random.Random) -> list[Row]:
    """Answers to one prompt that are not all worth the same, each with its review."""
    question = known(text)
    responses: list[str] = []
    while len({mark(question, r).score for r in responses}) < 2:
        responses = _responses(text, question, rng)
    return [_eft_row(question, text, response) for response in responses]


def _responses(text: str, question: Question, rng: random.Random) -> list[str]:
    """EFT_ANSWERS different answers: a good one, one whose facts may be wrong, and some with all sorts of faults."""
    found = dict.fromkeys([good_answer(question, rng), answer(question, MISTAKEN, rng)])
    if rng.random() < JUNK_EFT:
        found.setdefault(junk(text, rng))
    while len(found) < EFT_ANSWERS:
        found.setdefault(answer(question, REVIEWED, rng))
    responses = list(found)
    rng.shuffle(responses)
    return responses


def _eft_row(question: Question, text: str, response: str) -> Row:
    score = mark(question, response).score
    return {
        "messages": [_turn("user", text)],
        "response": response,
        "judgement": review(question, response),
        "score": score,
        "human_score": float(score),
        "prompt_group": text,
    }


def _turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def main() -> None:
    """Read the command line and write the files."""
    parser = argparse.ArgumentParser(description="Write the demo's seed files.")
    parser.add_argument("--out", type=Path, default=DEMO / "data", help="folder to write the files to")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    for name, rows in make().items():
        lines = (json.dumps(row, ensure_ascii=False) for row in rows)
        (out / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
