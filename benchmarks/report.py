"""How a large run is reported: seconds and memory of `srlm inspect`, seconds of one page of `srlm view`.

    python benchmarks/report.py [--rollouts 20000] [--candidates 4] [--judgements 3] [--folder FOLDER]

Makes a run folder without any model: three trained models that share the rollouts, 240,000 judgements of some 600
characters each unless told otherwise, and prints a line for each thing that a reader may ask of it. CPU seconds beside
the clock, since other work on the machine counts in the latter; peak memory of the process (for the server: its own).

The aims: `srlm inspect` below 2 s and 500 MB, a page of `srlm view` below 0.3 s.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from srlm.config import flat, parse_config, to_toml
from srlm.generate.pairs import make_pair
from srlm.loop.stages import stages
from srlm.measure.figures import write_figures
from srlm.packaged import PROMPTS
from srlm.records import AnswerEval, Candidate, Instruction, JudgeEval, Judgement, PreferencePair, Rollout
from srlm.run.folder import Run, RunRecord
from srlm.store import write_json, write_rows, write_text

MODELS = 3
EVAL_PROMPTS = 200
PEAK = "print('PEAK', open('/proc/self/status').read().split('VmHWM:')[1].split()[0], file=sys.stderr)"
SRLM = [sys.executable, "-c", f"import atexit, sys; atexit.register(lambda: {PEAK}); from srlm.cli import main; main()"]
WORDS = [a + b for a in ("ka", "lo", "mi", "ne", "tu", "sa", "ri") for b in ("den", "vol", "par", "gis", "tem", "bra")]
ASKED = (
    ("the first page", {}),
    ("page 200", {"start": "5000"}),
    ("sorted by disagreement", {"sort": "disagreement"}),
    ("pairs of M2", {"model": "M2", "outcome": "pair"}),
    ("a common word", {"text": "kaden"}),
    ("a text that is nowhere", {"text": "not in any row"}),
    ("two letters that are everywhere", {"text": "ka"}),
)


def make_run(root: Path, rollouts: int, candidates: int, judgements: int) -> Run:
    """A finished run of made-up words; `rollouts` are shared out to the models."""
    config = parse_config({"model": {"path": "none"}}, "benchmark")
    write_text(root / "config.toml", to_toml(config))
    for path in PROMPTS.iterdir():
        write_text(root / "prompts" / path.name, path.read_text(encoding="utf-8"))
    for name in ("ift", "eft", "held_out_eft", "eval_prompts"):
        write_rows(root / "seed" / f"{name}.jsonl", [])
    record = RunRecord(
        created="2026-01-01T00:00:00Z", versions={}, arguments={}, seed_digests={}, settings=flat(config)
    )
    write_json(root / "run.json", record.model_dump(mode="json"))
    run, source = Run(root), random.Random(0)
    shares = [rollouts // MODELS + (number < rollouts % MODELS) for number in range(MODELS)]
    for stage in stages(run, MODELS + 1):
        if stage.t <= MODELS:
            _write_stage(run, stage.name, source, (shares[stage.t - 1], candidates, judgements))
            run.begin(stage)
            run.end(stage, "done", 1000.0, {})
    return run


def _write_stage(run: Run, name: str, source: random.Random, size: tuple[int, int, int]) -> None:
    t, part = int(name[1]), name.partition("/")[2]
    folder, aift = run.at(t).folder, run.at(t).aift
    if part == "train":
        (folder / "model").mkdir(parents=True)
        write_rows(
            folder / "train.jsonl", [{"step": i, "loss": 1 / i, "tokens": i, "seconds": i} for i in range(1, 2001)]
        )
    elif part == "eval":
        answers = [AnswerEval(rollout=row) for row in _rollouts(source, "eval", (EVAL_PROMPTS, *size[1:]))]
        judged = [
            JudgeEval(id=f"eft-{i}", group=f"g{i // 4}", human=i % 4, judgements=[_judgement(source)])
            for i in range(400)
        ]
        write_rows(folder / "eval.jsonl", [*answers, *judged])
        write_figures(run, t)
    elif part == "aift":
        _write_rollouts(aift, _rollouts(source, f"M{t}", size))
    else:
        outcomes = [(row.id, make_pair(row, run.config.pairs)) for row in _read(aift / "rollouts.jsonl")]
        write_rows(aift / "pairs.jsonl", [made for _, made in outcomes if isinstance(made, PreferencePair)])
        write_rows(
            aift / "dropped.jsonl", [{"id": key, "reason": made} for key, made in outcomes if isinstance(made, str)]
        )
        write_figures(run, t)


def _write_rollouts(aift: Path, rows: Iterator[Rollout]) -> None:
    aift.mkdir(parents=True)
    instructions = []
    with (aift / "rollouts.jsonl").open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(row.model_dump_json() + "\n")
            instructions.append(Instruction(id=row.id, round=0, messages=row.messages, tokens=12))
    write_rows(aift / "instructions.jsonl", instructions)


def _read(path: Path) -> Iterator[Rollout]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield Rollout.model_validate_json(line)


def _rollouts(source: random.Random, prefix: str, size: tuple[int, int, int]) -> Iterator[Rollout]:
    rows, candidates, judgements = size
    for number in range(rows):
        answers = [
            Candidate(
                text=_text(source, 60),
                finish="stop",
                tokens=80,
                judgements=[_judgement(source) for _ in range(judgements)],
            )
            for _ in range(candidates)
        ]
        asked = [{"role": "user", "content": _text(source, 15)}]
        yield Rollout(id=f"{prefix}-{number:06d}", messages=asked, candidates=answers)


def _judgement(source: random.Random) -> Judgement:
    score = source.choice([None, 0.0, 1.0, 2.0, 3.0, 3.0, 4.0, 4.0, 5.0])
    return Judgement(text=f"{_text(source, 100)}\nScore: {score}", score=score, finish="stop", tokens=150)


def _text(source: random.Random, words: int) -> str:
    return " ".join(source.choices(WORDS, k=words))


def measured(arguments: list[str]) -> tuple[float, float, float]:
    """(seconds by the clock, CPU seconds, peak MB) of one call of srlm."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run([*SRLM, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True)
    seconds, after = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    peak = int(done.stderr.rpartition("PEAK")[2])  # its own: what the kernel says of children counts their parent's
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, peak / 1024


