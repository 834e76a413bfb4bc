"""What a careful reader sees in a reply alone: cut off, nothing in it, marks of a chat format left in. Pure.

These are signs, not proofs: short answers, names, code and lists rightly end without a full stop, so only prose that
stops in the middle counts, and it is the share of such replies in a file that tells.
"""

import re

LEAST_WORDS, LEAST_LINE = 20, 6  # a text and a last line of fewer words may be a title, a name, a greeting
SHARED = (
    3  # replies of exactly the same length, the longest of all: no chance from LEAST_SHARED characters or tokens on
)
LEAST_SHARED = {"characters": 200, "tokens": 48}
LIMITED_SHARE = 0.01
_ITEM = re.compile(r"\s*(?:[-*+•#>|]|\d+[.)]|[A-Za-z][.)])\s|.*https?://")
_DANGLING = re.compile(
    r"(?:[,(]|\b(?:a|an|the|of|to|and|or|in|on|at|by|for|with|from|that|which|is|are|was|were|as|if|because|but))$",
    re.IGNORECASE,
)
_PLACEHOLDERS = {"nan", "null", "n/a", "na", "undefined", "todo", "[deleted]", "[removed]", "<empty>"}
_MARKS = re.compile(r"<\|\w{2,30}\|>|\[/?INST\]|<<SYS>>|<(?:start|end)_of_turn>|</s>\s*$")


def cut_off(text: str) -> bool:
    """Whether a reply seems to stop in the middle: an open code block, a dangling word, prose without its end."""
    text = text.rstrip()
    if text.count("```") % 2:
        return True
    last = text.rpartition("\n")[2]
    if len(text.split()) < LEAST_WORDS or len(last.split()) < LEAST_LINE:
        return False
    return bool(_DANGLING.search(text)) or (text[-1].isalpha() and not _ITEM.match(last))


def placeholder(text: str) -> bool:
    """Whether a reply only stands in for one: "N/A", "[deleted]", dots."""
    return text.strip().lower() in _PLACEHOLDERS or not text.strip(" \n\t._-?…")


def turn_mark(text: str, special: frozenset[str]) -> str | None:
    """A mark of a chat format inside of a text, of the usual ones and of the model's `special` tokens."""
    found = _MARKS.search(text)
    if found:
        return found[0].strip()
    return next((token for token in special if token in text), None)


class Longest:
    """The greatest length among replies, and how many have exactly that."""

    def __init__(self, unit: str) -> None:
        """`unit`: characters or tokens."""
        self.unit, self.length, self.count, self.total = unit, 0, 0, 0
        self.places: list[str] = []

    def add(self, length: int, where: str) -> None:
        """Count one reply."""
        self.total += 1
        if length > self.length:
            self.length, self.count, self.places = length, 0, []
        if length == self.length:
            self.count += 1
            self.places.append(where)

    @property
    def is_limit(self) -> bool:
        """Whether many replies end at the greatest length of all: whoever wrote them was stopped there."""
        return self.length >= LEAST_SHARED[self.unit] and self.count >= max(SHARED, LIMITED_SHARE * self.total)
