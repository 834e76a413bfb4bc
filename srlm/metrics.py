"""Pure statistics over evaluation rows. What is undefined is None, never NaN: every result can be written as JSON.

The judge is measured on held-out EFT against what people gave (paper: section 2.4 and table 4); the answers by the
model's own scores and, where a grader exists, by its marks.
"""

import itertools
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from srlm.pairs import make_pair
from srlm.records import (
    AnswerEval,
    CanaryEval,
    Candidate,
    Instruction,
    JudgeEval,
    Judgement,
    PreferencePair,
    Rollout,
)
from srlm.settings import PairSettings

TOP_SCORE = 5.0  # of prompts/judge.txt: what "5-best" is about
RESAMPLES = 2000  # of the bootstrap: the ends of a 95% interval are then steady to about a tenth of its width


# --- the judge -------------------------------------------------------------------------------------------------------


def judge_metrics(rows: Sequence[JudgeEval], top: float = TOP_SCORE) -> dict[str, Any]:
    """How well the model's scores order the held-out EFT responses of each prompt (group) as people did.

    A response's model score is the mean of its valid judgements; without any it is left out, never scored 0.

    - pairwise_accuracy: over the pairs of a group whose human scores differ, the share that the model orders alike; a
      tie of the model counts one half, so that a judge who says the same of everything gets .5 and not 0.
      pairwise_interval is its 95% interval (bootstrap by group), tied_pairs the share of pairs that the model ties.
    - five_best: of the responses with the scale's `top` as model score, the share that people rank top in their group.
    - exact_match: of the groups with every response scored, the share where each pair that people tell apart is ordered
      alike, without a tie.
    - spearman, kendall (tau-b): mean over the groups; a group that the model ties as a whole counts 0.

    Groups that people did not tell apart (or of one response) say nothing and are in none of these.
    """
    kept = [row for row in rows if row.dropped is None]
    groups = [group for group in _groups(rows) if group.rankable]
    points = [group.pair_points() for group in groups]
    all_points = [point for group_points in points for point in group_points]
    complete = [group for group in groups if group.complete]
    return {
        "responses": len(rows),
        "dropped": _counts(row.dropped for row in rows),
        **_judgement_counts(judgement for row in kept for judgement in row.judgements),
        "groups": len(groups),
        "pairs": len(all_points),
        "pairwise_accuracy": _mean(all_points),
        "pairwise_interval": bootstrap_interval([(sum(found), len(found)) for found in points]),
        "tied_pairs": _mean([float(point == 0.5) for point in all_points]),
        "five_best": _mean([float(best) for group in groups for best in group.five_best(top)]),
        "exact_match": _mean([float(set(group.pair_points()) == {1.0}) for group in complete]),
        "spearman": _mean([group.correlation(_spearman) for group in groups]),
        "kendall": _mean([group.correlation(_kendall) for group in groups]),
    }


def accuracy_change(rows: Sequence[JudgeEval], previous: Sequence[JudgeEval]) -> dict[str, Any]:
    """Pairwise accuracy minus that of another model, on the pairs of responses that both scored; bootstrap by group."""
    known = [{row.id for row in found if _scored(row)} for found in (rows, previous)]
    both = known[0] & known[1]
    mine, theirs = (_groups([row for row in found if row.id in both]) for found in (rows, previous))
    points = [
        (sum(a.pair_points()) - sum(b.pair_points()), len(a.pair_points())) for a, b in zip(mine, theirs, strict=True)
    ]
    total = sum(count for _, count in points)
    return {
        "pairs": total,
        "accuracy": math.fsum(gain for gain, _ in points) / total if total else None,
        "interval": bootstrap_interval(points),
    }


def _scored(row: JudgeEval) -> bool:
    return row.dropped is None and any(judgement.score is not None for judgement in row.judgements)


