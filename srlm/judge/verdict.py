"""Reading the verdict of a reply that compares two responses, A and B. Only the judge's own completion is parsed. Pure.

The policy of `read_verdict`, with examples in tests/helpers/judge_replies.py:

1. A verdict is a choice that something introduces: a word such as verdict, winner, preference, better, choice or final
   answer with ":", "=", "is" or an arrow ("Verdict: A", "The better answer is B", '"winner": "model_b"'), double
   brackets ("[[B]]"), a tag ("[RESULT] B", "<answer>B</answer>"), a box ("\\boxed{A}").
2. Where nothing of that is usable: a last line that is a choice and nothing else ("B", "Output (a)", "A>B"), or a plain
   sentence about which one is better, as the first line or at the end of the last one ("Answer A is better than Answer
   B.", "I prefer Response 2.").
3. A choice is the letter A or B, alone or behind a noun ("Answer A", "model_b", "Output (a)"), or the number 1 or 2
   behind a noun: a number alone may be a score. "A>B" and "A>>B" are A, "A<B" is B, "A=B" is a tie; so are "C", "tie",
   "draw", "equal", "both" and "neither".
4. No choice: "A or B", "A, B", "[[A]] or [[B]]", what is corrected in its place ("A -> B", "A. No, B", "~~A~~ B"), and
   a letter that goes on as a sentence about something else ("a matter of taste", "A is wrong").
5. The last one counts, also when it is no usable choice. What stands in quotation marks in the middle of a line is not
   the judge's. Different choices in one reply are a conflict: flagged. Thoughts are not said: see `judge/parse.py`.
"""

import re
from typing import NamedTuple

from srlm.judge.parse import is_quotation, said_from

_MARKS = r"""*_`"'“”‘’„「」"""
_OPEN = rf"""[\s{_MARKS}(\[<{{$]*+"""
_CLOSE = rf"""[{_MARKS})\]}}$]"""
_BLANK = r"[^\S\n]"
_NOUN = r"(?:the\s++)?(?:answer|response|assistant|option|model|output|candidate|completion)"
_TIE = r"""(?:(?:an?\s++)?(?:tie|tied|draw)\b(?!-) | equal(?:ly\s++good)?\b | (?:option\s++)?C(?!\w)
             | no\s++preference\b
             | both(?:\s++(?:answers|responses|are|equally|good))*+\b
             | neither(?:\s++(?:(?:answer|response|one|of\s++them)\s++)?is\s++better)?+\b)"""
_OVER = r"(?:>{1,3}|<{1,3}|={1,2}|[≈≻≺])"
_GOOD = r"(?:better|best|preferred|preferable|stronger|superior|(?:the\s++)?winner)"
_HOW = r"(?:(?:clearly|slightly|much|far|somewhat|marginally|significantly|definitely|overall|a\s(?:bit|little))\s++)*+"


def _name(group: str) -> str:
    """A pattern for one of the two responses."""
    letter, number = rf"{_OPEN}[AB]", rf"{_NOUN}[\s_-]*+{_OPEN}[AB12]"
    return rf"(?P<{group}>(?:{number}|{letter})(?!\w)(?!['’]s\b))"


# what a choice cannot go on with: another choice, a correction, a verdict on the letter itself
_WAIT = r"(?:(?:wait|or\ rather|rather|actually|sorry|correction)\b | no[,.:;!…—–-])"
_ON = rf"""(?! {_BLANK}*+[.,;:!?…—–-]*+{_BLANK}*+(?:(?:or|and|vs)\b | {_WAIT}) )
          (?! [.,;:!?…—–-]*+\s*+{_WAIT}[,.:;!…—–-]*+{_OPEN}(?:{_NOUN}[\s_-]*+)?[AB](?!\w) )   # in the next line
          (?! {_BLANK}*+[,&+/|]{_OPEN}(?:{_NOUN}[\s_-]*+)?[AB](?!\w) )
          (?! {_BLANK}*+(?:[>=≈~≻≺→⇒?] | -+> | <(?!/)) )
          (?! \s++is\b(?!\s++{_HOW}(?:the\s++)?{_GOOD}) )"""
_END = rf"""(?: {_CLOSE}++ {_ON}
              | {_ON} (?= {_BLANK}*+(?:\Z|[\n.,;:!)|—–(。]|</) | {_BLANK}++-\s
                         | \s++(?:over|between|because|since|as|by|due|wins|overall|is)\b ) )"""
