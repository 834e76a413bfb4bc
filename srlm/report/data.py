"""Run folder -> plain data: one dict per model with its stages, metrics, AIFT counts and examples."""

import heapq
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from srlm.loop.finding import Finding
from srlm.loop.promote import best_so_far, check_promotion
from srlm.loop.stages import stages
from srlm.measure.figures import pair_figures, read_figures
from srlm.measure.metrics import instruction_counts
from srlm.records import AnswerEval, EvalRow, Instruction, PreferencePair
from srlm.report.survey import course, survey
from srlm.run.folder import Run
from srlm.run.paths import BASELINE
from srlm.store import read_rows

EXAMPLES = 3  # of each kind: enough to see what a model is like, short enough to read
COURSE = 48  # points of a training curve in the terminal: one character each


def run_data(run: Run) -> dict[str, Any]:
    """The run and the summary of each of its models."""
    config = run.config
    return {
        "run": str(run.root),
        "model": config.model.path,
        "recipe": config.recipe,
        "seed": config.run.seed,
        "judge": config.judge.model or None,  # None: each model judges itself
        "baseline": baseline(run),
        "models": (models := [_summary(run, t) for t in run.begun]),
        "best": best(run, models),
    }


def best(run: Run, models: list[dict[str, Any]]) -> dict[str, str] | None:
    """The best model so far by the promotion gate, and why."""
    found = best_so_far([model["metrics"] for model in models[1:] if model["metrics"]], run.config.promote)
    return asdict(found) if found else None


def doubts(run: Run, models: list[dict[str, Any]]) -> list[list[dict[str, Any]] | None]:
    """What the promotion gate has against each model; None for M0 and M1, and for what has not been measured."""
    figures = [model["metrics"] for model in models]
    return [
        [_worded(asdict(finding)) for finding in check_promotion(figures[t], figures[t - 1], run.config.promote)]
        if t > 1 and figures[t] and figures[t - 1]
        else None
        for t in range(len(figures))
    ]


def _worded(finding: dict[str, Any]) -> dict[str, Any]:
    """A finding of a gate with what people read of it."""
    return finding | {"text": str(Finding(**finding))}


def model_data(run: Run, t: int) -> dict[str, Any]:
    """M_t's summary, the course of its training, its scores and margins, earlier models' lengths, a few examples."""
    return detailed(run, t, COURSE) | {"lengths": _lengths(run, t), "examples": _examples(run, t)}


def detailed(run: Run, t: int, points: int) -> dict[str, Any]:
    """M_t's summary with what takes a pass over its rows; the course of training in at most `points` points."""
    found = survey(run, t)
    tokens = found.pop("tokens")
    summary = _summary(run, t)
    for name, stage in summary["stages"].items():
        count = tokens.get(name)
        stage["tokens"] = count
        stage["tokens_per_second"] = count / stage["seconds"] if count and stage["seconds"] else None
    training = course(run, t, points)
    if training and "train" in summary["stages"]:
        last = training["last"]
        stage, seconds = summary["stages"]["train"], last.get("seconds")
        stage["tokens"] = last.get("tokens")
        stage["tokens_per_second"] = stage["tokens"] / seconds if stage["tokens"] and seconds else None
    return summary | {"training": training, "rollouts": found}


def _lengths(run: Run, t: int) -> dict[str, float]:
    """Mean characters of the answers to the held-out prompts, of each model up to M_t that has been measured."""
    found = {f"M{k}": read_figures(run, k) for k in run.measured if k <= t}
    known = {model: (figures.get("answers") or {}).get("chars") for model, figures in found.items()}
    return {model: chars for model, chars in known.items() if chars is not None}


def baseline(run: Run) -> dict[str, Any] | None:
    """How EFT is built from ranked responses: stages, how many of them are judged, and what the choice reported.

    None for a run that was given its EFT.
    """
    if not run.builds_eft:
        return None
    record = run.record.stages.get(f"{BASELINE}/eft")
    return {
        "stages": _stages(run, BASELINE),
        "ranked": _count_lines(run.seed("ranked")),
        "judged": _count_lines(run.baseline.judgements),
        "eft": record.info if record else None,
    }


def _summary(run: Run, t: int) -> dict[str, Any]:
    figures = read_figures(run, t) if t in run.measured else None
    if figures and (findings := figures.get("gate", {}).get("findings")):
        figures["gate"] |= {"findings": [_worded(finding) for finding in findings]}
    files = {"eval": run.at(t).eval, "rollouts": run.at(t).rollouts}
    return {
        "model": f"M{t}",
        "stages": _stages(run, f"M{t}"),
        "metrics": figures,
        "aift": _aift(run, t, figures or {}),
        "rows": {name: _count_lines(path) for name, path in files.items() if path.exists()},
    }


def _stages(run: Run, model: str) -> dict[str, dict[str, Any]]:
    """What became of each stage of M_t or the baseline: state, why, seconds, attempts and what it reported."""
    result = {}
    for stage in stages(run, max(run.begun[-1], int(model == BASELINE))):
        if stage.name.partition("/")[0] != model:
            continue
        state, why = run.state(stage)
        record = run.record.stages.get(stage.name)
        result[stage.name.partition("/")[2]] = {
            "state": state,
            "why": why,
            "started": record.started if record else None,
            "seconds": record.seconds if record else None,
            "attempts": record.attempts if record else 0,
            "info": record.info if record else {},
        }
    return result


def _count_lines(path: Path) -> int:
    if not path.exists():
        return 0
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 18), b""))


def _aift(run: Run, t: int, figures: dict[str, Any]) -> dict[str, Any] | None:
    """What M_t made to train M_{t+1}; None before it began, `pairs` None before they were made."""
    made = run.at(t).instructions
    if not made.exists():
        return None
    return {
        "wanted": run.config.instructions.count,
        "instructions": instruction_counts(read_rows(made, Instruction)),
        "pairs": pair_figures(figures),
    }


def _examples(run: Run, t: int) -> dict[str, list[dict[str, Any]]]:
    """The first few rows by id, so that two models are seen on the same prompts."""
    answers = heapq.nsmallest(EXAMPLES, _answers(run, t), key=lambda row: row.rollout.id)
    made: Iterator[PreferencePair] = read_rows(run.at(t).pairs, PreferencePair)
    pairs = heapq.nsmallest(EXAMPLES, made, key=lambda row: row.id)
    return {
        "answers": [
            row.model_dump() | {"scores": [candidate.score for candidate in row.rollout.candidates]} for row in answers
        ],
        "pairs": [row.model_dump() | {"margin": row.margin} for row in pairs],
    }


def _answers(run: Run, t: int) -> Iterator[AnswerEval]:
    rows: Iterator[Any] = read_rows(run.at(t).eval, EvalRow)
    return (row for row in rows if isinstance(row, AnswerEval))
