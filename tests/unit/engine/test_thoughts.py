"""What a model thinks aloud before its answer is no part of the answer, at whichever engine."""

import pytest

from srlm.engine import Sample
from srlm.engine.server import ServerEngine
from srlm.engine.thoughts import said


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>\nIt may be red.\nScore: 1\n</think>\n\nRed.\nScore: 4", "Red.\nScore: 4"),
        (" <think></think> Red. ", "Red."),
        ("<think>a</think>\n<think>b</think>Red.", "Red."),
        ("<think>all of it</think>", ""),
        ("Red.", "Red."),
        ("Close it with </think>.", "Close it with </think>."),
        ("Write <think>so</think> first.", "Write <think>so</think> first."),  # what is asked about such marks
    ],
)
def test_thoughts_in_front_are_cut_off(text: str, answer: str) -> None:
    assert said(text, 9, "stop") == Sample(answer, 9, "stop")


@pytest.mark.parametrize(("finish", "then"), [("stop", "unfinished"), ("length", "length")])
def test_thoughts_that_are_never_closed_are_no_answer(finish: str, then: str) -> None:
    assert said("<think>It may be red. Score: 4", 9, finish) == Sample("", 9, then)


def test_a_servers_replies_lose_their_thoughts_too() -> None:
    texts = ["<think>hm</think> Red.", "<think>hm", None]
    choices = [{"message": {"content": text}, "finish_reason": "stop"} for text in texts]
    samples = ServerEngine("http://127.0.0.1:9/v1", "m", 4, 1.0)._samples({"choices": choices})
    assert [(sample.text, sample.finish) for sample in samples] == [
        ("Red.", "stop"), ("", "unfinished"), ("", "stop"),
    ]  # fmt: skip
