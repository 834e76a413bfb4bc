"""Pure statistics over evaluation rows. What is undefined is None, never NaN: every result can be written as JSON.

Rows go by once, and there may be more of them than memory holds: what is kept of each is a few numbers.

The answers are measured by the model's own scores and, where a grader exists, by its marks; how well the model judges
is measured in `judge.agreement`.
"""

import itertools
import math
import statistics
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from srlm.generate.pairs import make_pair
from srlm.judge.agreement import (
    Tally,
    bootstrap_interval,
    both_orders,
    both_phrasings,
    correlation,
    counts,
    mean,
    phrasing_agreement,
)
from srlm.records import AnswerEval, CanaryEval, Candidate, Instruction, Judgement, PreferencePair, Rollout
from srlm.settings import PairSettings

# Version of the figures in metrics.json. Raise it whenever a figure is added, mended or defined otherwise, here or in
# `judge.agreement`: then `srlm iterate` and `srlm measure` compute the figures of runs made before anew. Removing one
# or showing it otherwise needs no new version. 0: before versions were counted.
FIGURES = 4

# What of a step of the scale a difference of two expected scores has to reach to be one: below it lies what 16-bit
# arithmetic and the other requests of a batch do to probabilities.
FINE_STEP = 0.05


# --- the answers -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Answered:
    """What is kept of an answered prompt, in lists of one entry an answer."""

    dropped: str | None
    no_pair: str | None  # why its answers would give no pair
    scores: list[float | None]
    chars: list[int]
    tokens: list[int]
    finishes: list[str]
    truth: list[dict[str, float] | None]


def _answered(row: AnswerEval, pairs: PairSettings) -> _Answered:
    made, answers = make_pair(row.rollout, pairs), row.rollout.candidates
    return _Answered(
        dropped=row.rollout.dropped,
        no_pair=made if isinstance(made, str) else None,
        scores=[answer.score for answer in answers],
        chars=[len(answer.text) for answer in answers],
        tokens=[answer.tokens for answer in answers],
        finishes=[answer.finish for answer in answers],
        truth=row.truth or [],
    )


def answer_metrics(rows: Iterable[AnswerEval], pairs: PairSettings) -> dict[str, Any]:
    """What the model made of the held-out prompts, N answers each, and what it thinks of them.

    self_score is the mean over answers of their mean judgement; score_histogram counts single judgements by score;
    lengths are means; at_limit is the share of answers cut off by the length limit. tie_rate and usable_pair_rate say
    what these rollouts would give as training pairs, by the same rule that makes them (`pairs.make_pair`), and
    no_pair counts the reasons why not; without a single score, tie_rate is not defined. score_gap is the mean distance
    of best and worst answer. distinct_2 is the share of different word pairs among all word pairs. truth_* are the
    means of the grader's marks over all answers that it knows; truth_unknown counts the others.
    """
    tally, prompts = Tally(), []

    def texts() -> Iterator[str]:
        for row in rows:  # the one pass: all else is noted on the way
            prompts.append(_answered(row, pairs))
            for answer in row.rollout.candidates if row.rollout.dropped is None else []:
                tally.add(answer.judgements)
                yield answer.text

    distinct = distinct_2(texts())
    kept = [prompt for prompt in prompts if prompt.dropped is None]
    scores = [[score for score in prompt.scores if score is not None] for prompt in kept]
    chars = list(itertools.chain.from_iterable(prompt.chars for prompt in kept))
    no_pair = counts(prompt.no_pair for prompt in kept)
    return {
        "prompts": len(prompts),
        "dropped": counts(prompt.dropped for prompt in prompts),
        "answers": len(chars),
        **tally.counts(),
        "self_score": mean(list(itertools.chain.from_iterable(scores))),
        "score_histogram": tally.histogram(),
        "score_gap": mean([max(found) - min(found) for found in scores if len(found) > 1]),
        "chars": mean(chars),
        "tokens": mean([tokens for prompt in kept for tokens in prompt.tokens]),
        "at_limit": mean([float(finish == "length") for prompt in kept for finish in prompt.finishes]),
        "tie_rate": no_pair.get("tie", 0) / len(kept) if any(scores) else None,
        "usable_pair_rate": mean([float(prompt.no_pair is None) for prompt in kept]),
        "no_pair": no_pair,
        "distinct_2": distinct,
        **_truth([marks for prompt in kept for marks in prompt.truth]),
    }


