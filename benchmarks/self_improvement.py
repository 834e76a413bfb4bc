"""Does the loop improve the model? The demo's loop over several seeds, against the ground truth.

    python benchmarks/self_improvement.py --seeds 5 [--out runs/self-improvement] [--set key=value ...]

Each seed has IFT, EFT and held-out data of its own, drawn from the world with a seed that tuning never used
(the shipped data, used for tuning, is seed 7), and its own sampling. Prints M0..M3 with 95% intervals over
the seeds, the changes from M1, and the change of the judge's accuracy with a bootstrap over all held-out
prompts. A run that is there already goes on where it stopped, so an interrupted benchmark continues.
"""

import argparse
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from scipy import stats

from srlm.demo.seed import make
from srlm.judge.agreement import bootstrap_interval, judge_metrics
from srlm.records import EvalRow, JudgeEval
from srlm.run.folder import Run
from srlm.store import read_rows, write_rows

FIRST_SEED = 101
LAST = 3  # M3
FIGURES = {
    "ground truth: score": ("answers", "truth_score"),
    "ground truth: fully correct": ("answers", "truth_correct"),
    "judge: pairwise accuracy": ("judge", "pairwise_accuracy"),
    "self-score": ("answers", "self_score"),
    "answer length (characters)": ("answers", "chars"),
    "usable pairs": ("answers", "usable_pair_rate"),
}


def main() -> None:
    """Run or continue the loop for each seed, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("runs/self-improvement"))
    parser.add_argument("--jobs", type=int, default=1, help="seeds at once (set OMP_NUM_THREADS to match)")
    parser.add_argument("--set", action="append", default=[], help="passed to srlm init")
    arguments = parser.parse_args()
    seeds = range(FIRST_SEED, FIRST_SEED + arguments.seeds)
    with ThreadPoolExecutor(arguments.jobs) as pool:
        runs = list(pool.map(lambda seed: loop(arguments.out, seed, arguments.set), seeds))
    report(runs)


def loop(out: Path, seed: int, overrides: list[str]) -> Run:
    """One seed's run, at M3: the commands that a user would type."""
    data, root = out / f"data-{seed}", out / f"seed-{seed}"
    for name, rows in make(seed).items():
        write_rows(data / name, rows)
    srlm = [sys.executable, "-m", "srlm.cli"]
    files = [f"--ift={data}/ift.jsonl", f"--eft={data}/eft.jsonl", f"--eval-prompts={data}/eval_prompts.jsonl"]
    settings = [f"--set={value}" for value in [f"run.seed={seed}", *overrides]]
    subprocess.run([*srlm, "init", str(root), "--recipe", "demo", *files, *settings], check=True)
    subprocess.run([*srlm, "iterate", str(LAST), "--run", str(root)], check=True)
    return Run(root)


def report(runs: list[Run]) -> None:
    """Print all figures over the seeds."""
    print(f"\nMean over {len(runs)} seeds, with the 95% t interval\n")
    print(f"| {'':28} | {' | '.join(f'M{t}' for t in range(LAST + 1))} | M{LAST} - M1 |")
    print(f"|{'-' * 30}|{'---|' * (LAST + 2)}")
    for label, path in FIGURES.items():
        values = [[figure(run, t, path) for t in range(LAST + 1)] for run in runs]
        columns = [interval([row[t] for row in values]) for t in range(LAST + 1)]
        print(f"| {label:28} | {' | '.join(columns)} | {interval([row[LAST] - row[1] for row in values], sign=True)} |")
    change = judge_change(runs)
    print(
        f"\nJudge accuracy, M{LAST} - M1 over {change['groups']} held-out prompts of all seeds ({change['judgements']} "
        f"judgements a model): {change['mean']:+.2%}, 95% bootstrap interval by prompt {change['low']:+.2%} to "
        f"{change['high']:+.2%}"
    )
    pairs = [json.loads((run.root / "run.json").read_text())["stages"] for run in runs]
    for t in range(1, LAST):
        print(f"AIFT(M{t}): {[stages[f'M{t}/pairs']['info']['pairs'] for stages in pairs]} pairs")
    seconds = [sum(stage["seconds"] for stage in stages.values()) for stages in pairs]
    print(f"Seconds a run: {[round(value) for value in seconds]}")


def figure(run: Run, t: int, path: tuple[str, str]) -> float:
    """One figure of M_t/metrics.json."""
    metrics: Any = json.loads((run.at(t).metrics).read_text())
    return float(metrics[path[0]][path[1]])


def interval(values: list[float], sign: bool = False) -> str:
    """Mean and half width of the 95% t interval over the seeds."""
    mean = sum(values) / len(values)
    if len(values) < 2:
        return f"{mean:{'+' if sign else ''}.3f}"
    half = stats.sem(values) * stats.t.ppf(0.975, len(values) - 1)
    return f"{mean:{'+' if sign else ''}.3f} ± {half:.3f}"


def judge_change(runs: list[Run]) -> dict[str, float]:
    """The change of the judge's pairwise accuracy from M1 to the last model; units are prompts, paired."""
    units, judgements = [], 0
    for run in runs:
        rows = {
            t: {row.id: row for row in judged(run, t) if any(j.score is not None for j in row.judgements)}
            for t in (1, LAST)
        }
        both = rows[1].keys() & rows[LAST].keys()  # a response that one model did not score compares nothing
        before, after = (points([rows[t][key] for key in sorted(both)]) for t in (1, LAST))
        units += [(after[group][0] - before[group][0], before[group][1]) for group in before]
        judgements += sum(len(rows[1][key].judgements) for key in both)
    low, high = bootstrap_interval(units) or [float("nan")] * 2
    mean = sum(a for a, _ in units) / sum(b for _, b in units)
    return {"groups": len(units), "judgements": judgements, "mean": mean, "low": low, "high": high}


def points(rows: list[JudgeEval]) -> dict[str, tuple[float, int]]:
    """Held-out prompt -> (pairs ordered as people did, pairs)."""
    groups: dict[str, list[JudgeEval]] = {}
    for row in rows:
        groups.setdefault(row.group, []).append(row)
    found = {group: judge_metrics(rows) for group, rows in groups.items()}
    return {g: (m["pairwise_accuracy"] * m["pairs"], m["pairs"]) for g, m in found.items() if m["pairs"]}


def judged(run: Run, t: int) -> list[JudgeEval]:
    """The judge's rows of M_t's evaluation."""
    return [row for row in read_rows(run.at(t).eval, EvalRow) if row.kind == "judge"]


if __name__ == "__main__":
    main()
