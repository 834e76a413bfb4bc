"""Near-duplicate filtering (srlm/similarity.py): time and memory by size, and what it misses of an exhaustive check.

    python benchmarks/duplicates.py FILE [FILE ...] [--sizes 1000 10000 100000] [--check 5000]

FILE holds prompts that people wrote, in any form that `srlm init --eval-prompts` takes; more texts are made from
them: a chain over pairs of neighbouring words writes new ones, and 30% are earlier texts with words left out, put in,
replaced or swapped. Each text is dropped when it is similar to one kept before, as new instructions are.

The check goes pair by pair: recall is the share of all pairs with a ROUGE-L of at least the threshold that a pool
with the one finds for the other. "missed" are texts that the filter keeps though an exhaustive comparison (rapidfuzz
with every text kept until then) finds a similar one; a false drop is the opposite.
"""

import argparse
import random
import resource
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

from rapidfuzz import process
from rapidfuzz.distance import Indel

from srlm.generate.instructions import first_user_turn
from srlm.seed.read import read_prompts
from srlm.seed.similarity import Pool, words

VARIED = 0.3  # share of texts that are made from earlier ones
RATES = (0.05, 0.1, 0.2, 0.3, 0.4)  # share of words changed in them
WORDS = range(3, 151)  # lengths that the instruction filter lets pass


def make_texts(files: list[Path], count: int) -> list[str]:
    """`count` texts, the same on every machine: those of the files first, then made ones."""
    rng = random.Random(1)
    found = [first_user_turn(row.messages) for file in files for row in read_prompts(file).rows]
    texts = [text for text in dict.fromkeys(found) if len(words(text)) in WORDS]
    following: dict[str, list[str]] = {}
    for text in texts:
        turns = ["", *text.split(), ""]
        for word, after in pairwise(turns):
            following.setdefault(word, []).append(after)
    vocabulary = [word for text in texts for word in text.split()]
    rng.shuffle(texts)
    while len(texts) < count:
        varied = rng.random() < VARIED
        text = _varied(rng.choice(texts), vocabulary, rng) if varied else _written(following, rng)
        if len(words(text)) in WORDS:
            texts.append(text)
    return texts[:count]


def _written(following: dict[str, list[str]], rng: random.Random) -> str:
    found = [rng.choice(following[""])]
    while found[-1] and len(found) <= WORDS[-1]:
        found.append(rng.choice(following[found[-1]]))
    return " ".join(found).strip()


def _varied(text: str, vocabulary: list[str], rng: random.Random) -> str:
    rate, found = rng.choice(RATES), []
    for word in text.split():
        new = rng.choice(vocabulary)
        found += rng.choice([[], [new], [word, new]]) if rng.random() < rate else [word]
    if len(found) > 3 and rng.random() < 0.2:
        i = rng.randrange(len(found) - 2)
        found[i], found[i + 2] = found[i + 2], found[i]
    return " ".join(found)


def filtered(texts: list[str], threshold: float) -> list[str]:
    """The texts that the filter keeps."""
    pool, kept = Pool(threshold), []
    for text in texts:
        if not pool.has_similar(text):
            pool.add(text)
            kept.append(text)
    return kept


def measure(files: list[Path], count: int, threshold: float) -> None:
    """Print one line of the first table; in a process of its own, so that its memory is its own."""
    texts = make_texts(files, count)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, cpu = time.perf_counter(), time.process_time()
    kept = filtered(texts, threshold)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"{count:>9,}{threshold:>11}{count - len(kept):>9,}{wall:>10.1f}{cpu:>10.1f}{memory:>14.0f}", flush=True)


def check(texts: list[str], threshold: float) -> None:
    """Print one line of the second table."""
    encoded = _encoded(texts)
    pairs = [
        (i, j)
        for j in range(1, len(texts))
        for _, _, i in process.extract(
            encoded[j], encoded[:j], scorer=Indel.normalized_similarity, score_cutoff=threshold, limit=None
        )
    ]
    hits = 0
    for i, j in pairs:
        pool = Pool(threshold)
        pool.add(texts[i])
        hits += pool.has_similar(texts[j])
    kept: list[str] = []
    pool, dropped, false, missed = Pool(threshold), 0, 0, 0
    for text, code in zip(texts, encoded, strict=True):
        similar = process.extractOne(code, kept, scorer=Indel.normalized_similarity, score_cutoff=threshold)
        hit = pool.has_similar(text)
        dropped, false, missed = (
            dropped + hit,
            false + (hit and similar is None),
            missed + (similar is not None and not hit),
        )
        if not hit:
            pool.add(text)
            kept.append(code)
    recall = hits / len(pairs) if pairs else float("nan")
    print(
        f"{len(texts):>9,}{threshold:>11}{len(pairs):>9,}{recall:>10.4f}{dropped:>10,}{missed:>9}{false:>12}",
        flush=True,
    )


def _encoded(texts: list[str]) -> list[str]:
    """One character a word, as rapidfuzz is fastest."""
    letters: dict[str, str] = {}
    return ["".join(letters.setdefault(word, chr(0xE000 + len(letters))) for word in words(text)) for text in texts]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--sizes", type=int, nargs="*", default=[1000, 10_000, 100_000])
    parser.add_argument("--check", type=int, default=5000, help="texts to compare exhaustively; 0 for none")
    parser.add_argument("--threshold", type=float, help="only for one process of its own: measure one size, and stop")
    options = parser.parse_args()
    if options.threshold is not None:
        measure(options.files, options.sizes[0], options.threshold)
        return
    print(f"{'texts':>9}{'threshold':>11}{'dropped':>9}{'seconds':>10}{'CPU s':>10}{'memory, MiB':>14}", flush=True)
    for size in options.sizes:
        again = [sys.executable, __file__, *map(str, options.files), "--sizes", str(size), "--threshold", "0.7"]
        subprocess.run(again, check=True)
    if options.check:
        texts = make_texts(options.files, options.check)
        print(
            f"\n{'texts':>9}{'threshold':>11}{'pairs':>9}{'recall':>10}{'dropped':>10}{'missed':>9}{'false drops':>12}"
        )
        for threshold in (0.5, 0.7, 1.0):
            check(texts, threshold)


if __name__ == "__main__":
    main()
