"""Answers of several models, judged by the run's one judge, as figures of one model against another."""

import statistics
from typing import Any

from srlm.console import say
from srlm.errors import UserError
from srlm.measure.versus.answers import Answers, held_out_answers
from srlm.measure.versus.statistics import Outcome, head_to_head, scored_points
from srlm.measure.versus.verdicts import Question, RunJudge, question
from srlm.records import Judgement, Messages
from srlm.run.folder import Run
from srlm.run.stage import opponents
from srlm.store import write_json


def compare_run(run: Run, numbers: list[int], lock: int) -> dict[str, Any]:
    """Measure each M_t of `numbers` against its opponents, into its versus.json; one engine load.

    Raises UserError where a model has not been evaluated or no judge can be used, StageError when the child crashed.
    """
    judge = RunJudge(run)
    met = {t: opponents(t, judge.pairwise) for t in numbers if t}
    sides = {t: held_out_answers(run, t) for t in sorted({*met, *(k for others in met.values() for k in others)})}
    found = compare(judge, [(sides[t], sides[k]) for t, others in met.items() for k in others], lock)
    figures = iter(found)
    result = {}
    for t, others in met.items():
        result[f"M{t}"] = {"judge": judge.record, "against": {f"M{k}": next(figures) for k in others}}
        write_json(run.at(t).versus, result[f"M{t}"])
    return result


def compare(judge: RunJudge, pairs: list[tuple[Answers, Answers]], lock: int) -> list[dict[str, Any]]:
    """`head_to_head` of each pair of answers, over the prompts that both have; what must be judged is judged first."""
    met = [[(one[key], other[key]) for key in one if key in other] for one, other in pairs]
    if not all(met):
        raise UserError("the two models have no prompt in common", "give answers to the same prompts")
    items = [found for rows in met for one, other in rows for found in _items(judge, one, other)]
    verdicts = judge.judge(items, lock)
    return [head_to_head([_outcome(judge, verdicts, one, other) for one, other in rows]) for rows in met]


def _items(judge: RunJudge, one: tuple[Messages, str], other: tuple[Messages, str]) -> list[Question]:
    """What the judge must see to tell the two apart; the same two in whichever order are the same question."""
    if not judge.pairwise:
        return [question(*_alone(one)), question(*_alone(other))]
    return [] if one[1] == other[1] else [question(one[0], sorted([one[1], other[1]]))]


def _alone(answer: tuple[Messages, str]) -> tuple[Messages, list[str]]:
    return answer[0], [answer[1]]


def _outcome(
    judge: RunJudge,
    verdicts: dict[str, list[list[Judgement]]],
    one: tuple[Messages, str],
    other: tuple[Messages, str],
) -> Outcome:
    found = [verdicts[asked.id] for asked in _items(judge, one, other)]
    chars, other_chars = len(one[1]), len(other[1])
    if not judge.pairwise:
        mine, theirs = (_mean([j.score for j in judged[0] if j.score is not None]) for judged in found)
        return Outcome(scored_points(mine, theirs, judge.run.config.versus.tie_margin), None, chars, other_chars)
    if not found:  # the same answer twice
        return Outcome(0.5, None, chars, other_chars)
    judged = found[0][0 if one[1] < other[1] else 1]
    low, high = judge.rubric.scale
    points = [(j.score - low) / (high - low) for j in judged if j.score is not None]
    return Outcome(_mean(points), ["order" not in j.flags for j in judged if j.score is not None], chars, other_chars)


def _mean(values: list[float]) -> float | None:
    return statistics.fmean(values) if values else None


def say_result(model: str, against: dict[str, dict[str, Any]]) -> None:
    """Say how one model fared against each other."""
    for other, found in against.items():
        if found["win_rate"] is None:
            say(f"{model} against {other}: none of the judge's verdicts could be read")
            continue
        shares = " / ".join(f"{found[name]:.1%}" for name in ("win", "tie", "loss"))
        say(f"{model} against {other}: win rate {found['win_rate']:.1%} (win / tie / loss {shares})")
