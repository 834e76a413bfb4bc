"""Preference pairs from rollouts: best against worst mean score. Pure. (Paper: section 2.3.)"""

from srlm.config import PairSettings
from srlm.records import Candidate, PreferencePair, Rollout


def make_pair(rollout: Rollout, settings: PairSettings) -> PreferencePair | str:
    """The pair of one instruction, or the reason why there is none.

    Candidates with too few valid judgements, cut off by the length limit, or empty are left out; a tie and a margin
    below `min_margin` give no pair. Of equal scores the first candidate counts.
    """
    if rollout.dropped:
        return rollout.dropped
    usable = [
        c for c in rollout.candidates if c.text and c.finish == "stop" and len(c.valid) >= settings.min_judgements
    ]
    if len(usable) < 2:
        return _why_unusable(rollout.candidates, settings)
    chosen, rejected = max(usable, key=_score), min(usable, key=_score)
    margin = _score(chosen) - _score(rejected)
    if margin == 0:
        return "tie"
    if margin < settings.min_margin:
        return "margin below min_margin"
    if chosen.text == rejected.text:
        return "same text"  # judged apart by chance: nothing to prefer
    return PreferencePair(
        id=rollout.id,
        prompt=rollout.messages,
        chosen=[{"role": "assistant", "content": chosen.text}],
        rejected=[{"role": "assistant", "content": rejected.text}],
        chosen_score=_score(chosen),
        rejected_score=_score(rejected),
    )


def _score(candidate: Candidate) -> float:
    assert candidate.score is not None  # usable candidates have at least one valid judgement
    return candidate.score


def _why_unusable(candidates: list[Candidate], settings: PairSettings) -> str:
    finished = [c for c in candidates if c.text and c.finish == "stop"]
    if len(finished) < 2:
        return "fewer than two finished candidates"
    if any(j.finish == "overlong" for c in finished for j in c.judgements):
        return "judge prompt overlong"
    return "too few valid judgements"
