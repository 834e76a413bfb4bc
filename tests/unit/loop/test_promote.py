"""The promotion gate: what speaks against a new model, what is not known, and which model is the best so far."""

from pathlib import Path
from typing import Any

import pytest

from srlm.errors import StageError
from srlm.iterate import Iteration
from srlm.judge.agreement import accuracy_change
from srlm.loop.promote import best_so_far, check_promotion
from srlm.records import JudgeEval, Judgement
from srlm.report.data import run_data
from srlm.run.folder import Run
from srlm.settings import PromoteSettings
from srlm.store import read_json, write_json
from tests.helpers.run_folder import finished_run

SETTINGS = PromoteSettings()


def won(low: float, controlled: tuple[float, float] = (0.55, 0.7)) -> dict[str, Any]:
    return {"win_rate": low + 0.05, "interval": [low, low + 0.1], "controlled_interval": list(controlled)}


def figures(t: int, *, chars: float = 100, distinct: float = 0.5, low: float = 0.52, **more: Any) -> dict[str, Any]:
    return {
        "model": f"M{t}",
        "judge": {"change": {"accuracy": 0.0, "interval": [-0.02, 0.02]}},
        "answers": {"chars": chars, "distinct_2": distinct},
        "canaries": {"median": 4.0, "scores": {}, "passed": {}},
        "versus": {"against": {f"M{k}": won(low) for k in range(1, t)}},
    } | more


def doubts(metrics: dict[str, Any], **settings: Any) -> list[tuple[str, bool]]:
    return [(d.check, d.known) for d in check_promotion(metrics, figures(1), PromoteSettings(**settings))]


def test_a_better_model_raises_no_doubt() -> None:
    assert doubts(figures(2)) == []


@pytest.mark.parametrize(
    ("metrics", "check"),
    [
        (figures(2, low=0.5), "wins"),
        (figures(2, judge={"change": {"accuracy": -0.05, "interval": [-0.09, -0.011]}}), "judge"),
        (figures(2, distinct=0.34), "diversity"),
        (figures(2, canaries={"median": 4.0, "scores": {"score": 5.0}, "passed": {"score": 5.0}}), "canaries"),
        (figures(2, chars=126, versus={"against": {"M1": won(0.52, (0.45, 0.6))}}), "length"),
    ],
)
def test_each_check_sees_its_own(metrics: dict[str, Any], check: str) -> None:
    assert doubts(metrics) == [(check, True)]
    [doubt] = check_promotion(metrics, figures(1), PromoteSettings(waive=[check]))  # type: ignore[list-item]
    assert doubt.waived


def test_longer_answers_pass_where_they_win_at_equal_length_and_a_drop_within_the_noise_does_too() -> None:
    assert doubts(figures(2, chars=300)) == []
    assert doubts(figures(2, judge={"change": {"accuracy": -0.05, "interval": [-0.09, -0.009]}})) == []


def test_what_nobody_measured_is_said_and_never_passes() -> None:
    bare = {"model": "M2", "answers": {}, "judge": {}}
    assert doubts(bare) == [(name, False) for name in ("wins", "judge", "length", "diversity", "canaries")]
    best = best_so_far([figures(1), bare], SETTINGS)
    assert best is not None
    assert best.model == "M1"
    assert "win rate against M1: not known (promote.min_win_rate)" in best.why


def test_the_best_so_far_is_the_last_that_was_promoted() -> None:
    def best(*models: dict[str, Any]) -> str:
        found = best_so_far([*models], SETTINGS)
        assert found is not None
        return found.model

    assert best_so_far([], SETTINGS) is None
    assert best(figures(1)) == "M1"
    assert best(figures(1), figures(2), figures(3)) == "M3"
    assert best(figures(1), figures(2), figures(3, low=0.4)) == "M2"
    assert best(figures(1), figures(2, low=0.4), figures(3)) == "M3"  # it beat M1, too
    only_m2 = figures(3, versus={"against": {"M2": won(0.6), "M1": won(0.4)}})
    assert best(figures(1), figures(2, low=0.4), only_m2) == "M1"  # better than a worse one


