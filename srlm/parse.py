"""Reading the judge's replies. Only the judge's own completion is ever parsed. Pure.

The policy of `parse_score`:
- a score is a number that the word "score" introduces ("Score: 4", "**Score:** 3", "score = 4.5", "Score (0-5): 2",
  "the score is 4 out of 5"); a bare number is none;
- the last one counts, also when it is no usable number: what comes before may quote the rubric or weigh other scores;
- added-up points count by their sum ("1 + 1 + 0 = 2"); a range or a percentage is no score;
- it must lie on the rubric's scale, and "/ N" must name that scale's top, or the reply has no score;
- a reply cut off by its length limit has no score, since its last word was not said.
"""

import re
from typing import NamedTuple


class Scale(NamedTuple):
    """The lowest and the highest score of a rubric."""

    low: int
    high: int


DEFAULT_SCALE = Scale(0, 5)  # of prompts/judge.txt

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


def parse_score(text: str, scale: Scale = DEFAULT_SCALE) -> float | None:
    """The score that a judge's reply ends on, or None: missing, never a stand-in number."""
    introduced = list(_INTRODUCED.finditer(text))
    found = _NUMBER.match(text, introduced[-1].end()) if introduced else None
    if found is None:
        return None
    number, top = found.groups()
    score = float(number.replace(",", "."))
    if top is not None and float(top) != scale.high:
        return None
    return score if scale.low <= score <= scale.high else None
