"""LLM-as-a-Judge: fill the rubric, parse the reply. Pure but for the engine call. (Paper: section 2.1.)

Only the judge's own completion is ever parsed. The policy of `parse_score`:
- a score is a number that the word "score" introduces ("Score: 4", "**Score:** 3", "score = 4.5", "Score (0-5): 2",
  "the score is 4 out of 5"); a bare number is none;
- the last one counts, also when it is no usable number: what comes before may quote the rubric or weigh other scores;
- added-up points count by their sum ("1 + 1 + 0 = 2"); a range or a percentage is no score;
- it must lie on the rubric's scale, and "/ N" must name that scale's top, or the reply has no score;
- a reply cut off by its length limit has no score, since its last word was not said.
"""

import re

from srlm.config import JudgeSettings
from srlm.engine import Engine, Sampling
from srlm.prompts import Templates
from srlm.records import Judgement, Messages

LOW, HIGH = 0.0, 5.0  # the scale of prompts/judge.txt

_INTRODUCED = re.compile(
    r"""\bscore\b [\s*_`"']* (?:\([^)\n]{0,20}\))? [\s*_`"']*   # the word, perhaps marked up, perhaps "(0-5)"
        (?:[:=]|\bis\b|\bof\b) [\s*_`"'(\[<]* (?=[-+]?\d)      # what introduces the number""",
    re.IGNORECASE | re.VERBOSE,
)
_NUMBER = re.compile(
    r"""(?:\d[\d.,\s+*-]*=\s*)?                                # points added up: "1 + 1 + 0 = 2"
        ([-+]?\d++(?:[.,]\d++)?+) (?!\s*[-–+*=]\s*\d) (?![\w%]) [*_`"')\]>]*
        (?:\s*(?:/|out\ of)\s*(\d+))?""",
    re.IGNORECASE | re.VERBOSE,
)


def parse_score(text: str, low: float = LOW, high: float = HIGH) -> float | None:
    """The score that a judge's reply ends on, or None: missing, never a stand-in number."""
    introduced = list(_INTRODUCED.finditer(text))
    found = _NUMBER.match(text, introduced[-1].end()) if introduced else None
    if found is None:
        return None
    number, top = found.groups()
    score = float(number.replace(",", "."))
    if top is not None and float(top) != high:
        return None
    return score if low <= score <= high else None


async def judge(
    engine: Engine, templates: Templates, settings: JudgeSettings, messages: Messages, response: str, seed: int
) -> list[Judgement]:
    """K judgements of one response to a conversation."""
    sampling = Sampling(settings.samples, settings.temperature, settings.top_p, settings.max_tokens)
    samples = await engine.sample(templates.judge(messages, response), sampling, seed)
    return [
        Judgement(
            text=sample.text,
            score=parse_score(sample.text) if sample.finish == "stop" else None,
            finish=sample.finish,
            tokens=sample.tokens,
        )
        for sample in samples
    ]