def distinct_2(texts: Iterable[str]) -> float | None:
    """Different pairs of neighbouring words over all such pairs, in lower case; a fall means that texts get alike."""
    numbers: dict[str, int] = {}  # of the words: a pair is then one integer, the least that can be kept of it
    different: set[int] = set()
    total = 0
    for text in texts:
        found = [numbers.setdefault(word, len(numbers)) for word in text.lower().split()]
        different.update(first << 32 | second for first, second in itertools.pairwise(found))
        total += max(len(found) - 1, 0)
    return len(different) / total if total else None


def _truth(marks: list[dict[str, float] | None]) -> dict[str, Any]:
    """Means of the grader's marks as truth_<mark>; nothing where there was no grader."""
    known: dict[str, list[float]] = defaultdict(list)
    for found in marks:
        for name, value in (found or {}).items():
            known[name].append(value)
    if not marks:
        return {}
    return {f"truth_{name}": mean(values) for name, values in known.items()} | {"truth_unknown": marks.count(None)}


def truth_change(rows: Iterable[AnswerEval], others: Iterable[AnswerEval]) -> dict[str, Any] | None:
    """The grader's mean score of the answers minus that of another model's, over the prompts that both have scores of.

    Each prompt counts once (the mean over its answers); interval: 95%, bootstrap by prompt. `asked` counts the prompts
    that the other model has a score for. None without a score.
    """
    mine, theirs = _truth_scores(rows), _truth_scores(others)
    gains = [mine[prompt] - theirs[prompt] for prompt in mine if prompt in theirs]
    if not gains:
        return None
    interval = bootstrap_interval([(gain, 1) for gain in gains])
    return {"prompts": len(gains), "asked": len(theirs), "score": mean(gains), "interval": interval}


def unchanged(rows: Iterable[AnswerEval], others: Iterable[AnswerEval]) -> float | None:
    """The share of the answers that are word for word those that another model gave in their place.

    All models are asked with the same seeds, so a model that has not changed says the same. None without a prompt that
    both have answered.
    """
    theirs = {row.rollout.id: [answer.text for answer in row.rollout.candidates] for row in others}
    same = [
        float(answer.text == other)
        for row in rows
        for answer, other in zip(row.rollout.candidates, theirs.get(row.rollout.id, []), strict=False)
    ]
    return mean(same)


def _truth_scores(rows: Iterable[AnswerEval]) -> dict[str, float]:
    """Prompt id -> mean of the grader's "score" over its answers, where it gave any."""
    scores = {
        row.rollout.id: [marks["score"] for marks in row.truth or [] if marks and "score" in marks] for row in rows
    }
    return {prompt: math.fsum(found) / len(found) for prompt, found in scores.items() if found}


# --- the training data -----------------------------------------------------------------------------------------------


def instruction_counts(rows: Iterable[Instruction]) -> dict[str, Any]:
    """How many new instructions were asked for, how many were kept, and why the others were not."""
    reasons = Counter(row.dropped for row in rows)
    return {"asked": reasons.total(), "kept": reasons[None], "dropped": counts(reasons.elements())}


def pair_counts(pairs: Iterable[PreferencePair], dropped: Iterable[dict[str, str]]) -> dict[str, Any]:
    """How many preference pairs were made, why the other instructions gave none, and the means of the pairs.

    length_ratio: mean length of chosen over that of rejected; tie_rate and usable_pair_rate: of all instructions.
    anchored: pairs whose rejected answer is an earlier model's.
    """
    reasons = counts(row["reason"] for row in dropped)
    margins, lengths, anchored = array("d"), (array("d"), array("d")), 0
    for pair in pairs:
        margins.append(pair.margin)
        anchored += pair.rejected_from is not None
        for found, side in zip(lengths, (pair.chosen, pair.rejected), strict=True):
            found.append(len(side[-1]["content"]))
    total = len(margins) + sum(reasons.values())
    chosen, rejected = map(mean, lengths)
    return {
        "pairs": len(margins),
        "dropped": reasons,
        "margin": mean(margins),
        "chosen_chars": chosen,
        "rejected_chars": rejected,
        "length_ratio": chosen / rejected if chosen and rejected else None,
        "tie_rate": reasons.get("tie", 0) / total if total else None,
        "usable_pair_rate": len(margins) / total if total else None,
        "anchored": anchored,
    }


