"""How large an iteration the parent can pair and measure: its memory and its time, by the number of instructions.

    python benchmarks/size.py [--sizes 5000 20000 100000] [--candidates 7] [--judgements 11] [--folder FOLDER]

For each size, makes a run folder without any model: held-out answers of M0 and M1, and M1's judged rollouts, with
judgements of some 300 characters and answers of some 600. Then a process does what `srlm iterate` does once M1 has
judged its answers: it makes the pairs, and computes M1's figures. It is a process of its own, so that its memory is its
own. The largest size above takes 4 GB of disk; a folder is removed before the next one is made.

The aims: below 500 MB, and the same time for each instruction at any size.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from srlm.config import flat, parse_config, to_toml
from srlm.iterate import Iteration
from srlm.packaged import PROMPTS
from srlm.records import AnswerEval, Candidate, Judgement, Rollout
from srlm.run.folder import Run, RunRecord
from srlm.store import write_json, write_rows, write_text

EVAL_PROMPTS = 200
ANSWER, JUDGEMENT = (300, 900), (200, 400)  # characters, from and to
WORDS = [a + b for a in ("ka", "lo", "mi", "ne", "tu", "sa", "ri") for b in ("den", "vol", "par", "gis", "tem", "bra")]
SCORES = [None, 0.0, 1.0, 2.0, 3.0, 3.0, 4.0, 4.0, 5.0]


class Writer:
    """Makes up rows: texts are cut out of one long text, since words drawn one by one would take an hour."""

    def __init__(self, candidates: int, judgements: int) -> None:
        self._random, self._candidates, self._judgements = random.Random(0), candidates, judgements
        self._text = " ".join(self._random.choices(WORDS, k=200_000))

    def rollouts(self, prefix: str, count: int) -> Iterator[Rollout]:
        """Rows in another order than that of their ids, as they end."""
        for number in range(count):
            answers = [self._candidate() for _ in range(self._candidates)]
            asked = [{"role": "user", "content": self._cut(50, 150)}]
            yield Rollout(id=f"{prefix}-{number ^ 5:06d}", messages=asked, candidates=answers)

    def _candidate(self) -> Candidate:
        judged = [self._judgement() for _ in range(self._judgements)]
        return Candidate(text=self._cut(*ANSWER), finish="stop", tokens=150, judgements=judged)

    def _judgement(self) -> Judgement:
        score = self._random.choice(SCORES)
        return Judgement(text=f"{self._cut(*JUDGEMENT)}\nScore: {score}", score=score, finish="stop", tokens=80)

    def _cut(self, least: int, most: int) -> str:
        start = self._random.randrange(len(self._text) - most)
        return self._text[start : start + self._random.randint(least, most)]


def make_run(root: Path, rollouts: int, candidates: int, judgements: int) -> None:
    """A run in which M1 has written and judged all that it shall, and no pair is made yet."""
    config = parse_config({"model": {"path": "none"}}, "benchmark")
    write_text(root / "config.toml", to_toml(config))
    for path in PROMPTS.iterdir():
        write_text(root / "prompts" / path.name, path.read_text(encoding="utf-8"))
    record = RunRecord(
        created="2026-01-01T00:00:00Z", versions={}, arguments={}, seed_digests={}, settings=flat(config)
    )
    write_json(root / "run.json", record.model_dump(mode="json"))
    run, writer = Run(root), Writer(candidates, judgements)
    for t in (0, 1):
        write_rows(run.at(t).eval, (AnswerEval(rollout=row) for row in writer.rollouts("eval", EVAL_PROMPTS)))
    write_rows(run.at(1).rollouts, writer.rollouts("M1", rollouts))


def pair_and_measure(root: Path) -> None:
    """What is measured: pairs and figures. Prints seconds by the clock, CPU seconds and peak MB."""
    begun, cpu = time.monotonic(), time.process_time()
    run = Run(root)
    with run.lock() as lock:
        Iteration(run, 2, lock).make_pairs(1)
    peak = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]
    print(time.monotonic() - begun, time.process_time() - cpu, int(peak) / 1024)


def show(root: Path, size: int, candidates: int, judgements: int) -> None:
    """Print one line of the table."""
    make_run(root, size, candidates, judgements)
    rows = (Run(root).at(1).rollouts).stat().st_size / 1e9
    command = [sys.executable, __file__, "--measure", str(root)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    seconds, cpu, peak = map(float, done.stdout.split())
    count = size * candidates * judgements
    print(
        f"{size:>12,}{count:>12,}{rows:>8.2f}{seconds:>9.1f}{cpu:>9.1f}{cpu / size * 1e3:>14.2f}{peak:>9.0f}",
        flush=True,
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="*", default=[5000, 20_000, 100_000], help="instructions")
    parser.add_argument("--candidates", type=int, default=7)
    parser.add_argument("--judgements", type=int, default=11)
    parser.add_argument("--folder", type=Path, help="where there is room for the rows")
    parser.add_argument("--measure", type=Path, help="only for the process of its own: measure this run, and stop")
    options = parser.parse_args()
    if options.measure:
        pair_and_measure(options.measure)
        return
    print(
        f"{'instructions':>12}{'judgements':>12}{'GB':>8}{'seconds':>9}{'CPU s':>9}{'CPU s / 1,000':>14}{'peak MB':>9}"
    )
    for size in options.sizes:
        with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
            show(Path(scratch) / "large", size, options.candidates, options.judgements)


if __name__ == "__main__":
    main()
