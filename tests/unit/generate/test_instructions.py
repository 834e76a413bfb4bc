"""New instructions: rounds, filters, replay."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from srlm.engine.scripted import ScriptedEngine
from srlm.generate.instructions import (
    InstructionFilter,
    InstructionWriter,
    clean,
    first_user_turn,
    instructions_from_file,
    what_helps,
)
from srlm.judge.prompts import Templates
from srlm.packaged import PROMPTS
from srlm.records import Instruction
from srlm.seed.similarity import Pool
from srlm.settings import InstructionSettings
from srlm.store import Appender, read_rows

IFT = [f"seed question number {n} about topic {n * 7}" for n in range(10)]
WORDS = ["red", "blue", "old", "new", "tall", "short", "warm", "cold", "near", "far"]


def settings(**values: Any) -> InstructionSettings:
    return InstructionSettings(**({"count": 12, "round_size": 8, "rouge_l": 0.9} | values))


def fresh(messages: list, seed: int) -> str:
    """A different four-word question for almost every seed."""
    return "why " + " ".join(WORDS[(seed // 10**i) % 10] for i in range(6))


def write(path: Path, engine: ScriptedEngine, wanted: InstructionSettings, stop_after: int | None = None) -> list[str]:
    """Write instructions as the rollout child does; optionally stop in the middle, as a crash would."""
    writer = InstructionWriter(
        t=1,
        run_seed=1,
        settings=wanted,
        templates=Templates(PROMPTS),
        ift=IFT,
        filter=InstructionFilter(wanted, IFT, ["what is held out here"]),
        window=4,
    )

    async def run() -> list[str]:
        kept = []
        rows = list(read_rows(path, Instruction))
        with Appender(path) as file:
            async for row in writer.write(engine, rows, file):
                kept.append(row.messages[0]["content"])
                if len(kept) == stop_after:
                    break
        return kept

    return asyncio.run(run())


def test_wanted_number_is_kept_and_every_request_is_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "i.jsonl"
    kept = write(path, ScriptedEngine(fresh), settings())
    rows = list(read_rows(path, Instruction))
    assert len(kept) == 12
    assert [row.messages[0]["content"] for row in rows if row.dropped is None] == kept
    assert [row.id for row in rows] == [f"M1-{n:06d}" for n in range(len(rows))]


def test_first_round_has_ift_examples_only_and_later_ones_two_generated(tmp_path: Path) -> None:
    engine = ScriptedEngine(fresh)
    kept = write(tmp_path / "i.jsonl", engine, settings())
    prompts = [messages[0]["content"] for messages, _, _ in engine.asked]
    assert all(prompt.rstrip().endswith("Task 9:") for prompt in prompts)
    for prompt in prompts[:8]:
        assert sum(text in prompt for text in IFT) == 8
    for prompt in prompts[8:]:
        assert sum(text in prompt for text in IFT) == 6
        assert sum(text in prompt for text in kept) == 2


def test_a_rerun_makes_the_same_requests(tmp_path: Path) -> None:
    whole, first, second = ScriptedEngine(fresh), ScriptedEngine(fresh), ScriptedEngine(fresh)
    expected = write(tmp_path / "whole.jsonl", whole, settings())
    path = tmp_path / "cut.jsonl"
    write(path, first, settings(), stop_after=5)
    done = len(list(read_rows(path, Instruction)))
    assert write(path, second, settings()) == expected
    assert second.asked == whole.asked[done:]
    assert len(first.asked) <= done + 4  # a crash can make us ask again for one window of requests


def test_each_filter_has_its_reason(tmp_path: Path) -> None:
    replies = [
        "why not",
        "draw a picture of the sea",
        "What is held out here?",
        IFT[3] + "!",
        "tell me why birds sing in spring",
        "Tell me why birds sing in spring.",
        "word " * 40,
    ]
    in_order = iter(replies)
    engine = ScriptedEngine(lambda messages, seed: next(in_order))
    path = tmp_path / "i.jsonl"
    write(path, engine, settings(count=7, round_size=7, max_attempts=1, max_words=30))
    reasons = [row.dropped for row in read_rows(path, Instruction)]
    assert reasons == ["too short", "keyword", "held out", "similar", None, "similar", "too long"]


def test_a_shortfall_ends_after_the_bounded_attempts(tmp_path: Path) -> None:
    engine = ScriptedEngine(lambda messages, seed: "always the same question")
    assert write(tmp_path / "i.jsonl", engine, settings(max_attempts=3)) == ["always the same question"]
    assert len(engine.asked) == 36


def test_a_model_that_only_repeats_itself_is_asked_no_more(tmp_path: Path) -> None:
    """At the end of a round, after 100 requests at least; a run that was stopped there asks no more, either."""
    engine = ScriptedEngine(lambda messages, seed: "always the same question")
    wanted = settings(count=100, round_size=40, max_attempts=10)
    assert write(tmp_path / "i.jsonl", engine, wanted) == ["always the same question"]
    assert len(engine.asked) == 120
    assert write(tmp_path / "i.jsonl", engine, wanted) == ["always the same question"]
    assert len(engine.asked) == 120
    other = ScriptedEngine(lambda messages, seed: fresh(messages, seed) if seed % 10 == 0 else "always the same")
    write(tmp_path / "j.jsonl", other, wanted)  # one in ten is new: it goes on
    assert len(other.asked) > 800


@pytest.mark.parametrize(
    ("dropped", "said"),
    [
        ({"similar": 97, "too short": 3}, r"raise instructions.temperature \(0.6\) or instructions.rouge_l \(0.9\)"),
        ({"finish: length": 9, "similar": 1}, r"raise instructions.max_tokens \(256\)"),
        ({"keyword": 4}, "instructions.keywords"),
        ({"held out": 4}, r"raise instructions.max_attempts \(4"),
        ({}, r"raise instructions.max_attempts \(4"),
    ],
)
def test_what_helps_follows_from_why_most_were_dropped(dropped: dict[str, int], said: str) -> None:
    assert re.search(said, what_helps(settings(), dropped))
    assert what_helps(settings(source="file", path="p.jsonl"), dropped) == "add prompts to p.jsonl"


@pytest.mark.parametrize(
    ("reply", "instruction"),
    [
        ("Why is the sky blue?", "Why is the sky blue?"),
        ("9. Why is the sky blue?", "Why is the sky blue?"),
        ("Task 9: Why?\nTask 10: How?", "Why?"),
        ("Why is it so?\nAnswer: because.", "Why is it so?"),
        ("Sum these:\n1. one\n2. two", "Sum these:\n1. one\n2. two"),
        ("2 + 2 is what?", "2 + 2 is what?"),
        ("2.5 miles in km?", "2.5 miles in km?"),
        ("1990: what happened?", "1990: what happened?"),
        (".NET basics", ".NET basics"),
        ("9. Write a poem.\n10. Explain rain.", "Write a poem."),
        ("  ", ""),
    ],
)
def test_only_the_instruction_of_a_reply_is_taken(reply: str, instruction: str) -> None:
    assert clean(reply) == instruction


def test_rouge_l_by_hand() -> None:
    pool = Pool(0.75)
    pool.add("the cat sat on the mat")
    # LCS of "the cat lay on the mat" is 5 of 6 and 6 words: F = 10/12
    assert pool.has_similar("The cat lay on the mat!")
    # LCS 4 ("cat on the mat") of 6 and 6: F = 8/12
    assert not pool.has_similar("one cat lay on the mat")
    assert not Pool(0.5).has_similar("anything")


def test_a_file_of_prompts_gives_each_iteration_fresh_ones(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    prompts = ["what is held out here", "first good question", "second good question", "no", "third good question"]
    system = {"role": "system", "content": "the same for all"}
    turns = [[system, {"role": "user", "content": text}] for text in prompts]
    path.write_text("".join(json.dumps({"messages": messages}) + "\n" for messages in turns))
    wanted = settings(source="file", path=str(path), count=2, rouge_l=1.0)
    held_out = ["what is held out here"]
    first = instructions_from_file(1, wanted, InstructionFilter(wanted, IFT, held_out))
    assert [(first_user_turn(row.messages), row.dropped) for row in first] == [
        ("what is held out here", "held out"),
        ("first good question", None),
        ("second good question", None),
    ]
    used = [first_user_turn(row.messages) for row in first if row.dropped is None]
    second = instructions_from_file(2, wanted, InstructionFilter(wanted, [*IFT, *used], held_out))
    assert [first_user_turn(row.messages) for row in second if row.dropped is None] == ["third good question"]
