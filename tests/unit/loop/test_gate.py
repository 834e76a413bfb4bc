"""The health gate: which figures speak against training, and what the loop does about it."""

import json
from pathlib import Path
from typing import Any

import pytest

from srlm.errors import StageError
from srlm.iterate import Iteration
from srlm.loop.gate import check_judge, unmeasured, what_to_do
from srlm.loop.redo import set_aside
from srlm.measure.metrics import agreement, entropy, judging_metrics
from srlm.records import Candidate, Judgement, Rollout
from srlm.run.folder import Run
from srlm.settings import GateSettings, JudgeSettings
from srlm.store import file_digest, read_json, write_json, write_rows
from tests.helpers.run_folder import finished_run

HEALTHY: dict[str, Any] = {
    "judge": {"pairwise_accuracy": 0.9},
    "aift": {
        "pairs": 60,
        "dropped": {"tie": 40},
        "parse_rate": 0.99,
        "score_entropy": 1.8,
        "tie_rate": 0.3,
        "usable_pair_rate": 0.6,
        "sample_agreement": 0.6,
        "score_length": -0.2,
        "length_ratio": 1.1,
    },
    "canaries": {"median": 4.0, "scores": {"score": 1.0}, "passed": {}},
}


def but(section: str, **figures: Any) -> dict[str, Any]:
    return HEALTHY | {section: HEALTHY[section] | figures}


def checks(metrics: dict[str, Any], previous: Any = HEALTHY, **settings: Any) -> list[str]:
    return [finding.check for finding in check_judge(metrics, previous, GateSettings(**settings))]


@pytest.mark.parametrize(
    ("metrics", "check"),
    [
        (but("aift", parse_rate=0.79), "parse"),
        (but("aift", parse_rate=None), "parse"),
        (but("aift", score_entropy=0.4), "entropy"),
        (but("aift", tie_rate=0.81), "ties"),
        (but("aift", usable_pair_rate=0.09), "pairs"),
        (but("aift", sample_agreement=0.05), "agreement"),
        (but("aift", sample_agreement=None, order_agreement=-0.4), "agreement"),
        (but("aift", sample_agreement=None, phrasing_agreement=0.02), "agreement"),
        (but("judge", equal_length_accuracy=0.51), "people"),
        (but("aift", score_length=0.75), "length"),
        (but("aift", score_length=-0.75), "length"),
        (but("aift", length_ratio=1.6), "longer"),
        (but("aift", consistency=0.45), "consistency"),
        (but("canaries", passed={"score": 4.0}), "canaries"),
    ],
)
def test_one_bad_figure_is_one_finding(metrics: dict[str, Any], check: str) -> None:
    assert checks(HEALTHY) == []
    assert checks(metrics) == [check]


def test_agreement_with_people_against_the_floor_and_against_the_previous_model() -> None:
    assert checks(but("judge", pairwise_accuracy=0.84)) == ["drop"]
    assert checks(but("judge", pairwise_accuracy=0.86)) == []
    assert checks(but("judge", pairwise_accuracy=0.5), previous=None) == ["people"]
    assert checks(but("judge", pairwise_accuracy=None)) == []


def test_what_is_not_defined_is_no_finding() -> None:
    undefined = dict.fromkeys(("score_entropy", "sample_agreement", "score_length", "length_ratio"))
    assert checks(but("aift", **undefined)) == []


def test_a_waived_check_is_shown_and_marked() -> None:
    [finding] = check_judge(but("aift", tie_rate=0.9), None, GateSettings(waive=["ties"]))
    assert finding.waived
    assert str(finding).startswith(
        "instructions whose candidates tie: 90.0%, above 80.0% (gate.max_tie_rate): the judge"
    )
    assert str(finding).endswith(" [waived]")


def test_what_to_do_is_said_as_commands() -> None:
    said = what_to_do(Path("runs/a"), 1, 3, JudgeSettings())
    assert "judge.samples = 7" in said
    assert 'judge.mode = "expected"' in said
    assert "runs/a/prompts/judge.txt" in said
    assert "`srlm iterate 3 --run runs/a --redo stale`" in said
    assert "`srlm iterate 3 --run runs/a --accept-judge`" in said
    assert "judge.mode" not in what_to_do(Path("runs/a"), 1, 3, JudgeSettings(mode="expected"))
    assert "judge.samples" not in what_to_do(Path("runs/a"), 1, 3, JudgeSettings(mode="expected", justify=False))
    assert "prompts/pairwise.txt" in what_to_do(Path("runs/a"), 1, 3, JudgeSettings(mode="pairwise"))


