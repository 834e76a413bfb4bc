"""Reading scores in the judge's replies. Only the judge's own completion is ever parsed. Pure.

(Verdicts of comparisons: `judge/verdict.py`.) The policy of `read_score`, each kind with examples in
tests/helpers/judge_replies.py:

1. A score is a number that something introduces: the word score, rating or grade with ":", "=", "is", "of", "|" or an
   arrow ("Score: 4", "**Score:** 3", "Rating: [[2]]", '"score": 4', "Score (0-5): 2", "the score is 4 out of 5"), the
   word alone on a line above it, a tag ("[RESULT] 4", "<score>4</score>").
2. Where nothing of that is found: such a word in another language ("Puntuación: 4", "评分：4"); else a number that is
   boxed, or all of the first or the last line ("4", "**4/5**", "4 points", at the end also "#### 4"), there also behind
   "Total:", "Overall:" or "Points:", if no other line begins with the same word: one of many is about one criterion.
3. The last one counts, also when it is no usable number, since what comes before may quote the rubric or weigh
   other scores. But talk of scores ("a score of 5 would need more") behind a line that begins with "Score:" is talk,
   and what stands in quotation marks in the middle of a line (it ends with "Score: 5") is not the judge's.
4. Usable is a numeral on the rubric's scale, whole or decimal. A scale named beside it ("/ 5", "out of 5", "Score
   (0-5):") must be the rubric's. Points added up count by their sum ("1 + 1 + 0 = 2"). No score: numbers in words,
   ranges and lists ("3-4", "3 or 4", "4, 5"), percentages, another scale, anything off the scale, "maximum score: 5".
5. A number that is corrected in its place counts by the last one, if that ends its line ("4 -> 5", "4, no, 3", "~~4~~
   3", "4 (corrected to 3)"); if more follows ("4, wait, 2 steps are missing"), there is no score.
6. Different usable scores in one reply are a conflict: flagged, and the rules above decide.
7. Thoughts are not said: what stands behind a <think> that begins a line, or in front of a </think>, also one whose
   beginning was in the prompt. Without an end, all that follows is thoughts, and there is no score.

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
# no part of a longer word or name ("underscore", "clarity_score"); "__Score__" is marked up. "Maximum score" is talk.
_BOUND = "".join(rf"(?<!\b{word}[ ])" for word in ("max", "maximum", "min", "minimum", "possible", "perfect"))
_WORD = rf"(?<![^\W_])(?<![^\W_]_){_BOUND}(?:(?:overall|total|final)[ _-]?)?(?:score|rating|grade)(?![^\W_])"
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
_SUM = r"(?:(?:overall|total|final)[ ]+)?(?:overall|total|points)\b"
_ALONE = re.compile(
    rf"""\s*+ (?: [\W_]*+ (?P<sum>{_SUM}) {_MARKUP}*+ (?:\([^)\n]{{0,20}}\) {_MARKUP}*+)? [:：=|] {_OPEN}
          | (?P<heading>\#{{1,6}}[ ]+)?+ [*_`(\[{{<]*+ ) {_AHEAD}""",
    re.IGNORECASE | re.VERBOSE,
)
_UNIT = r"(?:points?|pts|stars?)\b"
_NUMBER = re.compile(
    rf"""(?:\d[\d.,\s+*-]*+=(?![=>])[\s*_`]*+)?+                     # points added up: "1 + 1 + 0 = 2"
        (?P<number>[-+]?\d++(?:[.,]\d++)?+)
        (?! [^\S\n]*[-–+*=]\s*\d | \s*(?:to|or|and|bis|vs\.?)\s+\d | \s+\d+/\d | \.+\d )  # a range, a sum, a version
        (?! [^\S\n]*[,;|&~<>]\s*\d[\d.,]*[\s*_|]*(?:\n|\Z) )    # one of several
        (?! \s*[*_]*~~ )                                        # struck out
        (?: [分点점]점? | (?![\w%]) (?!\s*(?:%|percent)) )
        [*_`"')\]>}}$]*+
        (?: (?:\s*{_UNIT})? [\s(]* (?:/|(?:out\ )?of|on\ a\ scale\ (?:of|from)|von|sur|sobre|de|из) {_MARKUP}*
            (?:a\ )? (?:(?:possible|maximum|max)\ (?:of\ )?)? (?:\d+\s*(?:to|[-–])\s*)? (?P<top>\d+) )?""",
    re.IGNORECASE | re.VERBOSE,
)
_SCALE_AHEAD = re.compile(
    r"\((?:[^()\n]*(?:/|of|to|max\.?|[-–])\s*)(\d+)\s*(?:points?|stars?)?\)[\s*_`:：=|]*\Z", re.IGNORECASE
)
_CORRECTION = re.compile(
    rf"""[-+]?\d++(?:[.,]\d++)?+ (?:\s*/\s*\d++)?+ [*_`)\]]*+ (?:[^\S\n]*{_UNIT})?+ [^\S\n]*+
        (?: ~~ | [-=]+> | [→⇒]
          | [.,;:?!…—–-]*+ \s*+ \(?
            (?: (?:no|wait|or\ rather|rather|actually|sorry|make\ (?:that|it)|correction
                |(?:corrected|changed|revised|lowered|raised|reduced)\ to)\b [\s,.:;!…—–-]*+ )++ )
        [^\S\n]*+ [*_`(\[]*+ (?=\d)""",
    re.IGNORECASE | re.VERBOSE,
)
_TRAILING = re.compile(rf"""[\s*_`"')\]>}}.|]*(?:{_UNIT}[\s*_`"')\]>}}.|]*)?(?:\n|\Z)""", re.IGNORECASE)
_QUOTES = "\"'`“”„‘’«»「」"
_THOUGHTS = re.compile(rf"(?<![{_QUOTES}])<(?P<end>/?)think(?:ing)?>", re.IGNORECASE)
_CLOSING = re.compile(rf"[*_.\\\])]{{0,3}}[{_QUOTES}]")


