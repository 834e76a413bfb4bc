"""LLM-as-a-Judge: fill the rubric, ask the engine, read the reply. (Paper: section 2.1.)"""

import asyncio

from srlm.config import JudgeSettings
from srlm.engine import Engine, Sampling
from srlm.parse import Scale, parse_score
from srlm.prompts import Templates
from srlm.records import Comparison, Judgement, Messages
from srlm.rubric import Rubric


class Judge:
    """Judges with one engine and one rubric, in the settings' mode; scores lie on `scale`."""

    def __init__(self, engine: Engine, rubric: Rubric, settings: JudgeSettings, scale: Scale | None = None) -> None:
        self.rubric, self.scale = rubric, scale or rubric.scale
        self._engine, self._settings = engine, settings
        self._sampling = Sampling(settings.samples, settings.temperature, settings.top_p, settings.max_tokens)

    async def score(
        self, messages: Messages, response: str, seed: int, reference: str | None = None
    ) -> list[Judgement]:
        """The judgements of one response to a conversation, by a scored rubric."""
        prompt = self.rubric.fill(messages, (response,), reference=reference, seed=seed, controls=self._engine.controls)
        samples = await self._engine.sample(prompt, self._sampling, seed)
        return [
            Judgement(
                text=sample.text,
                score=parse_score(sample.text, self.scale) if sample.finish == "stop" else None,
                finish=sample.finish,
                tokens=sample.tokens,
            )
            for sample in samples
        ]

    async def compare(
        self, messages: Messages, response_a: str, response_b: str, seed: int, reference: str | None = None
    ) -> list[Comparison]:
        """`judge.samples` comparisons of two responses, each in both orders, by a pairwise rubric."""
        raise NotImplementedError

    async def all(self, messages: Messages, responses: list[str], seeds: list[int]) -> list[list[Judgement]]:
        """The judgements of each of several responses to one conversation, in the settings' mode."""
        scored = (self.score(messages, text, seed) for text, seed in zip(responses, seeds, strict=True))
        return await asyncio.gather(*scored)


def make_judge(engine: Engine, templates: Templates, settings: JudgeSettings) -> Judge:
    """The judge of a run, with the rubric that its mode needs; scores lie on the scale of the scored rubric."""
    rubric = templates.pairwise if settings.mode == "pairwise" else templates.rubric
    return Judge(engine, rubric, settings, templates.rubric.scale)