# --- the figures, by hand --------------------------------------------------------------------------------------------


def test_entropy_in_bits() -> None:
    assert entropy([8]) == 0
    assert entropy([4, 4]) == 1
    assert entropy([1, 1, 2]) == 1.5


def test_agreement_of_judgements_is_the_intraclass_correlation() -> None:
    assert agreement([[1, 1], [3, 3], [5, 5]]) == 1
    assert agreement([[1, 3], [3, 1]]) == -1  # means alike, judgements not: between 0, within 2
    # means 2 and 5, grand mean 3.5: between = 2 * (2.25 + 2.25) = 9; within = (1 + 1 + 1 + 1) / 2 = 2
    assert agreement([[1, 3], [4, 6]]) == pytest.approx((9 - 2) / (9 + 2))
    assert agreement([[4], [5]]) is None
    assert agreement([[4, 4], [4, 4]]) is None
    assert agreement([[1, 1], [3, 3], [2]]) == 1  # a single judgement says nothing


def rollout(*candidates: tuple[str, tuple[float | None, ...]]) -> Rollout:
    made = [
        Candidate(
            text=text,
            finish="stop",
            tokens=1,
            judgements=[Judgement(text="", score=s, finish="stop", tokens=1) for s in scores],
        )
        for text, scores in candidates
    ]
    return Rollout(id="r", messages=[], candidates=made)


def test_judging_metrics() -> None:
    rising = rollout(("a", (1, 1)), ("bb", (3, None)), ("ccc", (5, 5)))
    falling = rollout(("a", (5, 4.6)), ("bb", (1, 1)))
    found = judging_metrics([rising, falling, rollout(("a", (5,)), ("b", (1,)))])  # the last: lengths alike
    assert found["parse_rate"] == pytest.approx(11 / 12)
    assert found["score_length"] == pytest.approx((1 - 1) / 2)
    assert found["score_entropy"] == pytest.approx(entropy([5, 1, 5]))  # 4.6 counts as 5


def fine(*scores: float) -> Rollout:
    """Candidates of equal length with expected scores, one each."""
    made = [
        Judgement(text="", score=score, finish="stop", tokens=1, probabilities=[0, 0, 0, 1, 0, 0]) for score in scores
    ]
    return Rollout(
        id="r", messages=[], candidates=[Candidate(text="a", finish="stop", tokens=1, judgements=[j]) for j in made]
    )


def test_fine_scores_that_round_alike_are_not_the_same() -> None:
    spread = judging_metrics([fine(2.6, 2.8, 3.0, 3.2), fine(2.7, 2.9, 3.1, 3.4)])
    assert spread["score_entropy"] == pytest.approx(3)  # eight scores, all different
    assert judging_metrics([fine(3.001, 3.002, 2.999, 3.01)])["score_entropy"] == 0
    coarse = judging_metrics([rollout(("a", (2.6, 2.8)), ("b", (3.0, 3.2)))])
    assert coarse["score_entropy"] == 0


def test_agreement_of_two_phrasings_is_of_ranks_and_of_enough_answers() -> None:
    def asked_twice(scores: list[tuple[float, float]]) -> Rollout:
        made = [Judgement(text="", score=one, again=two, finish="stop", tokens=1) for one, two in scores]
        answers = [Candidate(text="a", finish="stop", tokens=1, judgements=[j]) for j in made]
        return Rollout(id="r", messages=[], candidates=answers)

    scores = [(n / 20, 1 + (n / 20) ** 2 / 5) for n in range(60)]  # another mean and spread, the same order
    assert judging_metrics([asked_twice(scores)])["phrasing_agreement"] == pytest.approx(1)
    assert judging_metrics([asked_twice([(one, -two) for one, two in scores])])["phrasing_agreement"] == pytest.approx(
        -1
    )
    assert judging_metrics([asked_twice([(one, 3.0) for one, _ in scores])])["phrasing_agreement"] is None
    assert judging_metrics([asked_twice(scores[:20])])["phrasing_agreement"] is None