@dataclass(frozen=True)
class _Group:
    """The scored responses of one prompt: parallel lists of human and model scores."""

    human: list[float]
    model: list[float]
    complete: bool  # whether every response of the prompt has a model score

    @property
    def rankable(self) -> bool:
        return len(set(self.human)) > 1

    def pair_points(self) -> list[float]:
        """1 right, 0.5 tied, 0 wrong for each pair that people tell apart."""
        pairs = itertools.combinations(zip(self.human, self.model, strict=True), 2)
        return [_order_point((a[0] - b[0]) * (a[1] - b[1])) for a, b in pairs if a[0] != b[0]]

    def five_best(self, top: float) -> list[bool]:
        """For each response with the top model score, whether people rank it top."""
        best = max(self.human)
        return [human == best for human, model in zip(self.human, self.model, strict=True) if model == top]

    def correlation(self, of: Callable[[list[float], list[float]], float]) -> float:
        return of(self.human, self.model) if len(set(self.model)) > 1 else 0.0


def _groups(rows: Iterable[JudgeEval]) -> list[_Group]:
    by_prompt: dict[str, list[tuple[float, float | None]]] = defaultdict(list)
    for row in rows:
        scores = [j.score for j in row.judgements if j.score is not None and row.dropped is None]
        by_prompt[row.group].append((row.human, _mean(scores)))
    result = []
    for _, members in sorted(by_prompt.items()):
        scored = [(human, model) for human, model in members if model is not None]
        result.append(_Group([h for h, _ in scored], [m for _, m in scored], len(scored) == len(members)))
    return result


def _order_point(agreement: float) -> float:
    return 0.5 if agreement == 0 else float(agreement > 0)


def _spearman(human: list[float], model: list[float]) -> float:
    from scipy.stats import spearmanr  # here: `srlm inspect` imports this module and shall stay quick

    return float(spearmanr(human, model).statistic)


def _kendall(human: list[float], model: list[float]) -> float:
    from scipy.stats import kendalltau

    return float(kendalltau(human, model).statistic)


# --- the answers -----------------------------------------------------------------------------------------------------


def answer_metrics(rows: Sequence[AnswerEval], pairs: PairSettings) -> dict[str, Any]:
    """What the model made of the held-out prompts, N answers each, and what it thinks of them.

    self_score is the mean over answers of their mean judgement; score_histogram counts single judgements by score;
    lengths are means; at_limit is the share of answers cut off by the length limit. tie_rate and usable_pair_rate say
    what these rollouts would give as training pairs, by the same rule that makes them (`pairs.make_pair`), and
    no_pair counts the reasons why not; score_gap is the mean distance of best and worst answer. distinct_2 is the share
    of different word pairs among all word pairs. truth_* are the means of the grader's marks over all answers that
    it knows; truth_unknown counts the others.
    """
    kept = [row for row in rows if row.rollout.dropped is None]
    answers = [candidate for row in kept for candidate in row.rollout.candidates]
    outcomes = [make_pair(row.rollout, pairs) for row in kept]
    no_pair = _counts(outcome for outcome in outcomes if isinstance(outcome, str))
    return {
        "prompts": len(rows),
        "dropped": _counts(row.rollout.dropped for row in rows),
        "answers": len(answers),
        **_judgement_counts(judgement for answer in answers for judgement in answer.judgements),
        "self_score": _mean([answer.score for answer in answers if answer.score is not None]),
        "score_histogram": histogram(score for answer in answers for score in answer.valid),
        "score_gap": _mean([gap for row in kept if (gap := _gap(row.rollout.candidates)) is not None]),
        "chars": _mean([len(answer.text) for answer in answers]),
        "tokens": _mean([answer.tokens for answer in answers]),
        "at_limit": _mean([float(answer.finish == "length") for answer in answers]),
        "tie_rate": no_pair.get("tie", 0) / len(kept) if kept else None,
        "usable_pair_rate": _mean([float(not isinstance(outcome, str)) for outcome in outcomes]),
        "no_pair": no_pair,
        "distinct_2": distinct_2(answer.text for answer in answers),
        **_truth(kept),
    }