def show_calls(run: Run) -> None:
    """One line for each call of `srlm inspect`."""
    calls = (["inspect"], ["inspect", "M2"], ["inspect", "--sort", "margin"], ["inspect", "--html"])
    print(f"{'':<42}{'seconds':>9}{'CPU s':>9}{'peak MB':>9}")
    for command, *rest in calls:
        found = measured([command, str(run.root), *rest])
        print(f"{'srlm inspect RUN ' + ' '.join(rest):<42}{found[0]:>9.2f}{found[1]:>9.2f}{found[2]:>9.0f}")
    print(f"report.html: {(run.root / 'report.html').stat().st_size / 1e6:.2f} MB")


def show_pages(run: Run) -> None:
    """One line for each page asked of `srlm view`: the first time, and once more (when it is remembered)."""
    begun = time.monotonic()
    with subprocess.Popen([*SRLM, "view", str(run.root), "--port", "0"], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            url = server.stdout.readline().strip()
            print(f"{'srlm view: ready after':<42}{time.monotonic() - begun:>9.2f}")
            print(f"{'srlm view: one page of 25 rows':<42}{'first':>9}{'again':>9}{'CPU s':>9}  matching")
            for name, query in ASKED:
                before = _cpu_seconds(server.pid)
                first, again = (_ask(f"{url}rows?{urllib.parse.urlencode(query)}") for _ in range(2))
                used = _cpu_seconds(server.pid) - before
                print(f"{'  ' + name:<42}{first[0]:>9.3f}{again[0]:>9.3f}{used:>9.2f}  {first[1]}")
            peak = Path(f"/proc/{server.pid}/status").read_text().partition("VmHWM:")[2].split()[0]
            print(f"{'srlm view: peak MB':<42}{int(peak) / 1024:>9.0f}")
        finally:
            server.terminate()


def _cpu_seconds(pid: int) -> float:
    """User and system seconds of a process so far, to a hundredth; of both requests together, above."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _ask(url: str) -> tuple[float, int]:

    begun = time.monotonic()
    with urllib.request.urlopen(url, timeout=60) as answer:
        matching = json.loads(answer.read())["matching"]
    return time.monotonic() - begun, matching


def main() -> None:
    """Make the run, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rollouts", type=int, default=20000)
    parser.add_argument("--candidates", type=int, default=4)
    parser.add_argument("--judgements", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="keep the run here, or use the one that is there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = options.folder or Path(scratch) / "large"
        made = (root / "run.json").exists()
        run = Run(root) if made else make_run(root, options.rollouts, options.candidates, options.judgements)
        size = sum(path.stat().st_size for path in root.rglob("*.jsonl"))
        count = options.rollouts * options.candidates * options.judgements
        print(f"{count:,} judgements of {options.rollouts:,} rollouts, {size / 1e6:.0f} MB of rows")
        show_calls(run)
        show_pages(run)


if __name__ == "__main__":
    main()
