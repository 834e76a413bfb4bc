"""ROUGE-L between short texts: which of many texts come near a new one.

ROUGE-L's F-measure is 2*LCS/(m+n) over the words of both texts (m and n of them), which is rapidfuzz's normalised Indel
similarity. Comparing with every text takes quarter of an hour for 100,000 instructions, so MinHash/LSH (rensa) proposes
candidates first, and ROUGE-L decides on these alone: whatever is called similar is similar, and only a candidate that
was not proposed can be missed.

How few are missed follows from a bound. Count a text's words with their repetitions ("the" twice is two things). Two
texts share at least their LCS of these, so from 2*LCS/(m+n) >= t follows a Jaccard similarity of at least
J = (t/2)/(1 - t/2) = t/(2 - t): 0.54 for t = 0.7, 1/3 for t = 0.5. LSH with b bands of r rows proposes a pair of
Jaccard similarity J with probability 1 - (1 - J^r)^b; `_bands` chooses b so that this is 1 - MISSED at that bound, the
worst case. Most pairs above the threshold lie well above the bound.
"""

import math
import re
from array import array
from collections.abc import Iterable, Iterator

from rapidfuzz import process
from rapidfuzz.distance import Indel
from rensa import RMinHash, RMinHashLSH

MISSED = 0.005  # chance to miss a pair that lies on the threshold
# More rows a band propose fewer unlike pairs, but need more bands. Hash values are memory (4 bytes each, and an index
# entry per band): 512 are 61 bands of 4 rows at 0.7. Beyond 8 rows there is nothing left to gain.
MOST_HASHES, MOST_ROWS = 512, 8
_SEED = 1  # of the permutations: the same in every process, or a resumed run could keep what the first one dropped


class Pool:
    """Texts to compare new ones with. The answers depend on the texts and their order alone, on every machine."""

    def __init__(self, threshold: float) -> None:
        """`threshold`: the least ROUGE-L that counts as similar, above 0 and at most 1."""
        self._threshold = threshold
        bands, rows = _bands(threshold)
        self._hashes = bands * rows
        self._index = RMinHashLSH(threshold, self._hashes, bands)
        self._numbers: dict[str, int] = {}  # word -> number, so that rapidfuzz compares integers
        self._texts: list[array[int]] = []

    def add(self, text: str) -> None:
        """Put a text into the pool."""
        found = words(text)
        self._index.insert(len(self._texts), self._sketch(found))
        self._texts.append(self._encode(found))

    def has_similar(self, text: str) -> bool:
        """Whether some text in the pool has a ROUGE-L of at least the threshold with this one."""
        return self.most_similar(text) is not None

    def most_similar(self, text: str) -> int | None:
        """The text with the highest ROUGE-L, by its place in the order of `add`; None where all are below."""
        found = words(text)
        places = sorted(self._index.query(self._sketch(found)))
        best = process.extractOne(
            self._encode(found),
            [self._texts[place] for place in places],
            scorer=Indel.normalized_similarity,
            score_cutoff=self._threshold,
        )
        return None if best is None else places[best[2]]

    def _sketch(self, found: list[str]) -> RMinHash:
        # of the words themselves, never of their numbers: these depend on what was asked before
        sketch = RMinHash(num_perm=self._hashes, seed=_SEED)
        sketch.update(list(_counted(found)))
        return sketch

    def _encode(self, found: list[str]) -> "array[int]":
        return array("I", (self._numbers.setdefault(word, len(self._numbers)) for word in found))


def words(text: str) -> list[str]:
    """The lower-case words of a text, as ROUGE counts them."""
    return re.findall(r"\w+", text.lower())


def _counted(found: Iterable[str]) -> Iterator[str]:
    """Each word with the number of its occurrence: "to be to" -> "to 1", "be 1", "to 2"."""
    seen: dict[str, int] = {}
    for word in found:
        seen[word] = seen.get(word, 0) + 1
        yield f"{word} {seen[word]}"


def _bands(threshold: float) -> tuple[int, int]:
    """(bands, rows of each): the most rows whose bands stay within MOST_HASHES; one row always may."""
    least = threshold / (2 - threshold)
    found = (1, MOST_ROWS)
    for rows in range(1, MOST_ROWS + 1):
        bands = math.ceil(math.log(MISSED) / math.log1p(-(least**rows))) if least < 1 else 1
        if rows > 1 and bands * rows > MOST_HASHES:
            break
        found = (bands, rows)
    return found
