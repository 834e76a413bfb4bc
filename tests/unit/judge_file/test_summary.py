"""What the table of a judged file says, and what its user is warned of."""

import pytest

from srlm.judge.parse import Scale, parse_score
from srlm.judge_file.columns import Columns, item_of
from srlm.judge_file.job import Judged
from srlm.judge_file.people import People
from srlm.judge_file.summary import Summary
from srlm.records import Judgement
from srlm.seed.files import RawRow
from srlm.settings import JudgeSettings

SCALE = Scale(0, 5)
COLUMNS = Columns(prompt="prompt", responses=["response"], human_score="h")


def summary(judgements: list[Judgement], mode: str = "sampled", scale: Scale = SCALE) -> Summary:
    """Of a file with one judgement a row."""
    found = Summary(JudgeSettings.model_validate({"mode": mode}), scale, People(COLUMNS, scale))
    for number, judgement in enumerate(judgements, 1):
        row = RawRow(number, f"f.jsonl:{number}", {"prompt": "q", "response": "a" * number, "h": number})
        found.add(row, item_of(COLUMNS, row), Judged(row=number, judgements=[[judgement]]))
    return found


def said(*replies: str, mode: str = "sampled") -> Summary:
    return summary([Judgement(text=r, score=parse_score(r, SCALE), finish="stop", tokens=1) for r in replies], mode)


def compared(*verdicts: tuple[str, str]) -> Summary:
    made = [
        Judgement(text=f"Verdict: {one}", swapped=f"Verdict: {two}", score=0.5, finish="stop", tokens=1, against=1)
        for one, two in verdicts
    ]
    return summary(made, "pairwise", Scale(0, 1))


def test_a_judge_that_uses_a_scale_from_0_to_1_is_a_finding() -> None:
    [finding] = said('{"score": "0.8"}', "Score: 0.25", "Score: 1.0").findings()
    assert finding.startswith("all scores are at most 1 and most are fractions")
    assert finding.endswith("the rubric's is 0 to 5")


@pytest.mark.parametrize(
    "found",
    [
        said("Score: 0", "Score: 1", "Score: 1"),  # whole: they may be on the rubric's scale
        said("Score: 0.8", "Score: 0.5", "Score: 3"),
        said("Score: 0", "Score: 1", "Score: 0", "Score: 0.5"),
        said("Score: 0.8", "Score: 0.5", mode="expected"),  # a mean by probabilities
        said(),
    ],
)
def test_low_scores_alone_are_no_finding(found: Summary) -> None:
    assert found.findings() == []


def test_a_judge_that_uses_a_longer_scale_is_a_finding() -> None:
    found = said("Score: 85/100", "Score: 7", "Score: 4", "no number")
    assert ("  a number that is no score on this scale", "2") in found.lines()
    assert ("  no score in the reply", "1") in found.lines()
    assert found.findings() == ["most numbers that the judge gives are no scores from 0 to 5: see its judgements"]


def test_a_judge_that_prefers_the_first_place_is_a_finding() -> None:
    found = compared(("A", "A"), ("A", "A"), ("A", "B"))
    assert ("the first one preferred in both orders", "2 of 3 (66.7%)") in found.lines()
    assert found.findings() == ["2 of 3 (66.7%) of comparisons prefer whichever response comes first"]
    assert compared(("A", "B"), ("B", "A"), ("B", "B")).findings() == []


def test_fine_scores_are_counted_by_halves_and_two_phrasings_are_compared() -> None:
    made = [Judgement(text="", score=n / 20, again=5 - n / 20, finish="stop", tokens=1) for n in range(60)]
    lines = dict(summary(made, "expected").lines())
    assert lines["judgements by score"].startswith("0: 6, 0.5: 9, 1: 11, ")
    assert lines["agreement of two phrasings, of 60 (Spearman)"] == "-1.000"


def test_what_could_not_be_read_shows_in_the_counts() -> None:
    lines = dict(said("Score: 1", "Score: 2", "no number", "Score: 3").lines())
    assert lines["judgements with a score"] == "3 of 4 (75.0%)"
    assert lines["  pairs that people tell apart, with scores"] == "3 of 6 (50.0%)"
    assert lines["  the same, by the longer response alone"] == "1.000"