def graded(t: int, **against: tuple[float, float]) -> dict[str, Any]:
    """Figures of a run with a grader and no head to head: its change since each model, with the interval."""
    known = {"prompts": 80, "asked": 100}
    found = {model: known | {"score": sum(ends) / 2, "interval": list(ends)} for model, ends in against.items()}
    return figures(t, versus={}, truth={"against": found})


def test_without_a_head_to_head_the_grader_decides() -> None:
    assert doubts(graded(2, M1=(0.01, 0.2))) == []
    [doubt] = check_promotion(graded(2, M1=(-0.01, 0.2)), figures(1), SETTINGS)
    assert str(doubt) == "ground truth against M1: +0.10, 95% interval -0.01 to +0.20 (eval.grader)"
    both = graded(2, M1=(0.01, 0.2)) | {"versus": {"against": {"M1": won(0.4)}}}
    assert doubts(both) == [("wins", True)]  # the judge that the user chose comes first
    longer = graded(2, M1=(0.01, 0.2)) | {"answers": {"chars": 300, "distinct_2": 0.5}}
    assert doubts(longer) == []
    longer["truth"]["against"]["M1"]["prompts"] = 79  # too few for the grader's word
    assert doubts(longer) == [("wins", False), ("length", True)]
    best = best_so_far([figures(1), graded(2, M1=(-0.1, 0.1)), graded(3, M1=(0.1, 0.3), M2=(0.1, 0.2))], SETTINGS)
    assert best is not None
    assert best.model == "M3"
    assert best.why.startswith("ground truth against M1: +0.20")


def judged(scores: dict[str, float | None]) -> list[JudgeEval]:
    def reply(score: float | None) -> Judgement:
        return Judgement(text="", score=score, finish="stop", tokens=1)

    return [
        JudgeEval(id=name, group=name[0], human=float(name[1]), judgements=[reply(score)])
        for name, score in scores.items()
    ]


def test_the_change_of_accuracy_is_taken_on_pairs_that_both_scored() -> None:
    before = judged({"a1": 1, "a2": 2, "b1": 3, "b2": 1, "c1": 1, "c2": None})
    now = judged({"b2": 4, "b1": 3, "a1": 2, "a2": 2, "c1": 5, "c2": 1})  # in another order
    found = accuracy_change(now, before)
    assert found["pairs"] == 2
    assert found["accuracy"] == (0.5 - 1 + 1 - 0) / 2
    low, high = found["interval"]
    assert (low, high) == (-0.5, 1.0)
    assert accuracy_change(now, now)["interval"] == [0.0, 0.0]


def without_a_grader(run: Run) -> Run:
    for t in run.measured:
        path = run.at(t).metrics
        write_json(path, {name: found for name, found in read_json(path).items() if name != "truth"})
    return run


def test_the_loop_warns_and_strict_stops(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = without_a_grader(finished_run(tmp_path / "r"))
    Iteration(run, 2, 0).check_promotion(2)
    said = capsys.readouterr().err
    assert said.startswith(
        "M2 is not clearly better than M1. Best so far: M1. In doubt: win rate against M1: not known ("
    )
    Iteration(run, 3, 0).check_promotion(2)
    assert capsys.readouterr().err.startswith("M2 is not clearly better than M1; the run goes on. Best so far: M1.")
    with pytest.raises(StageError, match="M2 is not promoted"):
        Iteration(run, 2, 0, strict=True).check_promotion(2)


def test_inspect_says_which_model_is_best_and_why(tmp_path: Path) -> None:
    run = without_a_grader(finished_run(tmp_path / "r"))
    assert run_data(run)["best"]["model"] == "M1"
    path = run.at(2).metrics
    write_json(path, read_json(path) | {key: figures(2)[key] for key in ("judge", "answers", "canaries")})
    write_json(run.at(2).versus, figures(2)["versus"])
    first = run.at(1).metrics
    write_json(first, read_json(first) | {"answers": figures(1)["answers"]})
    best = run_data(run)["best"]
    assert best["model"] == "M2"
    assert best["why"].startswith("win rate against M1: 57.0%, 95% interval 52.0% to 62.0%")
