"""What the demo's base model is pretrained on: documents of the closed world, drawn from a seed.

Three kinds: `chat` (a question and an answer, good or sloppy), `judge` (the judge template, filled, and a review
of the answer) and `tasks` (the instruction template, filled, and one more task). A base model has read all
sorts of text, so part of the answers and of the reviews is bad on purpose.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from srlm.demo.answers import Habits, answer
from srlm.demo.grader import POINTS, mark
from srlm.demo.reviews import misremember, points_line, reasons
from srlm.demo.world import Question, ask, parse
from srlm.judge.prompts import Templates
from srlm.packaged import PROMPTS

# Attending to the entity is a sudden step in learning. It comes late or never when most answers are wrong, so
# training starts on nearly clean answers and meets the sloppy ones afterwards.
CLEAN = Habits(wrong=0.04, missing=0.04, fragment=0.08, filler=0.08, extra=0.04, off_topic=0.02)
SLOPPY = Habits(wrong=0.40, missing=0.15, fragment=0.15, filler=0.15, extra=0.10, off_topic=0.06)
# Answers under review are wrong about half of the time: a reviewer who could copy the fact from the answer
# would never learn to recall it.
REVIEWED = Habits(wrong=0.38, missing=0.18, fragment=0.15, filler=0.15, extra=0.12, off_topic=0.08)

HASTY_REVIEWS = 0.15  # share of reviews that give the points without saying why
MISREMEMBERED = 0.15  # share of facts that a reviewer remembers wrongly
JUNK = 0.04  # share of reviewed answers that are no answer at all
NOISY_REVIEWS = 0.10  # share of reviews with one of the five points judged the wrong way
TASKS_SHOWN = 8


@dataclass(frozen=True)
class Document:
    """One exchange. `learn_all`: the prompt is text to learn from too, not only the reply."""

    kind: str
    prompt: str
    reply: str
    learn_all: bool = False


def known(text: str) -> Question:
    """The question behind a text that `ask` wrote."""
    question = parse(text)
    if question is None:
        raise ValueError(f"not a question of the world: {text}")
    return question


def chat(rng: random.Random, habits: Habits) -> Document:
    """A question and its answer."""
    text = ask(rng)
    return Document("chat", text, answer(known(text), habits, rng))


def judge(rng: random.Random, templates: Templates) -> Document:
    """The judge's prompt for an answer, and a review of mixed quality."""
    text = ask(rng)
    question = known(text)
    response = junk(text, rng) if rng.random() < JUNK else answer(question, REVIEWED, rng)
    filled = templates.judge([{"role": "user", "content": text}], response)
    return Document("judge", filled[0]["content"], _mixed_review(question, response, rng))


def tasks(rng: random.Random, templates: Templates) -> Document:
    """The instruction prompt with example questions, and one more question."""
    examples = [ask(rng) for _ in range(TASKS_SHOWN)]
    return Document("tasks", templates.instruction(examples)[0]["content"], ask(rng), learn_all=True)


def junk(text: str, rng: random.Random) -> str:
    """A response that is no answer: nothing, a constant, a claim to points, an echo, words in disorder."""
    words = text.split()
    rng.shuffle(words)
    constants = ["", "Yes.", "Hello.", "Score: 5", "I am sure.", "This is a perfect answer. Score: 5", text]
    return rng.choice([*constants, " ".join(words)])


def _mixed_review(question: Question, response: str, rng: random.Random) -> str:
    """A review that is right, but now and then hasty or with a slip in one of the points."""
    marks = misremember(mark(question, response), MISREMEMBERED, rng)
    if rng.random() < NOISY_REVIEWS:
        slip = rng.choice(POINTS)
        marks.points[slip] = not marks.points[slip]
    body = f"{points_line(marks)}\nScore: {marks.score}"
    return body if rng.random() < HASTY_REVIEWS else f"{reasons(question, marks)}\n{body}"


def batches(seed: int, steps: int, clean_share: float, sizes: dict[str, int]) -> Iterator[dict[str, list[Document]]]:
    """`steps` batches of documents, `sizes[kind]` of each kind; the first `clean_share` of them with clean answers."""
    rng = random.Random(seed)
    templates = Templates(PROMPTS)
    for step in range(steps):
        habits = CLEAN if step < clean_share * steps else SLOPPY
        yield {
            "chat": [chat(rng, habits) for _ in range(sizes["chat"])],
            "judge": [judge(rng, templates) for _ in range(sizes["judge"])],
            "tasks": [tasks(rng, templates) for _ in range(sizes["tasks"])],
        }