def _gap(candidates: list[Candidate]) -> float | None:
    scores = [candidate.score for candidate in candidates if candidate.score is not None]
    return max(scores) - min(scores) if len(scores) > 1 else None


def distinct_2(texts: Iterable[str]) -> float | None:
    """Different pairs of neighbouring words over all such pairs, in lower case; a fall means that texts get alike."""
    pairs = [pair for text in texts for pair in itertools.pairwise(text.lower().split())]
    return len(set(pairs)) / len(pairs) if pairs else None


def _truth(rows: Iterable[AnswerEval]) -> dict[str, Any]:
    """Means of the grader's marks as truth_<mark>; nothing where there was no grader."""
    marks = [found for row in rows for found in row.truth or []]
    known: dict[str, list[float]] = defaultdict(list)
    for found in marks:
        for name, value in (found or {}).items():
            known[name].append(value)
    if not marks:
        return {}
    return {f"truth_{name}": _mean(values) for name, values in known.items()} | {"truth_unknown": marks.count(None)}


def truth_change(rows: Sequence[AnswerEval], others: Sequence[AnswerEval]) -> dict[str, Any] | None:
    """The grader's mean score of the answers minus that of another model's, over the prompts that both have scores of.

    Each prompt counts once (the mean over its answers); interval: 95%, bootstrap by prompt. `asked` counts the prompts
    that the other model has a score for. None without a score.
    """
    mine, theirs = _truth_scores(rows), _truth_scores(others)
    gains = [mine[prompt] - theirs[prompt] for prompt in mine if prompt in theirs]
    if not gains:
        return None
    interval = bootstrap_interval([(gain, 1) for gain in gains])
    return {"prompts": len(gains), "asked": len(theirs), "score": _mean(gains), "interval": interval}


def _truth_scores(rows: Iterable[AnswerEval]) -> dict[str, float]:
    """Prompt id -> mean of the grader's "score" over its answers, where it gave any."""
    scores = {
        row.rollout.id: [marks["score"] for marks in row.truth or [] if marks and "score" in marks] for row in rows
    }
    return {prompt: math.fsum(found) / len(found) for prompt, found in scores.items() if found}


# --- the training data -----------------------------------------------------------------------------------------------


def instruction_counts(rows: Iterable[Instruction]) -> dict[str, Any]:
    """How many new instructions were asked for, how many were kept, and why the others were not."""
    reasons = [row.dropped for row in rows]
    return {"asked": len(reasons), "kept": reasons.count(None), "dropped": _counts(reasons)}


def pair_counts(pairs: Sequence[PreferencePair], dropped: Iterable[dict[str, str]]) -> dict[str, Any]:
    """How many preference pairs were made, why the other instructions gave none, and the means of the pairs.

    length_ratio: mean length of chosen over that of rejected; tie_rate and usable_pair_rate: of all instructions.
    anchored: pairs whose rejected answer is an earlier model's.
    """
    reasons = _counts(row["reason"] for row in dropped)
    total = len(pairs) + sum(reasons.values())
    chosen = _mean([len(pair.chosen[-1]["content"]) for pair in pairs])
    rejected = _mean([len(pair.rejected[-1]["content"]) for pair in pairs])
    return {
        "pairs": len(pairs),
        "dropped": reasons,
        "margin": _mean([pair.margin for pair in pairs]),
        "chosen_chars": chosen,
        "rejected_chars": rejected,
        "length_ratio": chosen / rejected if chosen and rejected else None,
        "tie_rate": reasons.get("tie", 0) / total if total else None,
        "usable_pair_rate": len(pairs) / total if total else None,
        "anchored": sum(pair.rejected_from is not None for pair in pairs),
    }


