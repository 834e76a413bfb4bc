"""Near duplicates: MinHash proposes, ROUGE-L decides; held against a plain comparison of every pair."""

import json
import random
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from itertools import combinations

import pytest

from srlm.seed.similarity import Pool, words
from tests.helpers.places import NO_SHARED, SHARED

COUNT = 400  # texts, of which 300 are variations of others


def rouge_l(one: str, other: str) -> float:
    """2*LCS/(m+n) by the textbook table; shares nothing with the product but how words are cut."""
    a, b = words(one), words(other)
    row = [0] * (len(b) + 1)
    for x in a:
        before, row = row, [0]
        for j, y in enumerate(b):
            row.append(before[j] + 1 if x == y else max(before[j + 1], row[j]))
    return 2 * row[-1] / (len(a) + len(b))


def invented() -> list[str]:
    """Texts of 4 to 40 words, a few of them as frequent as "the"."""
    rng = random.Random(5)
    vocabulary = [f"w{number}" for number in range(2000)]
    weights = [1 / (rank + 1) for rank in range(len(vocabulary))]
    lengths = [4 + min(36, int(rng.expovariate(0.1))) for _ in range(100)]
    return with_variations([" ".join(rng.choices(vocabulary, weights, k=length)) for length in lengths], rng)


def real() -> list[str]:
    """Prompts that people wrote."""
    if not SHARED.is_dir():
        pytest.skip(NO_SHARED)
    lines = (SHARED / "self_instruct_seed_tasks.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines[:50]] + json.loads((SHARED / "alpaca_eval_outputs.json").read_text())
    return with_variations([row["instruction"] for row in rows[:100]], random.Random(6))


def with_variations(texts: list[str], rng: random.Random) -> list[str]:
    """The texts, then some of them with words left out, put in, replaced or swapped."""
    vocabulary = " ".join(texts).split()
    return texts + [changed(rng.choice(texts), vocabulary, rng) for _ in range(COUNT - len(texts))]


def changed(text: str, vocabulary: list[str], rng: random.Random) -> str:
    rate = rng.choice([0.0, 0.1, 0.2, 0.4, 0.6])
    result: list[str] = []
    for word in text.split():
        new = rng.choice(vocabulary)
        result += rng.choice([[], [new], [word, new]]) if rng.random() < rate else [word]
    if len(result) > 3 and rng.random() < 0.2:
        i = rng.randrange(len(result) - 2)
        result[i], result[i + 2] = result[i + 2], result[i]
    return " ".join(result)


@cache
def compared(make: Callable[[], list[str]]) -> list[tuple[str, str, float]]:
    return [(one, other, rouge_l(one, other)) for one, other in combinations(make(), 2)]


@pytest.mark.parametrize("threshold", [0.5, 0.7, 1.0])
@pytest.mark.parametrize("make", [invented, real])
def test_pairs_above_the_threshold_are_found_and_no_others(make: Callable[[], list[str]], threshold: float) -> None:
    found, similar, wrong = 0, 0, []
    for one, other, score in compared(make):
        if score < threshold - 0.2:
            continue
        pool = Pool(threshold)
        pool.add(one)
        hit = pool.has_similar(other)
        if score >= threshold - 1e-9:
            similar += 1
            found += hit
        elif hit:
            wrong.append((one, other, score))
    assert similar >= 50
    assert wrong == []
    assert found >= (0.99 if threshold < 1 else 1) * similar


def test_of_several_similar_texts_the_most_similar_is_named() -> None:
    pool = Pool(0.5)
    for text in ("name a city in the far north", "name a river in the south", "name a city in the south", ""):
        pool.add(text)
    assert pool.most_similar("Name a city in the South!") == 2
    assert pool.most_similar("sum these numbers") is None
    assert pool.most_similar("...") == 3  # no words: only equal to another text without words


def test_more_distinct_words_than_there_are_characters() -> None:
    pool = Pool(0.7)
    for start in range(0, 1_200_000, 1000):
        pool.add(" ".join(map(str, range(start, start + 1000))))
    assert pool.most_similar(" ".join(map(str, range(1_199_100, 1_200_000)))) == 1199


FILTER = """
import random, sys
from srlm.seed.similarity import Pool
rng = random.Random(3)
texts = [" ".join(rng.choices([f"w{i}" for i in range(8)], k=7)) for _ in range(400)]
pool = Pool(0.7)
for text in rng.choices(texts, k=int(sys.argv[1])):  # asked only: must not matter for what follows
    pool.has_similar(text)
for text in texts:
    dropped = pool.has_similar(text)
    if not dropped:
        pool.add(text)
    print(int(dropped), end="")
"""


def test_every_process_drops_the_same_whatever_it_was_asked_before() -> None:
    runs = [
        subprocess.run([sys.executable, "-c", FILTER, asked], capture_output=True, text=True, check=True).stdout
        for asked in ("0", "50", "400")
    ]
    assert len(runs[0]) == 400
    assert 0 < runs[0].count("1") < 400
    assert runs[1:] == [runs[0]] * 2
