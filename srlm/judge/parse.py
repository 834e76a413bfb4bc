"""Reading the judge's replies. Only the judge's own completion is ever parsed. Pure.

The policy of `read_score`, each kind with examples in tests/judge_replies.py:

1. A score is a number that something introduces: the word score, rating or grade with ":", "=", "is", "of", "|" or an
   arrow ("Score: 4", "**Score:** 3", "Rating: [[2]]", '"score": 4', "Score (0-5): 2", "the score is 4 out of 5"), the
   word alone on a line above it, a tag ("[RESULT] 4", "<score>4</score>").
2. Where nothing of that is found: such a word in another language ("Puntuación: 4", "评分：4"); else a number that is
   all of the first or the last line ("4", "**4/5**"), or boxed.
3. The last one counts, also when it is no usable number, since what comes before may quote the rubric or weigh
   other scores. But talk of scores ("a score of 5 would need more") behind a line that begins with "Score:" is talk,
   and what stands in quotation marks in the middle of a line (it ends with "Score: 5") is not the judge's.
4. Usable is a numeral on the rubric's scale, whole or decimal; "/ N" or "out of N" must name the scale's top. Points
   added up count by their sum ("1 + 1 + 0 = 2"). No score: numbers in words, ranges ("3-4", "3 or 4"), percentages,
   another scale, anything off the scale.
5. Different usable scores in one reply are a conflict: flagged, and the rule above decides.

A reply cut off by its length limit has no score, since its last word was not said: the caller sees to that.
"""

import re
from typing import NamedTuple


class Scale(NamedTuple):
    """The lowest and the highest score of a rubric."""

    low: int
    high: int


DEFAULT_SCALE = Scale(0, 5)  # of prompts/judge.txt


class Reading(NamedTuple):
    """What a reply says: its score (None: none), whether it says several, and where its number stands."""

    score: float | None
    conflict: bool = False
    at: int | None = None  # where the number that counts begins; None when none was introduced


_MARKUP = r"""[\s*_`"'~]"""
_OPEN = r"""[\s*_`"'(\[<{~$]*+"""
_AHEAD = r"(?=[-+]?\d)"
# no part of a longer word or name ("underscore", "clarity_score"); "__Score__" is marked up
_WORD = r"(?<![^\W_])(?<![^\W_]_)(?:(?:overall|total|final)[ _-]?)?(?:score|rating|grade)(?![^\W_])"
_INTRODUCED = re.compile(
    rf"""(?:^(?P<line>(?:[^\w\n]|_)*+))?                  # the line begins with it, but for markup
        (?: {_WORD} {_MARKUP}*+ (?:\([^)\n]{{0,20}}\) {_MARKUP}*+)?
            (?: (?P<prose> \b(?:is|of|would\ be)\b [\s:]*+ (?:an?\s+)?) | [:：=|]\s*>? | [-=]> | [→⇒] )
          | {_WORD} [*_]*+ \s [-–—] (?=\s)            # "Score - 4"
          | {_WORD} (?=[^\S\n]+\d++(?:[.,]\d++)?+(?:\s*/\s*\d++)?+[\s*_.]*+(?:\n|\Z))   # "Score 4" at a line's end
          | {_WORD} [*_]*+ [^\S\n]* (?=\n)            # a heading, the number below
          | \[(?:result|score|rating)\] :?
          | <(?:score|rating|grade|result)>
        ) {_OPEN} {_AHEAD}""",
    re.IGNORECASE | re.VERBOSE | re.MULTILINE,
)
# Words of other languages. Those that mean a remark, too ("note", "nota"), need "/ N" behind the number.
_FOREIGN = re.compile(
    rf"""(?: \b(?:punktzahl|gesamtpunktzahl|bewertung|wertung|puntuación(?:\ final)?|puntaje|calificación|pontuação
               |punteggio|valutazione|оценка|балл|ocena|puan|skor|điểm|poäng|betyg|waardering|स्कोर)\b
          | (?:评分|得分|分数|評分|得分|スコア|評点|点数|得点|점수|평점|الدرجة|النتيجة)
          | \b(?:note|nota|voto|punkte|cijfer)\b (?=[\s*_]*[:：][\s*_]*\d[\d.,]*\s*/\s*\d)
        ) {_MARKUP}*+ (?:[:：=]|\bist\b|\best\b|\bes\b|是|は|为)? {_OPEN} {_AHEAD}""",
    re.IGNORECASE | re.VERBOSE,
)
_BOXED = re.compile(rf"\\boxed\{{\s*{_AHEAD}")
_NUMBER = re.compile(
    r"""(?:\d[\d.,\s+*-]*+=[\s*_`]*+)?+                              # points added up: "1 + 1 + 0 = 2"
        (?P<number>[-+]?\d++(?:[.,]\d++)?+)
        (?! \s*[-–+*=]\s*\d | \s*(?:to|or|bis)\s+\d | \s+\d+/\d | \.\d )   # a range, a sum, a fraction, a version
        (?: [分点점]점? | (?![\w%]) (?!\s*(?:%|percent)) )
        [*_`"')\]>}$]*+ (?: \s*(?:/|out\ of|von|sur|sobre|de|из)\s*[*_`]* (?P<top>\d+) )?""",
    re.IGNORECASE | re.VERBOSE,
)
_TRAILING = re.compile(r"[\s*_`\"')\]>}.]*(?:\n|\Z)")
_QUOTES = "\"'`“”„‘’«»「」"
_CLOSING = re.compile(rf"[*_.\\\])]{{0,3}}[{_QUOTES}]")


