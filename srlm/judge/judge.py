"""LLM-as-a-Judge: fill the rubric, ask the engine, read the reply. (Paper: section 2.1.)

Three modes (`judge.mode`), each giving a list of judgements whose mean is the response's score:
- sampled: K replies with justification and score, as in the paper;
- expected: the model's own probabilities of all scores at the place where it would write one, and their mean;
- pairwise: the response against each other one, in both orders; a win is the scale's top, a loss its bottom.

To add a mode: its name in `settings.JudgeSettings` (with what it means there for `compares` and `fine`), and a
function below with its row in SCORING or COMPARING.
"""

import asyncio
import itertools
import math
from collections.abc import Awaitable, Callable

from srlm.engine import Engine, Sample, Sampling
from srlm.errors import UserError
from srlm.judge.parse import Scale, read_score
from srlm.judge.prompts import Templates
from srlm.judge.rubric import Rubric
from srlm.judge.verdict import Verdict, read_verdict
from srlm.records import Comparison, Judgement, Messages
from srlm.settings import JudgeSettings
from srlm.store import seed_of

MOSTLY_OUTSIDE = 0.5  # of the probability on anything but a score: flagged
# Without reasons there is one judgement an answer, and nothing to say how far it can be relied on. So one answer in
# eight gets a second score, behind these words: an eighth of such judging, which is one token an answer.
ONE_IN = 8
OTHER_PHRASING = "I have read the whole answer."


class Judge:
    """Judges with one engine and one rubric, in the settings' mode. Scores lie on `scale`, by default the rubric's.

    Raises UserError for a rubric that the mode cannot use.
    """

    def __init__(self, engine: Engine, rubric: Rubric, settings: JudgeSettings, scale: Scale | None = None) -> None:
        if (rubric.kind == "pairwise") != settings.compares:
            fix = "a pairwise one has {response_a} and {response_b}, a scored one {response}"
            raise UserError(f"{rubric.path}: a {rubric.kind} rubric cannot judge in mode {settings.mode}", fix)
        self.rubric, self.scale = rubric, scale or rubric.scale
        self.engine, self.settings = engine, settings
        self.sampling = Sampling(settings.samples, settings.temperature, settings.top_p, settings.max_tokens)

    async def score(
        self, messages: Messages, response: str, seed: int, reference: str | None = None
    ) -> list[Judgement]:
        """The judgements of one response to a conversation, by a scored rubric."""
        return await self.ask(self._filled(messages, (response,), seed, reference), seed)

    async def ask(self, prompt: Messages, seed: int) -> list[Judgement]:
        """The judgements that a ready prompt gets: K, or a single one where nothing is sampled."""
        return await SCORING[self.settings.mode](self, prompt, seed)

    async def compare(
        self, messages: Messages, response_a: str, response_b: str, seed: int, reference: str | None = None
    ) -> list[Comparison]:
        """Comparisons of two responses, each in both orders. Which is called a or b has no influence."""
        first = self._filled(messages, (response_a, response_b), seed, reference)
        second = self._filled(messages, (response_b, response_a), seed, reference)
        return await COMPARING[self.settings.mode](self, first, second, seed)

    async def all(
        self, messages: Messages, responses: list[str], seeds: list[int], reference: str | None = None
    ) -> list[list[Judgement]]:
        """The judgements of each of several responses to one conversation; `seeds`: one for each.

        In mode pairwise a round robin: each comparison is a judgement of both responses (see `Judgement.against`), so
        that the mean is the scale's bottom plus the share of wins, ties counted half, times the scale's width.
        """
        if not self.settings.compares:
            given = zip(responses, seeds, strict=True)
            return await asyncio.gather(*(self.score(messages, text, seed, reference) for text, seed in given))
        pairs = list(itertools.combinations(range(len(responses)), 2))
        compared = await asyncio.gather(
            *(
                self.compare(messages, responses[i], responses[j], seed_of(seeds[i], seeds[j]), reference)
                for i, j in pairs
            )
        )
        result: list[list[Judgement]] = [[] for _ in responses]
        for (i, j), comparisons in zip(pairs, compared, strict=True):
            for found in comparisons:
                result[i].append(self.side(found, "a", j))
                result[j].append(self.side(found, "b", i))
        return result

    def side(self, found: Comparison, side: str, against: int) -> Judgement:
        """A comparison as a judgement of its response `side`, in units of the scale."""
        low, high = self.scale
        worth = {side: high, "tie": (low + high) / 2, None: None}.get(found.winner, low)
        texts = found.texts if side == "a" else found.texts[::-1]
        return Judgement(
            text=texts[0],
            swapped=texts[1],
            score=worth,
            finish=found.finish,
            tokens=found.tokens[0 if side == "a" else 1],
            against=against,
            flags=found.flags,
        )

    def _filled(self, messages: Messages, responses: tuple[str, ...], seed: int, reference: str | None) -> Messages:
        return self.rubric.fill(messages, responses, reference=reference, seed=seed, controls=self.engine.controls)