def compared(*verdicts: tuple[str, str]) -> Rollout:
    """Two candidates, compared K times: what the order (a, b) and the order (b, a) said."""

    def judgement(first: str, second: str, against: int) -> Judgement:
        texts = {"text": f"Verdict: {first}", "swapped": f"Verdict: {second}"}
        return Judgement(**texts, score=2.5, finish="stop", tokens=1, against=against)

    sides = [[judgement(one, two, 1) for one, two in verdicts], [judgement(two, one, 0) for one, two in verdicts]]
    return Rollout(
        id="r", messages=[], candidates=[Candidate(text="t", finish="stop", tokens=1, judgements=s) for s in sides]
    )


def test_agreement_of_both_orders() -> None:
    agreed = judging_metrics([compared(("A", "B")), compared(("B", "A")), compared(("tie", "tie"))])
    assert (agreed["order_agreement"], agreed["first_bias"]) == (1, 0)
    first = judging_metrics([compared(("A", "A")), compared(("A", "A"), ("A", "nothing"))])
    assert (first["order_agreement"], first["first_bias"]) == (-1, 1)
    assert judging_metrics([compared(("B", "B")), compared(("B", "B"))])["first_bias"] == -1
    scored = judging_metrics([rollout(("a", (1, 2)), ("b", (3, 4)))])
    assert scored["order_agreement"] is scored["first_bias"] is None


# --- in the loop -----------------------------------------------------------------------------------------------------


def gated(tmp_path: Path, figures: dict[str, Any], text: str = "") -> Run:
    """A run with M1's pairs made and M2 not yet trained, and these figures of M1."""
    run = finished_run(tmp_path / "r")
    set_aside(run, "M2")
    for t in (0, 1):
        write_json(run.at(t).metrics, figures)
    if text:
        path = run.root / "config.toml"
        path.write_text(path.read_text().replace("waive = []", text, 1))  # of [gate], which comes before [promote]
    return Run(run.root)


def check(run: Run, accept: bool = False) -> None:
    Iteration(run, 3, 0, accept).check_judge(1)


def test_a_healthy_judge_goes_on_and_the_figures_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = gated(tmp_path, HEALTHY)
    check(run)
    assert read_json(run.at(1).gate) == {
        "accepted": False,
        "findings": [],
        "unmeasured": [],
    }
    assert "health gate: passed" in capsys.readouterr().err


def test_findings_stop_the_run_until_they_are_accepted_which_is_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = gated(tmp_path, but("aift", tie_rate=0.9))
    with pytest.raises(StageError, match="stopped the run: M2 should not be trained"):
        check(run)
    assert "instructions whose candidates tie: 90.0%" in capsys.readouterr().err
    assert read_json(run.at(1).gate)["findings"][0]["check"] == "ties"
    check(run, accept=True)
    [entry] = json.loads((run.root / "run.json").read_text())["accepted"]
    assert (entry["model"], entry["checks"]) == ("M1", ["ties"])
    check(Run(run.root))  # an interrupted training goes on without being asked again
    write_json(run.at(1).metrics, but("aift", tie_rate=0.9, parse_rate=0.1))
    with pytest.raises(StageError):  # but what was not seen then is not accepted now
        check(Run(run.root))


def test_without_any_pair_there_is_nothing_to_accept(tmp_path: Path) -> None:
    run = gated(tmp_path, but("aift", pairs=0, usable_pair_rate=0.0, dropped={"tie": 100}))
    with pytest.raises(StageError, match="stopped the run: M2 should not be trained"):
        check(run)
    with pytest.raises(StageError, match=r"made no preference pairs \(100 tie"):
        check(run, accept=True)


def test_what_was_accepted_for_other_pairs_does_not_count(tmp_path: Path) -> None:
    run = gated(tmp_path, but("aift", tie_rate=0.9))
    check(run, accept=True)
    check(run)
    write_json(run.at(1).metrics, but("aift", tie_rate=0.95))  # the same check, but worse
    with pytest.raises(StageError):
        check(run)
    write_json(run.at(1).metrics, but("aift", tie_rate=0.9))
    check(run)
    write_rows(run.at(1).pairs, [])  # made anew by the same settings, and not the same
    with pytest.raises(StageError):
        check(run)


def entry_of_before(run: Run, check: str, text: str) -> None:
    """What an earlier version wrote into run.json when the finding `text` was accepted."""
    pairs = file_digest(run.at(1).pairs)
    run.record.accepted.append(
        {"time": "2026-01-01", "model": "M1", "pairs": pairs, "checks": [check], "findings": [text]}
    )
    run.save()


