"""metrics.json: the figures of one model, computed from the rows of its evaluation and of AIFT."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from srlm.judge.agreement import accuracy_change, judge_metrics
from srlm.judge.prompts import Templates
from srlm.measure.metrics import answer_metrics, canary_metrics, judging_metrics, pair_counts, truth_change
from srlm.records import AnswerEval, CanaryEval, EvalRow, JudgeEval, PreferencePair, Rollout
from srlm.settings import Config
from srlm.store import read_json, read_rows, write_json

T = TypeVar("T")


def write_metrics(folder: Path, t: int, config: Config) -> dict[str, Any]:
    """Compute M_t/metrics.json from M_t/eval.jsonl, and from AIFT(M_t) once its pairs are made; returns it.

    What the health gate said stays: it is asked no more once the next model is trained.
    """
    rows: list[Any] = list(read_rows(folder / "eval.jsonl", EvalRow))
    answers = _of(AnswerEval, rows)
    scale = Templates(folder.parent / "prompts", config.judge.rubric).rubric.scale
    metrics: dict[str, Any] = {
        "model": f"M{t}",
        "min_margin": config.pairs.min_margin,
        "judge": judge_metrics(_of(JudgeEval, rows), scale.high),
        "answers": answer_metrics(answers, config.pairs.at(t)),
    }
    for k in range(t):
        if (earlier := folder.with_name(f"M{k}") / "eval.jsonl").exists():
            before: list[Any] = list(read_rows(earlier, EvalRow))
            if k == t - 1:
                metrics["judge"]["change"] = accuracy_change(_of(JudgeEval, rows), _of(JudgeEval, before))
            if change := truth_change(answers, _of(AnswerEval, before)):
                metrics.setdefault("truth", {}).setdefault("against", {})[f"M{k}"] = change
    if canaries := _of(CanaryEval, rows):
        metrics["canaries"] = canary_metrics(canaries, answers)
    if (folder / "aift" / "pairs.jsonl").exists():
        metrics["aift"] = _aift_metrics(folder / "aift")
    if (versus := folder / "versus.json").exists():
        metrics["versus"] = read_json(versus)
    if (path := folder / "metrics.json").exists():
        metrics |= {name: found for name, found in read_json(path).items() if name == "gate"}
    write_json(path, metrics)
    return metrics


def _of(kind: type[T], rows: Iterable[Any]) -> list[T]:
    return [row for row in rows if isinstance(row, kind)]


def _aift_metrics(folder: Path) -> dict[str, Any]:
    """How the model judged its candidates, and what pairs came of it: what the health gate looks at."""
    judging = judging_metrics(list(read_rows(folder / "rollouts.jsonl", Rollout)))
    pairs = list(read_rows(folder / "pairs.jsonl", PreferencePair))
    counts = pair_counts(pairs, read_rows(folder / "dropped.jsonl", dict[str, str]))
    agreed = folder / "consistency.json"
    return judging | counts | ({"consistency": read_json(agreed)["consistency"]} if agreed.exists() else {})
