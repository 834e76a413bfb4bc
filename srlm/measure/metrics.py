"""Pure statistics over evaluation rows. What is undefined is None, never NaN: every result can be written as JSON.

The answers are measured by the model's own scores and, where a grader exists, by its marks; how well the model judges
is measured in `judge.agreement`.
"""

import itertools
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from srlm.generate.pairs import make_pair
from srlm.judge.agreement import bootstrap_interval, counts, histogram, judgement_counts, mean, spearman
from srlm.records import AnswerEval, CanaryEval, Candidate, Instruction, PreferencePair, Rollout
from srlm.settings import PairSettings

# Version of the figures in metrics.json. Raise it whenever a figure is added, mended or defined otherwise, here or in
# `judge.agreement`: then `srlm iterate` and `srlm measure` compute the figures of runs made before anew. Removing one
# or showing it otherwise needs no new version. 0: before versions were counted.
FIGURES = 2


# --- the answers -----------------------------------------------------------------------------------------------------


def answer_metrics(rows: Sequence[AnswerEval], pairs: PairSettings) -> dict[str, Any]:
    """What the model made of the held-out prompts, N answers each, and what it thinks of them.

    self_score is the mean over answers of their mean judgement; score_histogram counts single judgements by score;
    lengths are means; at_limit is the share of answers cut off by the length limit. tie_rate and usable_pair_rate say
    what these rollouts would give as training pairs, by the same rule that makes them (`pairs.make_pair`), and
    no_pair counts the reasons why not; without a single score, tie_rate is not defined. score_gap is the mean distance
    of best and worst answer. distinct_2 is the share of different word pairs among all word pairs. truth_* are the
    means of the grader's marks over all answers that it knows; truth_unknown counts the others.
    """
    kept = [row for row in rows if row.rollout.dropped is None]
    answers = [candidate for row in kept for candidate in row.rollout.candidates]
    scores = [answer.score for answer in answers if answer.score is not None]
    outcomes = [make_pair(row.rollout, pairs) for row in kept]
    no_pair = counts(outcome for outcome in outcomes if isinstance(outcome, str))
    return {
        "prompts": len(rows),
        "dropped": counts(row.rollout.dropped for row in rows),
        "answers": len(answers),
        **judgement_counts(judgement for answer in answers for judgement in answer.judgements),
        "self_score": mean(scores),
        "score_histogram": histogram(score for answer in answers for score in answer.valid),
        "score_gap": mean([gap for row in kept if (gap := _gap(row.rollout.candidates)) is not None]),
        "chars": mean([len(answer.text) for answer in answers]),
        "tokens": mean([answer.tokens for answer in answers]),
        "at_limit": mean([float(answer.finish == "length") for answer in answers]),
        "tie_rate": no_pair.get("tie", 0) / len(kept) if scores else None,
        "usable_pair_rate": mean([float(not isinstance(outcome, str)) for outcome in outcomes]),
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
    return {f"truth_{name}": mean(values) for name, values in known.items()} | {"truth_unknown": marks.count(None)}


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
    return {"prompts": len(gains), "asked": len(theirs), "score": mean(gains), "interval": interval}


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
    return {"asked": len(reasons), "kept": reasons.count(None), "dropped": counts(reasons)}


def pair_counts(pairs: Sequence[PreferencePair], dropped: Iterable[dict[str, str]]) -> dict[str, Any]:
    """How many preference pairs were made, why the other instructions gave none, and the means of the pairs.

    length_ratio: mean length of chosen over that of rejected; tie_rate and usable_pair_rate: of all instructions.
    anchored: pairs whose rejected answer is an earlier model's.
    """
    reasons = counts(row["reason"] for row in dropped)
    total = len(pairs) + sum(reasons.values())
    chosen = mean([len(pair.chosen[-1]["content"]) for pair in pairs])
    rejected = mean([len(pair.rejected[-1]["content"]) for pair in pairs])
    return {
        "pairs": len(pairs),
        "dropped": reasons,
        "margin": mean([pair.margin for pair in pairs]),
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
        **judgement_counts(judgement for answer in answers for judgement in answer.judgements),
        "score_histogram": histogram(scores),
        "score_entropy": entropy(Counter(round(score) for score in scores).values()) if scores else None,
        "sample_agreement": agreement([answer.valid for answer in answers]),
        "score_length": mean([spearman(a, b) for a, b in columns if len(set(a)) > 1 and len(set(b)) > 1]),
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
    scores = {name: mean(found) for name, found in by_name.items()}
    median = statistics.median(real) if real else None
    passed = {n: score for n, score in scores.items() if score is not None and median is not None and score >= median}
    return {
        **judgement_counts(judgement for row in canaries for judgement in row.judgements),
        "median": median,
        "scores": scores,
        "passed": passed,
    }