_CHOICE = re.compile(
    rf"""{_OPEN}(?: (?P<tie>{_TIE})
                  | {_name("one")} (?:{_CLOSE}*+ \s*+ (?P<over>{_OVER}) \s*+ {_name("other")})? )
         (?P<end>{_END})""",
    re.IGNORECASE | re.VERBOSE,
)
_INTRODUCED = re.compile(
    rf"""(?: (?<![^\W_])(?:verdict|winner|preference|preferred|better|best|decision|choice|judge?ment|final[ _]answer)
            (?:[ _-](?:{_NOUN}|one))? (?![^\W_]) [\s{_MARKS}~]*+ (?:[:：=|]|\bis\b|[-=]>|→)
          | \[(?:result|verdict)\] :?
          | <(?:verdict|winner|result|answer|choice|preference)>
          | \\boxed\{{ (?:\\text\{{)?+
          | (?<!\[)(?=\[\[)
        ) (?= {_OPEN} (?:{_TIE} | {_name("ahead")}) )""",
    re.IGNORECASE | re.VERBOSE,
)
_BUT = "(?:but|though|although|however|yet|while|whereas)"
_SENTENCE = re.compile(
    rf"""[{_MARKS}]*+ (?:(?:so|thus|therefore|hence|overall|finally|on\ balance
                         |in\ (?:conclusion|summary|short))\b,?\s++)?
        (?: I(?:\s++(?:would|will|do)|['’](?:d|ll))?\s++{_HOW}(?:prefer|choose|pick|select|favou?r|go\ with)
            \s++{_name("one")}{_CLOSE}*+ (?:\s++(?:over|to)\s++{_name("than")})?
          | {_name("best")}{_CLOSE}*+ \s++ (?:is|was)\s++{_HOW}(?:the\s++)?{_GOOD}(?:\s++(?:one|{_NOUN}))?
            (?:\s++(?:than|over|to)\s++{_name("other")})?
          | {_name("wins")}{_CLOSE}*+ \s++wins
          | (?:(?:it|this|they|both)(?:\ is|\ are|['’]s|['’]re)\s++)? (?P<tie>{_TIE}) )
        {_CLOSE}*+ (?:\s++overall)? (?:,?\s++(?:because|since|as)\b(?!.*\b{_BUT}\b)[^.!?]*+)? [\s.!{_MARKS}]*+""",
    re.IGNORECASE | re.VERBOSE,
)


_JOINT = re.compile(r"[\s\])}*_`\"']*(?:(?:or|and|vs\.?)\b|[,/|&])[\s*_`\"']*", re.IGNORECASE)


class Verdict(NamedTuple):
    """What a comparison says: "A", "B", "tie" or None, and whether it says several."""

    choice: str | None
    conflict: bool = False


def read_verdict(text: str) -> Verdict:
    """The verdict that a comparing reply ends on; see the module's docstring."""
    text = text[said_from(text) :]
    found = _introduced(text)
    if not found or found[-1] is None:
        found = _lines(text)
    different = {choice for choice in found if choice is not None}
    return Verdict(found[-1], len(different) > 1) if found else Verdict(None)


def _introduced(text: str) -> list[str | None]:
    """The choices that something introduces, in order; None for one that cannot be used."""
    found: list[str | None] = []
    behind = 0
    for match in _INTRODUCED.finditer(text):
        if match.start() < behind:  # the second half of "[[A]] > [[B]]"
            continue
        choice = _CHOICE.match(text, match.end())
        if found and found[-1] is None and _JOINT.fullmatch(text, behind, match.start()):
            choice = None  # the second half of "[[A]] or [[B]]"
        behind = choice.start("end") if choice else max(match.end(), match.end("ahead"))
        if not is_quotation(text, match.start(), behind):
            found.append(_chosen(choice["one"], choice["over"], choice["other"]) if choice else None)
    return found


def _chosen(one: str | None, over: str | None, other: str | None) -> str | None:
    """What "A>B", "A" or a tie (no name at all) stands for; None where a response is compared with itself."""
    first = _letter(one)
    if over is None or first is None:
        return first or "tie"
    second = _letter(other)
    if first == second:
        return None
    return first if over[0] in ">≻" else second if over[0] in "<≺" else "tie"


def _letter(name: str | None) -> str | None:
    return {"a": "A", "1": "A", "b": "B", "2": "B"}[name[-1].lower()] if name else None


def _lines(text: str) -> list[str | None]:
    """The choices of a first line that is a sentence about it, and of the last line or its last sentence."""
    lines = text.strip().split("\n")
    found = [_of_sentence(lines[0])] if len(lines) > 1 else []
    alone = _CHOICE.match(lines[-1])
    if alone and not lines[-1][alone.end() :].strip(" .!\r"):
        found.append(_chosen(alone["one"], alone["over"], alone["other"]))
    else:
        found.append(_of_sentence(re.split(r"(?<=[.!?])\s+", lines[-1].strip())[-1]))
    return [choice for choice in found if choice is not None]


def _of_sentence(sentence: str) -> str | None:
    match = _SENTENCE.fullmatch(sentence.strip())
    if match is None:
        return None
    best, other = (_letter(match["one"] or match["best"] or match["wins"]), _letter(match["than"] or match["other"]))
    return (best if best != other else None) if best else "tie"
