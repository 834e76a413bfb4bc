"""`srlm eval`: head to head on demand, of all models of a run, on its own held-out prompts or on a file of prompts."""

import json
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from srlm.console import out, safe, say
from srlm.errors import UserError
from srlm.measure.versus.answers import Answers, answers_from_file, ask, held_out_answers
from srlm.measure.versus.compare import compare, compare_run
from srlm.measure.versus.verdicts import RunJudge
from srlm.run.folder import Run
from srlm.run.stage import is_model, number_of
from srlm.store import digest, write_json

COLUMNS = ("prompts", "win rate", "95%", "length-controlled", "95%", "win / tie / loss", "length", "orders agree")


def eval_run(run: Run, against: str | None, prompts: Path | None, as_json: bool) -> None:
    """Compare, show, and keep the figures in the run folder. What was judged or answered before is not done again.

    Raises UserError for models or files that cannot be used, StageError when a child crashed.
    """
    with run.lock() as lock:
        run.load()
        measured = run.measured
        if 1 not in measured:
            raise UserError(f"{run.root} has no evaluated M1 yet", f"run `srlm iterate 1 --run {run.root}`")
        if against is None and prompts is None:
            result, kept = compare_run(run, measured, lock), run.root
        else:
            result = _on_demand(run, measured, against, prompts, lock)
            kept = run.paths.versus / f"result-{digest(against, str(prompts), result)}.json"
            write_json(kept, result)
    if as_json:
        out().file.write(json.dumps(result, indent=2) + "\n")
        return
    _show(result)
    say(f"Judge: {RunJudge(run).record['model']}, mode {run.config.versus.mode}. The figures are kept in {kept}")


def _on_demand(run: Run, measured: list[int], against: str | None, prompts: Path | None, lock: int) -> dict[str, Any]:
    """The figures of each model against `against`, or else of each against those of its iteration."""
    judge = RunJudge(run)

    def answers(model: str) -> Answers:
        t = number_of(model, measured) if is_model(model) else None
        if t is not None and prompts is None:
            return held_out_answers(run, t)
        name = model if t is None else run.model(t)
        if t is None and Path(name).suffix in (".json", ".jsonl"):
            return answers_from_file(Path(name))
        return ask(run, name, prompts or run.seed("eval_prompts"), lock)

    gone = [f"M{t}" for t in measured if prompts is not None and run.removed(f"M{t}")]
    if gone:
        say(f"Left out, as their weights were removed (train.keep_models): {', '.join(gone)}")
    models = [model for t in measured if (model := f"M{t}") not in gone]
    if against is None:
        met = [(f"M{t}", f"M{k}") for t in measured for k in sorted({t - 1, 1}) if 0 <= k < t]
        met = [pair for pair in met if not {*pair} & {*gone}]
    else:
        met = [(model, against) for model in models if model.lower() != against.lower()]
    if not met:
        raise UserError("no two models that would meet still have their weights", "name one of them, e.g. --against M0")
    sides = {name: answers(name) for name in dict.fromkeys(name for pair in met for name in pair)}
    found = compare(judge, [(sides[one], sides[other]) for one, other in met], lock)
    result: dict[str, Any] = {}
    for (one, other), figures in zip(met, found, strict=True):
        result.setdefault(one, {"judge": judge.record, "against": {}})["against"][other] = figures
    return result


def _show(result: dict[str, Any]) -> None:
    table = Table("", *COLUMNS, box=box.SIMPLE_HEAD, pad_edge=False)
    for model, found in result.items():
        for other, figures in found["against"].items():
            table.add_row(safe(f"{model} against {other}"), *_cells(figures))
    out().print(table)


def _cells(figures: dict[str, Any]) -> list[str]:
    shares = [figures[name] for name in ("win", "tie", "loss")]
    ratio, asked = figures["length_ratio"], figures["prompts"]
    return [
        f"{asked - figures['unread']} of {asked}",  # with a verdict: one of 20 is no win rate
        _percent(figures["win_rate"]),
        " to ".join(map(_percent, figures["interval"] or [None])),
        _percent(figures["controlled"]),
        " to ".join(map(_percent, figures["controlled_interval"] or [None])),
        " / ".join(map(_percent, shares)),
        "-" if ratio is None else f"x {ratio:.2f}",
        _percent(figures["swap_consistency"]),
    ]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
