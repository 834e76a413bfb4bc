"""The figures of a run's models: M_t/metrics.json, computed from rows alone, and what other files say beside it.

Nothing but this module writes metrics.json, so that it can be made anew at any time: after a setting of [pairs] has
changed, or when a later srlm defines more figures, or better ones (`FIGURES`). What takes a
judge or a decision lies in files of its own:

    M_t/gate.json      what the health gate said of M_t's judgements, and whether that was accepted
    M_t/versus.json    M_t head to head with earlier models
"""

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from srlm.console import say
from srlm.errors import UserError
from srlm.judge.agreement import accuracy_change, judge_metrics
from srlm.measure.metrics import (
    FIGURES,
    answer_metrics,
    canary_metrics,
    judging_metrics,
    pair_counts,
    truth_change,
    unchanged,
)
from srlm.records import AnswerEval, CanaryEval, EvalRow, JudgeEval, PreferencePair, RatedRow, Rollout
from srlm.run.folder import Run
from srlm.run.paths import ModelPaths
from srlm.run.stage import number_of
from srlm.store import read_json, read_rows, write_json

T = TypeVar("T")
NAMED = 8  # new or changed figures that `srlm measure` names of each model


# --- read ------------------------------------------------------------------------------------------------------------


def read_figures(run: Run, t: int) -> dict[str, Any]:
    """M_t's figures, with "gate" and "versus" beside them where there are such. Raises UserError for no figures."""
    paths = run.at(t)
    if not paths.metrics.exists():
        raise UserError(f"{run.root}: M{t} has not been evaluated yet", f"run `srlm iterate {t} --run {run.root}`")
    figures = read_json(paths.metrics)  # of an earlier version, with the verdict of the gate in it
    beside = {"gate": paths.gate, "versus": paths.versus}
    figures |= {name: read_json(path) for name, path in beside.items() if path.exists()}
    return {name: found for name, found in figures.items() if name != "version"}


def measured_model(run: Run, name: str | None) -> int:
    """The t of the model `name` ("M2"), or of the last one. Raises UserError where it has not been evaluated."""
    measured = run.measured
    if not measured:
        raise UserError(f"{run.root} has no evaluated model yet", f"run `srlm iterate 1 --run {run.root}`")
    return measured[-1] if name is None else number_of(name, measured)


def pair_figures(figures: dict[str, Any]) -> dict[str, Any] | None:
    """Those of M_t's figures that are about its pairs; None before these are made."""
    made = figures.get("aift")
    return {name: made[name] for name in pair_counts([], []) if name in made} if made else None


def outdated(run: Run) -> list[int]:
    """The models whose figures are of an earlier version, and whose rows are there to recompute them."""
    return [t for t in run.measured if _version(run, t) < FIGURES and _rows_are_there(run, t)]


def _version(run: Run, t: int) -> int:
    version: int = read_json(run.at(t).metrics).get("version", 0)
    return version


def _rows_are_there(run: Run, t: int) -> bool:
    """Whether nobody has removed rows, to save room: figures would be computed of what is left."""
    paths = run.at(t)
    return paths.eval.exists() and (paths.rollouts.exists() or not paths.pairs.exists())


# --- write -----------------------------------------------------------------------------------------------------------


