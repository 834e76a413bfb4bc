"""How far a judge agrees with people, and the small statistics that all figures share. Pure.

The judge is measured on held-out EFT against what people gave (paper: section 2.4 and table 4). What is undefined is
None, never NaN: every result can be written as JSON.
"""

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from srlm.judge.verdict import read_verdict
from srlm.records import JudgeEval, Judgement

TOP_SCORE = 5.0  # of prompts/judge.txt: what "5-best" is about
RESAMPLES = 2000  # of the bootstrap: the ends of a 95% interval are then steady to about a tenth of its width
LEAST_PAIRS = 30  # of a kind: the error of the mean of both kinds is then about 6 points


def judge_metrics(
    rows: Iterable[JudgeEval], top: float = TOP_SCORE, chars: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """How well the model's scores order the held-out EFT responses of each prompt (group) as people did.

    A response's model score is the mean of its valid judgements; without any it is left out, never scored 0. `chars`:
    row id -> length of the response, where it is known.

    - people_pairs: all pairs of a group whose human scores differ; pairs: those of them that the model scored.

    - pairwise_accuracy: over the pairs of a group whose human scores differ, the share that the model orders alike; a
      tie of the model counts one half, so that a judge who says the same of everything gets .5 and not 0.
      pairwise_interval is its 95% interval (bootstrap by group), tied_pairs the share of pairs that the model ties.
    - length_accuracy: what a judge would get on the same pairs who prefers the longer one, equal lengths counted half.
    - equal_length_accuracy: the mean of the accuracy where people's better one is the longer one, and where it is the
      shorter one: .5 for that judge, as for one who guesses. None with fewer than `LEAST_PAIRS` of either kind.
    - five_best: of the responses with the scale's `top` as model score, the share that people rank top in their group.
    - exact_match: of the groups with every response scored, the share where each pair that people tell apart is ordered
      alike, without a tie.
    - spearman, kendall (tau-b): mean over the groups; a group that the model ties as a whole counts 0.

    Groups that people did not tell apart (or of one response) say nothing and are in none of these.
    """
    tally, responses = Tally(), []
    for row in rows:
        tally.add(row.judgements if row.dropped is None else [])
        responses.append(_response(row, (chars or {}).get(row.id)))
    groups = [group for group in _groups(responses) if group.rankable]
    points = [group.pair_points() for group in groups]
    lengths = Counter(point for group in groups for point in group.length_points())
    all_points = [point for group_points in points for point in group_points]
    complete = [group for group in groups if group.complete]
    return {
        "responses": len(responses),
        "dropped": counts(response.dropped for response in responses),
        **tally.counts(),
        "groups": len(groups),
        "people_pairs": _told_apart(responses),
        "pairs": len(all_points),
        "pairwise_accuracy": mean(all_points),
        "pairwise_interval": bootstrap_interval([(sum(found), len(found)) for found in points]),
        "tied_pairs": mean([float(point == 0.5) for point in all_points]),
        "length_accuracy": sum(p * n for (p, _), n in lengths.items()) / lengths.total() if lengths else None,
        "equal_length_accuracy": _at_equal_length(lengths),
        "five_best": mean([float(best) for group in groups for best in group.five_best(top)]),
        "exact_match": mean([float(set(group.pair_points()) == {1.0}) for group in complete]),
        "spearman": mean([group.correlation(spearman) for group in groups]),
        "kendall": mean([group.correlation(_kendall) for group in groups]),
    }


def accuracy_change(rows: Iterable[JudgeEval], previous: Iterable[JudgeEval]) -> dict[str, Any]:
    """Pairwise accuracy minus that of another model, on the pairs of responses that both scored; bootstrap by group."""
    models = [
        [response for row in found if (response := _response(row)).score is not None] for found in (rows, previous)
    ]
    known = [{response.id for response in scored} for scored in models]
    mine, theirs = (_groups(response for response in scored if response.id in known[0] & known[1]) for scored in models)
    points = [
        (sum(a.pair_points()) - sum(b.pair_points()), len(a.pair_points())) for a, b in zip(mine, theirs, strict=True)
    ]
    total = sum(count for _, count in points)
    return {
        "pairs": total,
        "accuracy": math.fsum(gain for gain, _ in points) / total if total else None,
        "interval": bootstrap_interval(points),
    }


@dataclass(frozen=True, slots=True)
class _Response:
    """What is kept of a JudgeEval: its judgements have gone by."""

    id: str
    group: str
    human: float
    score: float | None  # mean of the valid judgements
    dropped: str | None
    chars: int | None


def _response(row: JudgeEval, chars: int | None = None) -> _Response:
    scores = [j.score for j in row.judgements if j.score is not None and row.dropped is None]
    return _Response(row.id, row.group, row.human, mean(scores), row.dropped, chars)


def _told_apart(responses: list[_Response]) -> int:
    """How many pairs of a group's responses have different human scores."""
    humans: dict[str, Counter[float]] = defaultdict(Counter)
    for response in responses:
        humans[response.group][response.human] += 1
    return sum((n.total() ** 2 - sum(count**2 for count in n.values())) // 2 for n in humans.values())


def _at_equal_length(lengths: Counter[tuple[float, float]]) -> float | None:
    kinds = [[(point, n) for (longer, point), n in lengths.items() if longer == better] for better in (1.0, 0.0)]
    totals = [sum(n for _, n in kind) for kind in kinds]
    if min(totals) < LEAST_PAIRS:
        return None
    return sum(sum(point * n for point, n in kind) / total for kind, total in zip(kinds, totals, strict=True)) / 2


@dataclass(frozen=True)
class _Group:
    """The scored responses of one prompt: parallel lists of human and model scores, and of lengths."""

    human: list[float]
    model: list[float]
    chars: list[int | None]
    complete: bool  # whether every response of the prompt has a model score

    @property
    def rankable(self) -> bool:
        return len(set(self.human)) > 1

    def pair_points(self) -> list[float]:
        """1 right, 0.5 tied, 0 wrong for each pair that people tell apart."""
        pairs = itertools.combinations(zip(self.human, self.model, strict=True), 2)
        return [_order_point((a[0] - b[0]) * (a[1] - b[1])) for a, b in pairs if a[0] != b[0]]

    def length_points(self) -> Iterator[tuple[float, float]]:
        """Of the same pairs, where both lengths are known: (what length alone gets, what the model gets)."""
        for a, b in itertools.combinations(zip(self.human, self.model, self.chars, strict=True), 2):
            if a[0] != b[0] and a[2] is not None and b[2] is not None:
                yield _order_point((a[0] - b[0]) * (a[2] - b[2])), _order_point((a[0] - b[0]) * (a[1] - b[1]))

    def five_best(self, top: float) -> list[bool]:
        """For each response with the top model score, whether people rank it top."""
        best = max(self.human)
        return [human == best for human, model in zip(self.human, self.model, strict=True) if model == top]

    def correlation(self, of: Callable[[list[float], list[float]], float]) -> float:
        return of(self.human, self.model) if len(set(self.model)) > 1 else 0.0


def _groups(responses: Iterable[_Response]) -> list[_Group]:
    by_prompt: dict[str, list[_Response]] = defaultdict(list)
    for response in responses:
        by_prompt[response.group].append(response)
    result = []
    for _, members in sorted(by_prompt.items()):
        scored = [(one.human, one.score, one.chars) for one in members if one.score is not None]
        result.append(
            _Group(
                [h for h, _, _ in scored],
                [m for _, m, _ in scored],
                [c for _, _, c in scored],
                len(scored) == len(members),
            )
        )
    return result


def _order_point(agreement: float) -> float:
    return 0.5 if agreement == 0 else float(agreement > 0)


def spearman(human: list[float], model: list[float]) -> float:
    from scipy.stats import spearmanr  # here: `srlm inspect` imports this module and shall stay quick

    return float(spearmanr(human, model).statistic)


def correlation(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Spearman's, None where one side is the same for all."""
    one, other = [a for a, _ in pairs], [b for _, b in pairs]
    return spearman(one, other) if len(set(one)) > 1 and len(set(other)) > 1 else None


def _kendall(human: list[float], model: list[float]) -> float:
    from scipy.stats import kendalltau

    return float(kendalltau(human, model).statistic)


def both_orders(found: Judgement) -> tuple[float, float] | None:
    """What a comparison says of its response, shown first and shown second: 1 it is preferred, 0.5 a tie, 0 it is not.

    None where the judgement is no comparison, or one of its orders cannot be read.
    """
    if found.swapped is None or found.score is None:
        return None
    first, second = read_verdict(found.text).choice, read_verdict(found.swapped).choice
    if first is None or second is None:
        return None
    return {"A": 1.0, "B": 0.0, "tie": 0.5}[first], {"A": 0.0, "B": 1.0, "tie": 0.5}[second]


def both_phrasings(judgements: Iterable[Judgement]) -> Iterator[tuple[float, float]]:
    """The two scores of those answers that were asked about in other words, too."""
    for found in judgements:
        if found.score is not None and found.again is not None:
            yield found.score, found.again


def phrasing_agreement(scores: Sequence[tuple[float, float]]) -> float | None:
    """Spearman's correlation of such scores; None with fewer than `LEAST_PAIRS`."""
    return correlation(scores) if len(scores) >= LEAST_PAIRS else None


# --- shared ---------------------------------------------------------------------------------------------------------


def bootstrap_interval(
    units: Sequence[tuple[float, float]], seed: int = 0, resamples: int = RESAMPLES
) -> list[float] | None:
    """95% percentile interval [low, high] of sum(a) / sum(b) over resampled units (a, b); a plain mean has b = 1.

    Units are what is independent: prompts, or seeds. None with fewer than two units that hold anything.
    """
    units = [unit for unit in units if unit[1]]
    if len(units) < 2:
        return None
    import numpy as np

    numbers = np.asarray(units, dtype=float)  # (units, 2)
    random = np.random.default_rng(seed)
    sums = np.stack([numbers[random.integers(len(units), size=len(units))].sum(0) for _ in range(resamples)])
    low, high = np.quantile(sums[:, 0] / sums[:, 1], [0.025, 0.975])
    return [float(low), float(high)]


def mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def counts(reasons: Iterable[str | None]) -> dict[str, int]:
    """Reason -> count, the most frequent first; None is no reason."""
    return dict(Counter(reason for reason in reasons if reason is not None).most_common())


class Tally:
    """Judgements counted as they go by: none of them is kept."""

    def __init__(self) -> None:
        self._parsed: Counter[bool] = Counter()
        self._halves: Counter[float] = Counter()

    def add(self, judgements: Iterable[Judgement]) -> None:
        """Count these, too."""
        for judgement in judgements:
            if judgement.finish != "overlong":
                self._parsed[judgement.score is not None] += 1
            if judgement.score is not None:
                self._halves[_half(judgement.score)] += 1

    def counts(self) -> dict[str, Any]:
        """How many judgements there were, without those whose prompt did not fit, and the share that could be read."""
        total = self._parsed.total()
        return {"judgements": total, "parse_rate": self._parsed[True] / total if total else None}

    def histogram(self) -> dict[str, int]:
        """The scores, as `histogram` shows them."""
        return _in_order(self._halves)


def histogram(scores: Iterable[float]) -> dict[str, int]:
    """Score to the nearest half (as text, "4" or "4.5") -> count, in order of score; expected scores are any number."""
    return _in_order(Counter(map(_half, scores)))


def _half(score: float) -> float:
    return round(2 * score) / 2


def _in_order(halves: Counter[float]) -> dict[str, int]:
    return {f"{half:g}": count for half, count in sorted(halves.items())}