def judging_metrics(rollouts: Sequence[Rollout]) -> dict[str, Any]:
    """How the model judged its own candidates, before anything is trained on it.

    score_entropy: of the single scores, each rounded to a whole step of the scale, in bits. sample_agreement: the
    intraclass correlation ICC(1) of the judgements of one answer, 1 where they always agree, 0 where they differ as
    those of different answers do; None where there is one judgement each, or one score for all. score_length: the mean
    over instructions of Spearman's correlation of the candidates' scores and lengths, where both differ.
    """
    answers = [candidate for row in rollouts if row.dropped is None for candidate in row.candidates]
    scores = [score for answer in answers for score in answer.valid]
    by_row = [[(c.score, float(len(c.text))) for c in row.candidates if c.score is not None] for row in rollouts]
    columns = [(list(a), list(b)) for row in by_row if row for a, b in [zip(*row, strict=True)]]
    return {
        **_judgement_counts(judgement for answer in answers for judgement in answer.judgements),
        "score_histogram": histogram(scores),
        "score_entropy": entropy(Counter(round(score) for score in scores).values()) if scores else None,
        "sample_agreement": agreement([answer.valid for answer in answers]),
        "score_length": _mean([_spearman(a, b) for a, b in columns if len(set(a)) > 1 and len(set(b)) > 1]),
    }


def entropy(counts: Iterable[int]) -> float:
    """Entropy in bits of what was counted."""
    counts = list(counts)
    total = sum(counts)
    return math.fsum(-count / total * math.log2(count / total) for count in counts)


def agreement(groups: Iterable[Sequence[float]]) -> float | None:
    """ICC(1), one-way random effects, of groups of values; groups of fewer than two say nothing.

    None with fewer than two groups, or when all values are the same.
    """
    groups = [group for group in groups if len(group) > 1]
    total = sum(map(len, groups))
    if len(groups) < 2:
        return None
    means = [math.fsum(group) / len(group) for group in groups]
    mean = math.fsum(map(math.fsum, groups)) / total
    between = math.fsum(len(g) * (m - mean) ** 2 for g, m in zip(groups, means, strict=True)) / (len(groups) - 1)
    within = math.fsum((x - m) ** 2 for g, m in zip(groups, means, strict=True) for x in g) / (total - len(groups))
    size = (total - sum(len(group) ** 2 for group in groups) / total) / (len(groups) - 1)
    spread = between + (size - 1) * within
    return (between - within) / spread if spread else None


def canary_metrics(canaries: Sequence[CanaryEval], answers: Sequence[AnswerEval]) -> dict[str, Any]:
    """Mean score of each canary over its prompts, against the median score of the real held-out answers.

    `passed` holds those at or above the median, which the judge should have seen through. A canary whose judgements
    could not be read has no score, and passes nothing.
    """
    real = [c.score for row in answers for c in row.rollout.candidates if c.score is not None]
    by_name: dict[str, list[float]] = defaultdict(list)
    for row in canaries:
        by_name[row.name] += [j.score for j in row.judgements if j.score is not None]
    scores = {name: _mean(found) for name, found in by_name.items()}
    median = statistics.median(real) if real else None
    passed = {n: score for n, score in scores.items() if score is not None and median is not None and score >= median}
    return {
        **_judgement_counts(judgement for row in canaries for judgement in row.judgements),
        "median": median,
        "scores": scores,
        "passed": passed,
    }


# --- shared ----------------------------------------------------------------------------------------------------------


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


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _counts(reasons: Iterable[str | None]) -> dict[str, int]:
    """Reason -> count, the most frequent first; None is no reason."""
    return dict(Counter(reason for reason in reasons if reason is not None).most_common())


def _judgement_counts(judgements: Iterable[Judgement]) -> dict[str, Any]:
    parsed = [judgement.score is not None for judgement in judgements if judgement.finish != "overlong"]
    return {"judgements": len(parsed), "parse_rate": _mean(parsed)}


def histogram(scores: Iterable[float]) -> dict[str, int]:
    """Score to the nearest half (as text, "4" or "4.5") -> count, in order of score; expected scores are any number."""
    return {f"{score:g}": count for score, count in sorted(Counter(round(2 * score) / 2 for score in scores).items())}
