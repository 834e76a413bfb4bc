"""LLM-as-a-Judge: fill the rubric, ask the engine, read the reply. (Paper: section 2.1.)

Three modes (`judge.mode`), each giving a list of judgements whose mean is the response's score:
- sampled: K replies with justification and score, as in the paper;
- expected: the model's own probabilities of all scores at the place where it would write one, and their mean;
- pairwise: the response against each other one, in both orders; a win is the scale's top, a loss its bottom.
"""

import asyncio
import itertools
import math
from collections.abc import Iterable

from srlm.engine import Engine, Sample, Sampling
from srlm.errors import UserError
from srlm.judge.parse import Scale, Verdict, read_score, read_verdict
from srlm.judge.prompts import Templates
from srlm.judge.rubric import Rubric
from srlm.records import Comparison, Judgement, Messages
from srlm.settings import JudgeSettings
from srlm.store import seed_of

MOSTLY_OUTSIDE = 0.5  # of the probability on anything but a score: flagged


class Judge:
    """Judges with one engine and one rubric, in the settings' mode. Scores lie on `scale`, by default the rubric's.

    Raises UserError for a rubric that the mode cannot use.
    """

    def __init__(self, engine: Engine, rubric: Rubric, settings: JudgeSettings, scale: Scale | None = None) -> None:
        if (rubric.kind == "pairwise") != (settings.mode == "pairwise"):
            fix = "a pairwise one has {response_a} and {response_b}, a scored one {response}"
            raise UserError(f"{rubric.path}: a {rubric.kind} rubric cannot judge in mode {settings.mode}", fix)
        self.rubric, self.scale = rubric, scale or rubric.scale
        self._engine, self._settings = engine, settings
        self._sampling = Sampling(settings.samples, settings.temperature, settings.top_p, settings.max_tokens)

    async def score(
        self, messages: Messages, response: str, seed: int, reference: str | None = None
    ) -> list[Judgement]:
        """The judgements of one response to a conversation, by a scored rubric."""
        return await self.ask(self._filled(messages, (response,), seed, reference), seed)

    async def ask(self, prompt: Messages, seed: int) -> list[Judgement]:
        """The judgements that a ready prompt gets: K, or a single one where nothing is sampled."""
        if self._settings.mode == "expected" and not self._settings.justify:
            return [await self._expected(prompt, Sample("", 0, "stop"))]
        samples = await self._engine.sample(prompt, self._sampling, seed)
        if self._settings.mode == "expected":
            return await asyncio.gather(*(self._expected(prompt, sample) for sample in samples))
        return [self._sampled(sample) for sample in samples]

    async def compare(
        self, messages: Messages, response_a: str, response_b: str, seed: int, reference: str | None = None
    ) -> list[Comparison]:
        """K comparisons of two responses, each in both orders. Which is called a or b has no influence."""
        first = self._filled(messages, (response_a, response_b), seed, reference)
        second = self._filled(messages, (response_b, response_a), seed, reference)
        forward, backward = await asyncio.gather(
            self._engine.sample(first, self._sampling, seed), self._engine.sample(second, self._sampling, seed)
        )
        return [_comparison(one, other) for one, other in zip(forward, backward, strict=True)]

    async def all(
        self, messages: Messages, responses: list[str], seeds: list[int], reference: str | None = None
    ) -> list[list[Judgement]]:
        """The judgements of each of several responses to one conversation; `seeds`: one for each.

        In mode pairwise a round robin: each comparison is a judgement of both responses (see `Judgement.against`), so
        that the mean is the scale's bottom plus the share of wins, ties counted half, times the scale's width.
        """
        if self._settings.mode != "pairwise":
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
        return self.rubric.fill(messages, responses, reference=reference, seed=seed, controls=self._engine.controls)

    def _sampled(self, sample: Sample) -> Judgement:
        found = read_score(sample.text, self.scale)
        stopped = sample.finish == "stop"
        return Judgement(
            text=sample.text,
            score=found.score if stopped else None,
            finish=sample.finish,
            tokens=sample.tokens,
            flags=["conflict"] if found.conflict and stopped else [],
        )

    async def _expected(self, prompt: Messages, sample: Sample) -> Judgement:
        """The mean score at the place where the reply has its score, or, where it has none, behind it and a cue."""
        sampled = self._sampled(sample)
        if sample.finish != "stop":
            return sampled
        prefix, space = self._before_score(sample.text)
        scores = range(self.scale.low, self.scale.high + 1)
        logs = await self._engine.choices(prompt, prefix, [f"{space}{score}" for score in scores])
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
                "score": _mean_score(scores, shares) if shares else None,
                "probabilities": [round(share, 6) for share in shares] if shares else None,
                "outside": round(outside, 6),
                "flags": sampled.flags + (["outside"] if outside > MOSTLY_OUTSIDE else []),
            }
        )

    def _before_score(self, reply: str) -> tuple[str, str]:
        """The reply up to its score, and the white space in front of the number."""
        at = read_score(reply, self.scale).at
        if at is None:
            return f"{reply}\n{self.rubric.cue}".lstrip(), " "
        prefix = reply[:at].rstrip()
        return prefix, reply[len(prefix) : at]


def make_judge(engine: Engine, templates: Templates, settings: JudgeSettings) -> Judge:
    """The judge of a run, with the rubric that its mode needs; scores lie on the scale of the scored rubric."""
    rubric = templates.pairwise if settings.mode == "pairwise" else templates.rubric
    return Judge(engine, rubric, settings, templates.rubric.scale)


def _mean_score(scores: Iterable[int], shares: list[float]) -> float:
    return math.fsum(score * share for score, share in zip(scores, shares, strict=True))


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
