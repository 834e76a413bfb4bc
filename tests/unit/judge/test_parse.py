"""The parser's policy on a corpus of replies, and what holds for every text."""

import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from srlm.judge.parse import Scale, parse_score, read_score, said_from
from srlm.judge.verdict import read_verdict
from tests.helpers.attacks import ATTACKS
from tests.helpers.judge_replies import CONFLICTS, KINDS, OF_TEN, PREFERRED, TIED, UNDECIDED, VERDICTS

REPLIES = [(kind, reply, score) for kind, replies in KINDS.items() for reply, score in replies]
PIECES = [
    *(reply for _, reply, _ in REPLIES),
    *(reply for reply, _ in VERDICTS),
    *(reply.format(a="A", b="B") for reply in [*PREFERRED, *TIED, *UNDECIDED]),
    "\n",
    " ",
    "score",
    ": ",
    "5",
    "/",
    "=",
]
MIXTURES = st.text() | st.lists(st.sampled_from(PIECES), max_size=8).map("".join)
SCALES = st.tuples(st.integers(-20, 100), st.integers(1, 100)).map(lambda ends: Scale(ends[0], ends[0] + ends[1]))


@pytest.mark.parametrize(("kind", "reply", "score"), REPLIES)
def test_the_corpus_is_read_by_the_policy(kind: str, reply: str, score: float | None) -> None:
    assert parse_score(reply) == score


def test_the_corpus_is_large_and_has_no_reply_twice() -> None:
    assert len({reply for _, reply, _ in REPLIES}) == len(REPLIES) >= 150


@pytest.mark.parametrize(("reply", "score"), OF_TEN)
def test_another_scale(reply: str, score: float | None) -> None:
    assert parse_score(reply, Scale(1, 10)) == score


@pytest.mark.parametrize("reply", CONFLICTS)
def test_different_scores_in_one_reply_are_flagged(reply: str) -> None:
    assert read_score(reply).conflict


@pytest.mark.parametrize(
    "reply", ["Score: 4", "Score: 4\n\nFinal score: 4", "Score: 4\nScore: 9", "Score: N. Score: 2"]
)
def test_one_usable_score_is_no_conflict(reply: str) -> None:
    assert not read_score(reply).conflict


@given(MIXTURES, SCALES)
def test_no_reply_crashes_the_parser_or_leaves_the_scale(text: str, scale: Scale) -> None:
    found = read_score(text, scale)
    assert found.score is None or scale.low <= found.score <= scale.high
    assert found.at is None or text[found.at] in "+-" or text[found.at].isdigit()
    assert read_verdict(text).choice in ("A", "B", "tie", None)


@given(MIXTURES, st.integers(0, 5))
def test_a_last_line_in_the_rubrics_format_decides(text: str, score: int) -> None:
    assume(said_from(text) < len(text) or not text)  # else all that follows is thoughts, too
    assert parse_score(f"{text}\n\nScore: {score}") == score


@given(st.sampled_from(ATTACKS), st.integers(0, 4))
def test_an_attack_that_the_judge_quotes_does_not_decide(attack: str, score: int) -> None:
    assert parse_score(f'The answer says: "{attack}"\n\nScore: {score}') == score
    assert parse_score(f"{attack}\nThat is the answer. It is worth nothing more.\nScore: {score}") == score


@pytest.mark.parametrize(
    "text",
    [
        "score" + " " * 50_000,
        "score " * 20_000,
        "score: " + "1 + " * 20_000,
        "score: " + "4 -> " * 20_000,
        "[" * 50_000,
        "\n" * 50_000,
        "verdict: A" + " " * 50_000 + "x",
        "verdict: a " * 20_000,
        "[[A" * 20_000,
        "<think>" * 20_000,
        "Total: 4\n" * 10_000,
    ],
)
def test_long_runs_take_no_long_time(text: str) -> None:
    started = time.process_time()
    read_score(text)
    read_verdict(text)
    assert time.process_time() - started < 2  # seconds; a quadratic pattern takes minutes


@pytest.mark.parametrize(("reply", "verdict"), VERDICTS)
def test_verdicts(reply: str, verdict: str | None) -> None:
    assert read_verdict(reply).choice == verdict


@pytest.mark.parametrize(("a", "b"), [("A", "B"), ("B", "A"), ("a", "b"), ("b", "a")])
@pytest.mark.parametrize(
    ("reply", "says"),
    [*((reply, "a") for reply in PREFERRED), *((reply, "tie") for reply in TIED), *((r, None) for r in UNDECIDED)],
)
def test_a_verdict_follows_the_letters(reply: str, says: str | None, a: str, b: str) -> None:
    assert read_verdict(reply.format(a=a, b=b)) == (a.upper() if says == "a" else says, False)


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("I prefer Response 2", "B"),
        ("Response 1 is better than Response 2.", "A"),
        ("Output (2)", "B"),
        ("Winner: model_1", "A"),
        ("Verdict: 2", None),
        ("[[1]]", None),
        ("\\boxed{2}", None),
    ],
)
def test_a_number_alone_is_no_name_of_a_response(reply: str, verdict: str | None) -> None:
    assert read_verdict(reply).choice == verdict


@given(MIXTURES, st.sampled_from(["A", "B", "tie"]))
def test_a_last_line_in_the_rubrics_format_is_the_verdict(text: str, verdict: str) -> None:
    assume(said_from(text) < len(text) or not text)
    assert read_verdict(f"{text}\n\nVerdict: {verdict}").choice == verdict


def test_what_is_quoted_is_no_conflict() -> None:
    assert not read_score('It says "Score: 5".\nScore: 1').conflict


def test_two_verdicts_are_a_conflict() -> None:
    assert read_verdict("Verdict: A\nNo. Verdict: B").conflict
    assert not read_verdict("Verdict: A\n[[A]]").conflict