def write_figures(run: Run, t: int) -> dict[str, Any]:
    """Compute M_t/metrics.json from M_t/eval.jsonl, and from AIFT(M_t) once its pairs are made; returns it."""
    paths, pairs = run.at(t), run.config.pairs
    chars = {row.id: len(row.response) for row in read_rows(run.paths.seed("held_out_eft"), RatedRow)}
    figures: dict[str, Any] = {
        "version": FIGURES,
        "model": f"M{t}",
        "min_margin": pairs.min_margin,
        "judge": judge_metrics(_rows(paths, JudgeEval), run.templates.rubric.scale.high, chars),
        "answers": answer_metrics(_rows(paths, AnswerEval), pairs.at(t)),
    }
    known = read_json(paths.metrics) if paths.metrics.exists() else {}
    for k in range(t):
        before = run.at(k)
        # of an earlier model whose rows somebody removed, to save room, what was known stays
        there = any(True for _ in read_rows(before.eval, EvalRow))
        change = _at(known, "truth", "against", f"M{k}")
        if there:
            change = truth_change(_rows(paths, AnswerEval), _rows(before, AnswerEval))
        if change:
            figures.setdefault("truth", {}).setdefault("against", {})[f"M{k}"] = change
        if k == t - 1:
            judging, same = _at(known, "judge", "change"), _at(known, "answers", "unchanged")
            if there:
                same = unchanged(_rows(paths, AnswerEval), _rows(before, AnswerEval))
                judging = accuracy_change(_rows(paths, JudgeEval), _rows(before, JudgeEval))
            figures["judge"] |= {"change": judging} if judging else {}
            figures["answers"] |= {"unchanged": same}
    canaries = canary_metrics(_rows(paths, CanaryEval), _rows(paths, AnswerEval))
    if canaries["scores"]:
        figures["canaries"] = canaries
    if paths.pairs.exists():
        figures["aift"] = _aift_figures(paths)
    keep_verdict(run, t)
    write_json(paths.metrics, figures)
    return figures


def measure_again(run: Run, numbers: Iterable[int]) -> None:
    """`write_figures` of those models whose rows are there."""
    for t in numbers:
        if _rows_are_there(run, t):
            write_figures(run, t)


def keep_verdict(run: Run, t: int) -> None:
    """Give the verdict of the gate, which an earlier version wrote into metrics.json, a file of its own."""
    path, verdict = run.at(t).metrics, run.at(t).gate
    figures = read_json(path) if path.exists() else {}
    if "gate" in figures:
        if not verdict.exists():
            write_json(verdict, figures["gate"])
        write_json(path, {name: found for name, found in figures.items() if name != "gate"})


def _rows(paths: ModelPaths, kind: type[T]) -> Iterator[T]:
    """The rows of one kind in M_t/eval.jsonl, read anew each time: held, they could fill the memory."""
    return (row for row in read_rows(paths.eval, EvalRow) if isinstance(row, kind))


def _at(figures: Any, *path: str) -> Any:
    """The figure under a path of keys; None where there is none."""
    for key in path:
        figures = figures.get(key) if isinstance(figures, dict) else None
    return figures


def _aift_figures(paths: ModelPaths) -> dict[str, Any]:
    """How the model judged its candidates, and what pairs came of it: what the health gate looks at."""
    judging = judging_metrics(read_rows(paths.rollouts, Rollout))
    counts = pair_counts(read_rows(paths.pairs, PreferencePair), read_rows(paths.dropped, dict[str, str]))
    agreed = {"consistency": read_json(paths.consistency)["consistency"]} if paths.consistency.exists() else {}
    return judging | counts | agreed


# --- srlm measure ----------------------------------------------------------------------------------------------------


def measure_run(run: Run) -> None:
    """Recompute the figures of every measured model, and say what is new or has changed. Loads no model.

    Raises UserError where nothing has been measured, and for broken rows.
    """
    with run.lock():
        run.load()
        measured_model(run, None)
        for t in run.measured:
            if not _rows_are_there(run, t):
                say(f"M{t}: its rows are gone, so its figures stay as they are")
                continue
            before = read_figures(run, t)
            write_figures(run, t)
            changed = list(_changes(before, read_figures(run, t)))
            more = f" and {len(changed) - NAMED} more" if len(changed) > NAMED else ""
            what = f"new or changed: {', '.join(changed[:NAMED])}{more}" if changed else "nothing has changed"
            say(f"M{t}: figures recomputed from its rows; {what}")


def _changes(before: Any, now: Any, name: str = "") -> Iterable[str]:
    """Dotted names of figures that are not what they were."""
    if not isinstance(before, dict) or not isinstance(now, dict):
        return [name] if before != now else []
    return [
        changed
        for key in sorted({*before, *now})
        for changed in _changes(before.get(key), now.get(key), f"{name}.{key}" if name else key)
    ]