def make_judge(engine: Engine, templates: Templates, settings: JudgeSettings) -> Judge:
    """The judge of a run, with the rubric that its mode needs; scores lie on the scale of the scored rubric."""
    rubric = templates.pairwise if settings.compares else templates.rubric
    return Judge(engine, rubric, settings, templates.rubric.scale)


# --- the modes that score one response ----------------------------------------------------------------------------


async def _sampled(judge: Judge, prompt: Messages, seed: int) -> list[Judgement]:
    """K replies with justification and score, as in the paper."""
    return [_read(judge, sample) for sample in await judge.engine.sample(prompt, judge.sampling, seed)]


async def _expected(judge: Judge, prompt: Messages, seed: int) -> list[Judgement]:
    """K justifications, or none, each with the model's probabilities of all scores behind it."""
    if not judge.settings.justify:
        found = await _expected_behind(judge, prompt, Sample("", 0, "stop"))
        if seed % ONE_IN:
            return [found]
        other = await _expected_behind(judge, prompt, Sample(OTHER_PHRASING, 0, "stop"))
        return [found.model_copy(update={"again": other.score})]
    samples = await judge.engine.sample(prompt, judge.sampling, seed)
    return await asyncio.gather(*(_expected_behind(judge, prompt, sample) for sample in samples))


def _read(judge: Judge, sample: Sample) -> Judgement:
    found = read_score(sample.text, judge.scale)
    stopped = sample.finish == "stop"
    return Judgement(
        text=sample.text,
        score=found.score if stopped else None,
        finish=sample.finish,
        tokens=sample.tokens,
        flags=["conflict"] if found.conflict and stopped else [],
    )


async def _expected_behind(judge: Judge, prompt: Messages, sample: Sample) -> Judgement:
    """The mean score at the place where the reply has its score, or, where it has none, behind it and a cue."""
    sampled = _read(judge, sample)
    if sample.finish != "stop":
        return sampled
    prefix, space = _before_score(judge, sample.text)
    scores = range(judge.scale.low, judge.scale.high + 1)
    logs = await judge.engine.choices(prompt, prefix, [f"{space}{score}" for score in scores])
    if logs is None:
        return sampled.model_copy(update={"score": None, "finish": "overlong"})
    likely = [math.exp(log) for log in logs]
    total = math.fsum(likely)
    if math.isnan(total):  # a broken model: no score, and nothing that a row could not hold
        return sampled.model_copy(update={"score": None})
    outside = max(0.0, 1 - total)
    shares = [value / total for value in likely] if total else None
    return sampled.model_copy(
        update={
            "score": math.fsum(s * share for s, share in zip(scores, shares, strict=True)) if shares else None,
            "probabilities": [round(share, 6) for share in shares] if shares else None,
            "outside": round(outside, 6),
            "flags": sampled.flags + (["outside"] if outside > MOSTLY_OUTSIDE else []),
        }
    )


def _before_score(judge: Judge, reply: str) -> tuple[str, str]:
    """The reply up to its score, and the white space in front of the number."""
    at = read_score(reply, judge.scale).at
    if at is None:
        return f"{reply}\n{judge.rubric.cue}".lstrip(), " "
    prefix = reply[:at].rstrip()
    return prefix, reply[len(prefix) : at]


SCORING: dict[str, Callable[[Judge, Messages, int], Awaitable[list[Judgement]]]] = {
    "sampled": _sampled,
    "expected": _expected,
}


# --- the modes that compare two -----------------------------------------------------------------------------------


async def _pairwise(judge: Judge, first: Messages, second: Messages, seed: int) -> list[Comparison]:
    """K replies with a verdict to each of the two prompts; `second` has the responses the other way round."""
    forward, backward = await asyncio.gather(
        judge.engine.sample(first, judge.sampling, seed), judge.engine.sample(second, judge.sampling, seed)
    )
    return [_comparison(one, other) for one, other in zip(forward, backward, strict=True)]


def _comparison(forward: Sample, backward: Sample) -> Comparison:
    """`forward` saw the order (a, b), `backward` (b, a)."""
    cut = next((sample.finish for sample in (forward, backward) if sample.finish != "stop"), None)
    read = [read_verdict(sample.text) if sample.finish == "stop" else Verdict(None) for sample in (forward, backward)]
    names = ({"A": "a", "B": "b", "tie": "tie"}, {"A": "b", "B": "a", "tie": "tie"})
    one, other = (name.get(found.choice or "") for name, found in zip(names, read, strict=True))
    flags = ["conflict"] if any(found.conflict for found in read) else []
    known = one is not None and other is not None
    return Comparison(
        winner=(one if one == other else "tie") if known else None,
        verdicts=(one, other),
        texts=(forward.text, backward.text),
        finish=cut or "stop",
        tokens=(forward.tokens, backward.tokens),
        flags=flags + (["order"] if known and one != other else []),
    )


COMPARING: dict[str, Callable[[Judge, Messages, Messages, int], Awaitable[list[Comparison]]]] = {"pairwise": _pairwise}
