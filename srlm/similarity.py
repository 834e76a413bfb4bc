"""ROUGE-L between short texts, at C++ speed.

ROUGE-L's F-measure is 2*LCS/(m+n) over the words of both texts, which is rapidfuzz's normalised Indel similarity;
each distinct word is mapped to one character so that rapidfuzz compares plain strings.
"""

import re

from rapidfuzz import process
from rapidfuzz.distance import Indel


class Pool:
    """Texts to compare new ones with."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._letters: dict[str, str] = {}
        self._texts: list[str] = []

    def add(self, text: str) -> None:
        """Put a text into the pool."""
        self._texts.append(self._encode(text))

    def has_similar(self, text: str) -> bool:
        """Whether some text in the pool has a ROUGE-L of at least the threshold with this one."""
        return (
            process.extractOne(
                self._encode(text), self._texts, scorer=Indel.normalized_similarity, score_cutoff=self._threshold
            )
            is not None
        )

    def _encode(self, text: str) -> str:
        # surrogates (0xD800..) are no characters of their own: the letters start in the first plane after them
        return "".join(self._letters.setdefault(word, chr(0xE000 + len(self._letters))) for word in words(text))


def words(text: str) -> list[str]:
    """The lower-case words of a text, as ROUGE counts them."""
    return re.findall(r"\w+", text.lower())
