"""Preference pairs from rollouts: best against worst mean score, with the options of [pairs]. Pure.

The plain rule is the paper's (section 2.3). Options: length control by `rho` (Meta-Rewarding, 2407.19594), a rejected
answer from an earlier model (Temporal Self-Rewarding, 2508.06026), agreement with the previous model's judgements
(CREAM, 2410.12735).
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence

from srlm.records import Candidate, PreferencePair, Rollout
from srlm.settings import PairSettings

ROUNDING = 1e-9  # a score on the edge of a tier, computed in floats, lies in it


def make_pair(rollout: Rollout, settings: PairSettings, past: Rollout | None = None) -> PreferencePair | str:
    """The pair of one instruction, or the reason why there is none.

    Candidates with too few valid judgements, cut off by the length limit, or empty are left out; a tie and a margin
    outside of `min_margin` and `max_margin` give no pair. Of equal scores the first candidate counts, under `rho` the
    shortest (chosen) and the longest (rejected). `past`: an earlier model's answers to the instruction, with this
    model's judgements; the worst of them is rejected where it scores lower than the model's own.
    """
    if rollout.dropped:
        return rollout.dropped
    usable, old = usable_candidates(rollout, settings), usable_candidates(past, settings) if past else []
    if len(usable) < 1 + (not old):
        return _why_unusable(rollout.candidates, settings)
    chosen, rejected = _best_and_worst(usable, settings.rho)
    worst_old = min(old, key=_score, default=rejected)
    anchored = _score(worst_old) < _score(rejected)
    rejected = worst_old if anchored else rejected
    return _why_no_pair(chosen, rejected, settings) or PreferencePair(
        id=rollout.id,
        prompt=rollout.messages,
        chosen=[{"role": "assistant", "content": chosen.text}],
        rejected=[{"role": "assistant", "content": rejected.text}],
        chosen_score=_score(chosen),
        rejected_score=_score(rejected),
        rejected_from=settings.anchor if anchored else None,
    )


def make_pairs(
    rollouts: Mapping[str, Rollout],
    settings: PairSettings,
    past: Mapping[str, Rollout] | None = None,
    taus: Mapping[str, float] | None = None,
) -> Iterator[tuple[str, PreferencePair | str]]:
    """(id, its pair or the reason why there is none) for each rollout, in order of id.

    All by id; `past` and `taus`: an earlier model's judged answers, and what `rank_agreement` found, where asked for.
    """
    for row_id in sorted(rollouts):  # rollouts end in any order; the training data shall not
        outcome = make_pair(rollouts[row_id], settings, (past or {}).get(row_id))
        if settings.consistency == "drop" and isinstance(outcome, PreferencePair):
            tau = (taus or {}).get(row_id)
            if tau is None or (tau + 1) / 2 < settings.min_consistency:
                outcome = "judges disagree" if tau is not None else "not judged by the previous model"
        yield row_id, outcome


def rank_agreement(rollout: Rollout, previous: Rollout, settings: PairSettings) -> float | None:
    """Kendall's tau (a) of the rankings that two judges give the same candidates: -1 to 1; ties count 0.

    Over the candidates that a pair may take and that both have scored; None with fewer than two. Raises ValueError when
    the two rows do not hold the same candidates.
    """
    if [c.text for c in rollout.candidates] != [c.text for c in previous.candidates]:
        raise ValueError(f"{rollout.id}: the two judges saw different candidates")
    usable = {id(c) for c in usable_candidates(rollout, settings)}
    both = zip(rollout.candidates, previous.candidates, strict=True)
    scores = [(_score(a), b.score) for a, b in both if id(a) in usable and b.score is not None]
    signs = [_sign((a[0] - b[0]) * (a[1] - b[1])) for a, b in itertools.combinations(scores, 2)]
    return sum(signs) / len(signs) if signs else None


def consistency(taus: Sequence[float]) -> float | None:
    """CREAM's C, the mean of (tau + 1) / 2: 1 when both judges rank alike everywhere, 0.5 by chance."""
    return sum((tau + 1) / 2 for tau in taus) / len(taus) if taus else None


def usable_candidates(rollout: Rollout, settings: PairSettings) -> list[Candidate]:
    """The candidates that a pair may take: finished, not empty, with enough valid judgements."""
    return [c for c in rollout.candidates if c.text and c.finish == "stop" and len(c.valid) >= settings.min_judgements]


def _best_and_worst(usable: list[Candidate], rho: float | list[float] | None) -> tuple[Candidate, Candidate]:
    best, worst = max(usable, key=_score), min(usable, key=_score)
    if rho is None:
        return best, worst
    assert not isinstance(rho, list)  # resolved by PairSettings.at
    reach = rho * (_score(best) - _score(worst)) + ROUNDING
    chosen = min((c for c in usable if _score(c) >= _score(best) - reach), key=lambda c: len(c.text))
    rejected = max((c for c in usable if _score(c) <= _score(worst) + reach), key=lambda c: len(c.text))
    return chosen, rejected


def _why_no_pair(chosen: Candidate, rejected: Candidate, settings: PairSettings) -> str | None:
    margin = _score(chosen) - _score(rejected)
    if margin == 0:
        return "tie"
    if margin < 0:
        return "rho above 0.5 turned the pair around"
    if margin < settings.min_margin:
        return "margin below min_margin"
    if settings.max_margin is not None and margin > settings.max_margin:
        return "margin above max_margin"
    if chosen.text == rejected.text:
        return "same text"  # judged apart by chance: nothing to prefer
    return None


def _score(candidate: Candidate) -> float:
    assert candidate.score is not None  # usable candidates have at least one valid judgement
    return candidate.score


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)


def _why_unusable(candidates: list[Candidate], settings: PairSettings) -> str:
    finished = [c for c in candidates if c.text and c.finish == "stop"]
    if len(finished) < 2:
        return "fewer than two finished candidates"
    if any(j.finish == "overlong" for c in finished for j in c.judgements):
        return "judge prompt overlong"
    return "too few valid judgements"