def read_score(text: str, scale: Scale = DEFAULT_SCALE) -> Reading:
    """The score that a judge's reply ends on; see the module's docstring. Never off the scale, never a stand-in."""
    begin = said_from(text)
    found = _score_said(text[begin:], scale)
    return found if found.at is None else found._replace(at=begin + found.at)


def _score_said(text: str, scale: Scale) -> Reading:
    found = _introduced(text) or [m.end() for m in _FOREIGN.finditer(text)] or _bare(text)
    scores = [reading for at in found for reading in _numbers(text, at, scale)]
    if not scores:
        return Reading(None)
    usable = {reading.score for reading in scores if reading.score is not None}
    return scores[-1]._replace(conflict=len(usable) > 1)


def parse_score(text: str, scale: Scale = DEFAULT_SCALE) -> float | None:
    """The score alone; None is missing, never a number."""
    return read_score(text, scale).score


def said_from(text: str) -> int:
    """Where a reply begins behind its thoughts; its end where they have none."""
    begin, thinking = 0, False
    for mark in _THOUGHTS.finditer(text):
        if mark["end"]:
            begin, thinking = mark.end(), False
        elif not text[begin : mark.start()].rpartition("\n")[2].strip():
            thinking = True  # within a line it is what the reply is about
    return len(text) if thinking else begin


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
    return is_quotation(text, max(match.start(), match.end("line")), end)


def is_quotation(text: str, start: int, end: int) -> bool:
    """Whether text[start:end] stands in quotation marks with words beside it; in JSON there are marks within, too."""
    if not text[max(0, start - 4) : start].rstrip("*_").endswith(tuple(_QUOTES)) or not _CLOSING.match(text, end):
        return False
    if any(mark in text[start:end] for mark in _QUOTES):
        return False
    before, after = text[max(0, start - 200) : start], text[end : end + 200]  # a line can be very long
    return any(map(str.isalnum, before.rpartition("\n")[2] + after.partition("\n")[0]))


def _bare(text: str) -> list[int]:
    """Where the number begins that is boxed, or else all of the first or last line, but for a word such as total."""
    if boxed := [m.end() for m in _BOXED.finditer(text)]:
        return boxed
    stripped = text.strip()
    offset, last = text.find(stripped), stripped.rfind("\n") + 1
    found = []
    for start, line in {0: stripped.split("\n")[0], last: stripped[last:]}.items():
        head = _ALONE.match(line)
        number = _NUMBER.match(line, head.end()) if head else None
        if head is None or number is None or not _TRAILING.fullmatch(line, number.end()):
            continue
        if _only_line_of(head["sum"], text) and (start == last or not head["heading"]):
            found.append(offset + start + head.end())
    return found


def _only_line_of(word: str | None, text: str) -> bool:
    return word is None or len(re.findall(rf"(?im)^[^\w\n]*{re.escape(word)}\b", text)) == 1


def _numbers(text: str, at: int, scale: Scale) -> list[Reading]:
    """The number that begins here, and behind it those that correct it."""
    found = [_number(text, at, scale)]
    while correction := _CORRECTION.match(text, at):
        at = correction.end()
        number = _NUMBER.match(text, at)
        last = number is not None and _TRAILING.match(text, number.end())
        found.append(_number(text, at, scale) if last or _CORRECTION.match(text, at) else Reading(None, at=at))
    return found


def _number(text: str, at: int, scale: Scale) -> Reading:
    match = _NUMBER.match(text, at)
    if match is None:
        return Reading(None, at=at)
    number, top = match["number"], match["top"]
    thousands = re.fullmatch(r"[-+]?\d+,\d{3}", number)
    score = float(number.replace(",", "."))
    ahead = _SCALE_AHEAD.search(text, max(0, at - 40), at)
    tops = {int(named) for named in (top, ahead and ahead[1]) if named is not None}
    usable = not thousands and scale.low <= score <= scale.high and tops <= {scale.high}
    return Reading(score if usable else None, at=match.start("number"))
