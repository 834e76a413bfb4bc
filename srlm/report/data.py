"""Run folder -> plain data: one dict per model with its stages, metrics, AIFT counts and examples."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from srlm.metrics import instruction_counts, pair_counts
from srlm.records import AnswerEval, EvalRow, Instruction, PreferencePair, Rollout
from srlm.run import Run
from srlm.store import read_json, read_rows

EXAMPLES = 3  # of each kind: enough to see what a model is like, short enough to read


def models_of(run: Run) -> list[int]:
    """The numbers of the models that the run has begun to make or measure; M0 is always there."""
    return list(range(1 + max([0, *(int(name[1:].partition("/")[0]) for name in run.record.stages)])))


def run_data(run: Run) -> dict[str, Any]:
    """The run and the summary of each of its models."""
    config = run.config
    return {
        "run": str(run.root),
        "model": config.model.path,
        "recipe": config.recipe,
        "seed": config.run.seed,
        "models": [_summary(run, t) for t in models_of(run)],
    }


def model_data(run: Run, t: int) -> dict[str, Any]:
    """M_t's summary, the course of its training, and a few whole examples."""
    return _summary(run, t) | {"training": _training(run, t), "examples": _examples(run, t)}


def _summary(run: Run, t: int) -> dict[str, Any]:
    stages = _stages(run, t)
    metrics = run.folder(t) / "metrics.json"
    return {
        "model": f"M{t}",
        "stages": stages,
        "metrics": read_json(metrics) if metrics.exists() else None,
        "aift": _aift(run, t),
        "rows": {name: _count_lines(path) for name, path in _row_files(run, t).items() if path.exists()},
    }


def _stages(run: Run, t: int) -> dict[str, dict[str, Any]]:
    """What became of each stage of M_t: state, why, seconds, attempts and what it reported."""
    result = {}
    for stage in run.stages(models_of(run)[-1]):
        if stage.t != t:
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


def _row_files(run: Run, t: int) -> dict[str, Path]:
    return {"eval": run.folder(t) / "eval.jsonl", "rollouts": run.aift(t) / "rollouts.jsonl"}


def _count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(line.endswith(b"\n") for line in file)


def _aift(run: Run, t: int) -> dict[str, Any] | None:
    """What M_t made to train M_{t+1}; None before it began, `pairs` None before they were made."""
    folder = run.aift(t)
    if not (folder / "instructions.jsonl").exists():
        return None
    pairs = None
    if (folder / "pairs.jsonl").exists():
        made: list[PreferencePair] = list(read_rows(folder / "pairs.jsonl", PreferencePair))
        pairs = pair_counts(made, read_rows(folder / "dropped.jsonl", dict[str, str]))
    return {
        "wanted": run.config.instructions.count,
        "instructions": instruction_counts(read_rows(folder / "instructions.jsonl", Instruction)),
        "pairs": pairs,
    }


def _training(run: Run, t: int) -> dict[str, Any] | None:
    """The first and the last row of the trainer's log, and the number of rows."""
    rows: list[dict[str, Any]] = list(read_rows(run.folder(t) / "train.jsonl", dict[str, Any]))
    return {"rows": len(rows), "first": rows[0], "last": rows[-1]} if rows else None


def _examples(run: Run, t: int) -> dict[str, list[dict[str, Any]]]:
    """The first few rows by id, so that two models are seen on the same prompts."""
    answers = sorted(_answers(run, t), key=lambda row: row.rollout.id)[:EXAMPLES]
    made: Iterator[PreferencePair] = read_rows(run.aift(t) / "pairs.jsonl", PreferencePair)
    pairs = sorted(made, key=lambda row: row.id)[:EXAMPLES]
    return {
        "answers": [row.model_dump() | {"scores": _scores(row.rollout)} for row in answers],
        "pairs": [row.model_dump() | {"margin": row.margin} for row in pairs],
    }


def _answers(run: Run, t: int) -> Iterator[AnswerEval]:
    rows: Iterator[Any] = read_rows(run.folder(t) / "eval.jsonl", EvalRow)
    return (row for row in rows if isinstance(row, AnswerEval))


def _scores(rollout: Rollout) -> list[float | None]:
    return [candidate.score for candidate in rollout.candidates]