def read_score(text: str, scale: Scale = DEFAULT_SCALE) -> Reading:
    """The score that a judge's reply ends on; see the module's docstring. Never off the scale, never a stand-in."""
    found = _introduced(text) or [m.end() for m in _FOREIGN.finditer(text)] or _bare(text)
    if not found:
        return Reading(None)
    scores = [_number(text, at, scale) for at in found]
    usable = {reading.score for reading in scores if reading.score is not None}
    return scores[-1]._replace(conflict=len(usable) > 1)


def parse_score(text: str, scale: Scale = DEFAULT_SCALE) -> float | None:
    """The score alone; None is missing, never a number."""
    return read_score(text, scale).score


def _introduced(text: str) -> list[int]:
    """Where numbers begin that a word or a tag introduces, in order."""
    matches = _INTRODUCED.finditer(text)
    found = [match for match in matches if _on_its_line(text, match) and not _in_quotes(text, match)]
    lines = [i for i, m in enumerate(found) if m["line"] is not None and m["prose"] is None]
    last = lines[-1] if lines else len(found)
    return [m.end() for i, m in enumerate(found) if i <= last or m["prose"] is None]


def _on_its_line(text: str, match: re.Match[str]) -> bool:
    """Whether the number stands behind the word, or else alone on a line below: "1. Relevant" is no score."""
    if "\n" not in match[0].lstrip():
        return True
    number = _NUMBER.match(text, match.end())
    return number is not None and _TRAILING.match(text, number.end()) is not None


def _in_quotes(text: str, match: re.Match[str]) -> bool:
    """Whether word and number are quoted in a line that says more, as in: it ends with "Score: 5"."""
    number = _NUMBER.match(text, match.end())
    if number is None:
        return False
    end = number.end("number" if number["top"] is None else "top")
    return _is_quotation(text, max(match.start(), match.end("line")), end)


def _is_quotation(text: str, start: int, end: int) -> bool:
    """Whether text[start:end] stands in quotation marks with words beside it; in JSON there are marks within, too."""
    if not text[max(0, start - 4) : start].rstrip("*_").endswith(tuple(_QUOTES)) or not _CLOSING.match(text, end):
        return False
    if any(mark in text[start:end] for mark in _QUOTES):
        return False
    before, after = text[max(0, start - 200) : start], text[end : end + 200]  # a line can be very long
    return any(map(str.isalnum, before.rpartition("\n")[2] + after.partition("\n")[0]))


def _bare(text: str) -> list[int]:
    """Where the number begins that is all of the first or the last line, or that is boxed."""
    stripped = text.strip()
    offset = text.find(stripped)
    lines = {0: stripped.split("\n")[0], stripped.rfind("\n") + 1: stripped.split("\n")[-1]}
    found = []
    for start, line in sorted(lines.items()):
        head = re.match(rf"[^\S\n]*[*_`(\[{{<]*+{_AHEAD}", line)
        number = _NUMBER.match(line, head.end()) if head else None
        if head and number and _TRAILING.fullmatch(line, number.end()):
            found.append(offset + start + head.end())
    return [m.end() for m in _BOXED.finditer(text)] or found


def _number(text: str, at: int, scale: Scale) -> Reading:
    match = _NUMBER.match(text, at)
    if match is None:
        return Reading(None, at=at)
    number, top = match["number"], match["top"]
    thousands = re.fullmatch(r"[-+]?\d+,\d{3}", number)
    score = float(number.replace(",", "."))
    usable = not thousands and scale.low <= score <= scale.high and (top is None or int(top) == scale.high)
    return Reading(score if usable else None, at=match.start("number"))


# --- verdicts --------------------------------------------------------------------------------------------------------

_CHOICE = r"(?P<choice>A|B|C|tie|tied|draw|equal|both|neither)"
_VERDICT = re.compile(
    rf"""(?: \b(?:verdict|winner|preference|preferred|better|decision|choice)\b (?:\ (?:answer|response|one))?
            {_MARKUP}*+ (?:[:：=]\s*|\bis\b|[-=]>|→)
          | \[(?:result|verdict)\] :?
          | <(?:verdict|winner|result)>
          | (?<!\[)(?=\[\[)
        ) [\s*_`"'(\[<{{]*+ (?:(?:the\s+)?(?:answer|response|assistant|option|model)\s+)? [*_`"'(\[]*+ {_CHOICE}
        (?![\w'’]) (?!\s+(?:or|and|vs\.?|/)\b|/)""",
    re.IGNORECASE | re.VERBOSE,
)
_ONLY = re.compile(
    rf"""[\s*_`"'(\[]*+ (?:(?:the\s+)?(?:answer|response|assistant|option)\s+)? {_CHOICE} (?:\s+is\s+better)?
        [\s*_`"')\].!]*""",
    re.IGNORECASE | re.VERBOSE,
)


class Verdict(NamedTuple):
    """What a comparison says: "A", "B", "tie" or None, and whether it says several."""

    choice: str | None
    conflict: bool = False


def read_verdict(text: str) -> Verdict:
    """The verdict that a comparing reply ends on: the last one introduced ("Verdict: A", "[[B]]"), else its last line.

    "C", "draw", "equal", "both" and "neither" are ties; "A or B" is no verdict.
    """
    matches = _VERDICT.finditer(text)
    found = [match["choice"] for match in matches if not _is_quotation(text, match.start(), match.end())]
    if not found and text.strip():
        only = _ONLY.fullmatch(text.strip().splitlines()[-1])
        found = [only["choice"]] if only else []
    choices = [choice.upper() if choice.upper() in ("A", "B") else "tie" for choice in found]
    return Verdict(choices[-1], len(set(choices)) > 1) if choices else Verdict(None)
