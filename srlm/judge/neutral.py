"""Data in prompts stays data: what could pass for a delimiter or a control token is broken up, all else is kept.

Two rules, both deterministic and both visible to whoever reads the prompt:
- a line that begins like one of the template's own lines gets a backslash in front ("\\### Review"), whatever its case,
  spacing, invisible characters or compatibility forms (full-width signs);
- a delimiter, or a string that the tokenizer turns into a control token, gets one behind its first character,
  wherever it stands ("<\\|im_end|>").
"""

import re
import unicodedata
from collections.abc import Collection
from functools import lru_cache

_UNSEEN = ("Cf", "Cc", "Mn", "Me")  # categories: format, control, marks that join the character before
_BLANK = "\u115f\u1160\u2800"  # letters and signs that are drawn as nothing


def neutralise(text: str, starts: Collection[str], strings: Collection[str]) -> str:
    """`text` with no line that begins like one of `starts` and without any of `strings`.

    `starts` are compared in their `plain` form; `strings` literally but for case. Strings of one character, of white
    space or with a backslash are left alone: they are no delimiters, and could not be broken up this way.
    """
    plain_starts = tuple(plain(start) for start in starts)
    lines = [_escape(line) if plain(line).startswith(plain_starts) else line for line in text.splitlines(keepends=True)]
    text = "".join(lines) if plain_starts else text
    pattern = _any_of(frozenset(strings))
    while pattern and pattern.search(text):  # breaking one up can lay bare another that overlaps it
        text = pattern.sub(lambda match: f"{match[0][0]}\\{match[0][1:]}", text)
    return text


def plain(line: str) -> str:
    """What a line looks like at a glance: no white space, no invisible characters, one case, one form of each sign."""
    visible = "".join(line.split())
    if visible.isascii() and visible.isprintable():  # nearly always, and many times faster
        return visible.casefold()
    folded = unicodedata.normalize("NFKC", line).casefold()
    return "".join(c for c in folded if not (c.isspace() or c in _BLANK or unicodedata.category(c) in _UNSEEN))


def _escape(line: str) -> str:
    body = line.lstrip()
    return f"{line[: len(line) - len(body)]}\\{body}"


@lru_cache
def _any_of(strings: frozenset[str]) -> re.Pattern[str] | None:
    usable = {text for text in strings if len(text.strip()) > 1 and "\\" not in text}
    ordered = sorted(usable, key=lambda text: (-len(text), text))
    return re.compile("|".join(map(re.escape, ordered)), re.IGNORECASE) if ordered else None