def judging_metrics(rollouts: Iterable[Rollout]) -> dict[str, Any]:
    """How the model judged its own candidates, before anything is trained on it.

    score_entropy: of the single scores, in bits; each is rounded to a whole step of the scale, an expected score to
    `FINE_STEP` of one. sample_agreement: the intraclass correlation ICC(1) of the judgements of one answer, 1 where
    they always agree, 0 where they differ as those of different answers do; None where there is one judgement each, or
    one score for all. phrasing_agreement: Spearman's correlation of the scores that a sample of answers gets by two
    phrasings; None with fewer than `LEAST_PAIRS` of them. order_agreement: ICC(1) of the two orders of a comparison,
    -1 where the place decides all. first_bias: how much more often a response is preferred in first place than in
    second: 1 always, -1 the other way round. score_length: the mean over instructions of Spearman's correlation of the
    candidates' scores and lengths, where both differ.
    """
    tally, steps, correlations = Tally(), Counter[float](), array("d")
    phrased: list[tuple[float, float]] = []
    orders: tuple[array[float], array[float]] = (array("d"), array("d"))  # of each comparison: shown first, second

    def scores() -> Iterator[list[float]]:
        for row in rollouts:  # the one pass: all else is noted on the way
            correlations.extend(_score_length(row.candidates))
            for answer in row.candidates if row.dropped is None else []:
                tally.add(answer.judgements)
                steps.update(_step(found) for found in answer.judgements if found.score is not None)
                phrased.extend(both_phrasings(answer.judgements))
                yield answer.valid
            for said in _comparisons(row):
                for known, value in zip(orders, said, strict=True):
                    known.append(value)

    agreed = agreement(scores())
    return {
        **tally.counts(),
        "score_histogram": tally.histogram(),
        "score_entropy": entropy(steps.values()) if steps else None,
        "sample_agreement": agreed,
        "phrasing_agreement": phrasing_agreement(phrased),
        "order_agreement": agreement(zip(*orders, strict=True)),
        "first_bias": mean([first - second for first, second in zip(*orders, strict=True)]),
        "score_length": mean(correlations),
    }


def _step(found: Judgement) -> float:
    """The score as far as it counts as different from others."""
    assert found.score is not None
    fine = found.probabilities is not None
    return round(found.score / FINE_STEP) * FINE_STEP if fine else round(found.score)


def _comparisons(row: Rollout) -> Iterator[tuple[float, float]]:
    """What both orders of each comparison say; it is a judgement of two candidates, and is taken from the first."""
    for index, answer in enumerate(row.candidates):
        for found in answer.judgements:
            if found.against is not None and found.against > index and (said := both_orders(found)):
                yield said


def _score_length(candidates: list[Candidate]) -> list[float]:
    """Spearman's correlation of scores and lengths; nothing where one of them is the same for all."""
    found = correlation([(score, float(len(c.text))) for c in candidates if (score := c.score) is not None])
    return [] if found is None else [found]


def entropy(counts: Iterable[int]) -> float:
    """Entropy in bits of what was counted."""
    counts = list(counts)
    total = sum(counts)
    return math.fsum(-count / total * math.log2(count / total) for count in counts)


def agreement(groups: Iterable[Sequence[float]]) -> float | None:
    """ICC(1), one-way random effects, of groups of values; groups of fewer than two say nothing.

    None with fewer than two groups, or when all values are the same.
    """
    sizes, sums = array("L"), array("d")

    def deviations() -> Iterator[float]:
        for group in groups:
            if len(group) > 1:
                sizes.append(len(group))
                sums.append(math.fsum(group))
                mean = sums[-1] / sizes[-1]
                yield from ((value - mean) ** 2 for value in group)

    deviation = math.fsum(deviations())
    if len(sizes) < 2:
        return None
    total = sum(sizes)
    mean, within = math.fsum(sums) / total, deviation / (total - len(sizes))
    between = math.fsum(n * (s / n - mean) ** 2 for n, s in zip(sizes, sums, strict=True)) / (len(sizes) - 1)
    size = (total - sum(n**2 for n in sizes) / total) / (len(sizes) - 1)
    spread = between + (size - 1) * within
    return (between - within) / spread if spread else None


def canary_metrics(canaries: Iterable[CanaryEval], answers: Iterable[AnswerEval]) -> dict[str, Any]:
    """Mean score of each canary over its prompts, against the median score of the real held-out answers.

    `passed` holds those at or above the median, which the judge should have seen through. A canary whose judgements
    could not be read has no score, and passes nothing.
    """
    real = [c.score for row in answers for c in row.rollout.candidates if c.score is not None]
    tally, by_name = Tally(), defaultdict[str, list[float]](list)
    for row in canaries:
        tally.add(row.judgements)
        by_name[row.name] += [j.score for j in row.judgements if j.score is not None]
    scores = {name: mean(found) for name, found in by_name.items()}
    median = statistics.median(real) if real else None
    passed = {n: score for n, score in scores.items() if score is not None and median is not None and score >= median}
    return {
        **tally.counts(),
        "median": median,
        "scores": scores,
        "passed": passed,
    }
