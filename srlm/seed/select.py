"""EFT from what people ranked: the baseline's judgements that agree with people, with no score too often. Pure.

The paper (section 3.1.1) keeps what agrees with the human ranking and then drops part of the most frequent score. What
"agrees" means is said here (`RULE`), because people give an order where the judge gives points, and both know ties.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from srlm.judge.agreement import histogram, judge_metrics
from srlm.records import EFTRow, JudgeEval, Judgement, RatedRow
from srlm.settings import BaselineSettings
from srlm.store import seed_of

RULE = (
    "A judgement agrees with people if its score is above the baseline's mean score for every response to the same "
    "prompt that people rated lower, and below the mean for every response that people rated higher. Responses that "
    "people rated equal are not compared. A tie of the judge does not agree. If several judgements of one response "
    "agree, the one nearest to the response's own mean score is kept. No score may have more than baseline.max_share "
    "of the rows: of a score with more, the rows with the lowest hash of (run.seed, id) are kept. If there are too few "
    "different scores for that, every score gets the same number of rows."
)
UNPARSED, OVERLONG = "its score cannot be parsed", "its judge prompt does not fit the context"
CUT, UNENDED = "cut off before its score", ("length", "unfinished")  # and what such a reply's `finish` is
ALONE = "no other response to compare with"
UNCLEAR = "says different scores"
DISAGREES, TIED = "disagrees with people", "tied where people are not"
SPARE, CAPPED = "another judgement of the same response is kept", "its score is too frequent"


@dataclass
class Selection:
    """EFT as it was built; why each other judgement (id, "/" and its number) is not in it; and all of it in numbers."""

    eft: list[EFTRow] = field(default_factory=list)
    dropped: list[dict[str, str]] = field(default_factory=list)
    counts: dict[str, Any] = field(default_factory=dict)

    def drop(self, row_id: str, number: int, reason: str) -> None:
        """Note why a judgement is not used."""
        self.dropped.append({"id": f"{row_id}/{number}", "reason": reason})


def select(rows: Iterable[RatedRow], judged: Iterable[JudgeEval], settings: BaselineSettings, seed: int) -> Selection:
    """The EFT rows by `RULE`, in the order of `rows`: at most one judgement for each rated response."""
    evaluations = {evaluation.id: evaluation for evaluation in judged}
    groups: dict[str, list[RatedRow]] = defaultdict(list)
    for row in rows:
        groups[row.group].append(row)
    means = {row_id: mean for row_id, e in evaluations.items() if (mean := _mean(e.judgements)) is not None}
    result, agreeing = Selection(), []
    for group in groups.values():
        for row in group:
            others = [(other.human, means[other.id]) for other in group if other.id in means]
            found = _agreeing(row, evaluations[row.id], others, result)
            if found:
                taken = min(found, key=lambda n: (abs(found[n][1] - means[row.id]), seed_of(seed, "taken", row.id, n)))
                agreeing.append((taken, _eft_row(row, *found[taken])))
                for number in found.keys() - {taken}:
                    result.drop(row.id, number, SPARE)
    _cap(agreeing, settings.max_share, seed, result)
    result.counts = _counts(result, agreeing, list(evaluations.values()))
    return result


def shortage(counts: Mapping[str, Any], settings: BaselineSettings) -> str | None:
    """What is wrong and what can be done, where too few judgements are left to learn judging from; else None."""
    if counts["kept"] >= settings.min_rows:
        return None
    reasons = ", ".join(f"{count} {reason}" for reason, count in counts["dropped"].items())
    dropped = counts["dropped"]
    if 2 * (dropped.get(UNPARSED, 0) + dropped.get(CUT, 0)) > counts["judgements"]:
        ways = ["raise judge.max_tokens"] if dropped.get(CUT) else []
        ways += [] if settings.train else ["train the baseline on IFT first (baseline.train, or `srlm seed eft --ift`)"]
        ways += ["use a model that follows instructions"]
        way = f"the model does not write the scores that prompts/judge.txt asks for: {', or '.join(ways)}"
    elif dropped.get(CAPPED, 0) > counts["kept"]:
        way = "nearly all scores are the same: use another model, or raise baseline.max_share"
    else:
        way = "add more ranked data, use a model that judges better, or lower baseline.min_rows"
    return (
        f"only {counts['kept']} of {counts['judgements']} judgements can be used, but baseline.min_rows asks for "
        f"{settings.min_rows} ({reasons}): {way}"
    )


def _agreeing(
    row: RatedRow, evaluation: JudgeEval, others: list[tuple[float, float]], result: Selection
) -> dict[int, tuple[str, float]]:
    """Number -> (text, score) of the judgements that agree; notes why the others do not."""
    found = {}
    for number, judgement in enumerate(evaluation.judgements, 1):
        reason = evaluation.dropped and OVERLONG
        if judgement.score is None:
            result.drop(row.id, number, reason or (CUT if judgement.finish in UNENDED else UNPARSED))
        elif "conflict" in judgement.flags:  # its score may be the right one, but the text teaches to be unclear
            result.drop(row.id, number, UNCLEAR)
        elif disagreement := _disagreement(row.human, judgement.score, others):
            result.drop(row.id, number, disagreement)
        else:
            found[number] = (judgement.text, judgement.score)
    return found


def _disagreement(human: float, score: float, others: list[tuple[float, float]]) -> str | None:
    """Why a score does not agree; `others` are (human, mean score) of the group. None when it does."""
    orders = [(human - other) * (score - mean) for other, mean in others if other != human]
    if not orders:
        return ALONE
    if min(orders) > 0:
        return None
    return DISAGREES if min(orders) < 0 else TIED


def _cap(agreeing: list[tuple[int, EFTRow]], share: float, seed: int, result: Selection) -> None:
    """Fill result.eft; what exceeds the cap is dropped."""
    counts = Counter(row.score for _, row in agreeing)
    most = _largest(counts.values(), share)
    by_hash = sorted(agreeing, key=lambda item: (seed_of(seed, "cap", item[1].id), item[1].id))
    taken: Counter[float] = Counter()
    kept = set()
    for _, row in by_hash:
        taken[row.score] += 1
        if taken[row.score] <= most:
            kept.add(row.id)
    for number, row in agreeing:
        if row.id in kept:
            result.eft.append(row)
        else:
            result.drop(row.id, number, CAPPED)


def _largest(counts: Iterable[int], share: float) -> int:
    """The most rows of one score for which each score has at most its share of all that is kept; 0 of nothing."""
    found = list(counts)
    if not found:
        return 0
    share = max(share, 1 / len(found))  # of n scores one must have at least 1/n: then all get as many as the rarest
    fits = (m for m in range(max(found), 0, -1) if m <= share * sum(min(count, m) for count in found) + 1e-9)
    return next(fits)


def _counts(result: Selection, agreeing: list[tuple[int, EFTRow]], evaluations: list[JudgeEval]) -> dict[str, Any]:
    """Every judgement is kept or has one reason; score histograms of all, of what agrees, and of what is kept."""
    scores = [j.score for evaluation in evaluations for j in evaluation.judgements if j.score is not None]
    return {
        "responses": len(evaluations),
        "judgements": sum(len(evaluation.judgements) for evaluation in evaluations),
        "pairwise_accuracy": judge_metrics(evaluations)["pairwise_accuracy"],
        "kept": len(result.eft),
        "dropped": dict(Counter(row["reason"] for row in result.dropped).most_common()),
        "scores_judged": histogram(scores),
        "scores_agreeing": histogram(row.score for _, row in agreeing),
        "scores_kept": histogram(row.score for row in result.eft),
    }


def _eft_row(row: RatedRow, judgement: str, score: float) -> EFTRow:
    return EFTRow(
        id=row.id,
        group=row.group,
        messages=row.messages,
        response=row.response,
        judgement=judgement,
        score=score,
        human=row.human,
    )


def _mean(judgements: Iterable[Judgement]) -> float | None:
    scores = [judgement.score for judgement in judgements if judgement.score is not None]
    return sum(scores) / len(scores) if scores else None