@pytest.mark.parametrize(
    ("section", "figures", "text"),
    [
        ("aift", {"tie_rate": 0.9}, "ties of the candidates: 90.0%, over 80.0% (gate.ties): worded as nobody does now"),
        ("aift", {"score_length": -0.75}, "correlation of score and length: -0.75, above 0.70 (gate.x): of that time"),
        (
            "judge",
            {"pairwise_accuracy": 0.8},
            "accuracy: 80.0%, after the previous model's 90.0% (gate.max_accuracy_drop)",
        ),
        (
            "canaries",
            {"passed": {"score": 4.0}},
            "the worthless answer 'score' scores 4.00, the median real one 4.00 (x)",
        ),
    ],
)
def test_what_an_earlier_version_accepted_stays_accepted_in_other_words(
    tmp_path: Path, section: str, figures: dict[str, Any], text: str
) -> None:
    run = gated(tmp_path, but(section, **figures))
    write_json(run.at(0).metrics, HEALTHY)
    [finding] = check_judge(but(section, **figures), HEALTHY, GateSettings())
    assert str(finding) != text
    entry_of_before(run, finding.check, text)
    check(Run(run.root))
    assert len(Run(run.root).record.accepted) == 1  # not asked again, so not recorded again


@pytest.mark.parametrize(
    ("check_then", "text"),
    [
        ("ties", "instructions whose candidates tie: 91.0%, above 80.0% (gate.max_tie_rate): means"),
        ("ties", "instructions whose candidates tie: 190.0%, above 80.0% (gate.max_tie_rate): means"),
        ("pairs", "instructions that gave a pair: 90.0%, below 95.0% (gate.min_usable_pairs): means"),
    ],
)
def test_another_figure_was_not_accepted_by_an_earlier_version(tmp_path: Path, check_then: str, text: str) -> None:
    run = gated(tmp_path, but("aift", tie_rate=0.9))
    entry_of_before(run, check_then, text)
    with pytest.raises(StageError):
        check(Run(run.root))


def test_another_limit_or_other_words_do_not_ask_again_and_another_canary_does(tmp_path: Path) -> None:
    seen = but("canaries", passed={"score": 4.0}) | {"aift": HEALTHY["aift"] | {"tie_rate": 0.9}}
    run = gated(tmp_path, seen)
    check(run, accept=True)
    [entry] = Run(run.root).record.accepted
    assert entry["figures"] == [["ties", "", 0.9], ["canaries", "score", 4.0]]
    config = run.root / "config.toml"
    config.write_text(config.read_text().replace("max_tie_rate = 0.8", "max_tie_rate = 0.7"))
    run.record.accepted[0]["findings"] = ["in other words"] * 2
    run.save()
    check(Run(run.root))
    write_json(run.at(1).metrics, seen | {"canaries": HEALTHY["canaries"] | {"passed": {"empty": 4.0}}})
    with pytest.raises(StageError):
        check(Run(run.root))


def test_what_is_not_measured_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert unmeasured(HEALTHY) == []
    assert unmeasured(but("judge", pairwise_accuracy=None)) == ["pairwise accuracy against people"]
    assert unmeasured(but("aift", sample_agreement=None, order_agreement=0.7)) == []
    assert unmeasured(but("aift", sample_agreement=None, phrasing_agreement=0.7)) == []
    assert unmeasured({k: v for k, v in HEALTHY.items() if k != "canaries"}) == ["canaries"]
    assert unmeasured(but("canaries", median=None)) == ["canaries"]
    assert unmeasured(but("canaries", scores={"empty": 0.0, "score": None})) == ["the canary 'score'"]
    run = gated(tmp_path, but("aift", sample_agreement=None))  # K = 1
    check(run)
    assert "not measured, so not checked: agreement among an answer's judgements" in capsys.readouterr().err
    assert len(read_json(run.at(1).gate)["unmeasured"]) == 1


def test_a_waived_finding_does_not_stop_the_run_and_stays_visible(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = gated(tmp_path, but("aift", tie_rate=0.9), 'waive = ["ties"]')
    check(run)
    assert "[waived]" in capsys.readouterr().err
    assert read_json(run.at(1).gate)["findings"][0]["waived"]


def test_before_a_model_that_is_trained_already_there_is_no_gate(tmp_path: Path) -> None:
    check(finished_run(tmp_path / "r"))  # its figures hold nothing of AIFT: it would stop
