"""The models' figures side by side, with what each one gained or lost against M0 and M1: the alignment tax."""

import json
import math
from typing import Any

from rich import box
from rich.table import Table

from srlm.console import out, safe, say
from srlm.harness.job import Figure, TaskRow

REFERENCES = (0, 1)  # the base, and the model with which self-rewarding begins
Z = 1.96  # 95%
MARKS = {"better": " ▲", "worse": " ▼", "unclear": ""}


def compared(rows: dict[int, list[TaskRow]]) -> list[dict[str, Any]]:
    """One entry per metric of a task: the figure of each model, and its change from the models of REFERENCES.

    A change is "better" or "worse" where it exceeds 1.96 standard errors of the difference of two independent samples.
    The questions are the same ones, so that this rather misses a change than invents one.
    """
    found: dict[tuple[str, str], dict[int, Figure]] = {}
    for t, row in ((t, row) for t, all_rows in rows.items() for row in all_rows):
        for figure in row.figures:
            found.setdefault((figure.task, figure.metric), {})[t] = figure
    return [_entry(by_model) for by_model in found.values()]


def _entry(figures: dict[int, Figure]) -> dict[str, Any]:
    first = next(iter(figures.values()))
    shared = first.model_dump(include={"task", "metric", "higher_is_better", "questions", "version", "within"})
    models = {
        f"M{t}": {
            "value": figure.value,
            "stderr": figure.stderr,
            "change": {f"M{k}": change(figures[k], figure) for k in REFERENCES if k < t and k in figures},
        }
        for t, figure in figures.items()
    }
    return shared | {"models": models}


def change(before: Figure, after: Figure) -> dict[str, Any]:
    """{"by": difference, "stderr": of the difference, "verdict": better, worse, unclear, or None where none is due}."""
    if before.value is None or after.value is None:
        return {"by": None, "stderr": None, "verdict": None}
    by = after.value - before.value
    if before.stderr is None or after.stderr is None:
        return {"by": by, "stderr": None, "verdict": None}
    error = math.hypot(before.stderr, after.stderr)
    return {"by": by, "stderr": error, "verdict": _verdict(by, error, after.higher_is_better)}


def _verdict(by: float, error: float, higher_is_better: bool | None) -> str | None:
    if higher_is_better is None:
        return None
    if abs(by) <= Z * error:
        return "unclear"
    return "better" if (by > 0) == higher_is_better else "worse"


def show(data: dict[str, Any], models: list[str], as_json: bool) -> None:
    """Print the data, or a table of it without the parts of what a group sums up."""
    if as_json:
        out().file.write(json.dumps(data, indent=2) + "\n")
        return
    table = Table("task (questions)", "metric", box=box.SIMPLE_HEAD, pad_edge=False)
    for model in models:
        table.add_column(model, justify="right")
    main = [entry for entry in data["tasks"] if entry["within"] is None]
    for before, entry in zip([None, *main], main, strict=False):
        again = before is not None and before["task"] == entry["task"]
        name = "" if again else safe(f"{entry['task']} ({entry['questions']})")
        table.add_row(name, safe(entry["metric"]), *(_cell(entry["models"].get(model)) for model in models))
        for reference in (f"M{k}" for k in REFERENCES):
            if any(reference in found["change"] for found in entry["models"].values()):
                table.add_row("", f"  from {reference}", *(_change_cell(entry, model, reference) for model in models))
    out().print(table)
    for reference in (f"M{k}" for k in REFERENCES if len(models) > k + 1):
        say(tax(main, models[-1], reference))


def _cell(found: dict[str, Any] | None) -> str:
    if found is None or found["value"] is None:
        return "-"
    return f"{found['value']:.3f}" + ("" if found["stderr"] is None else f" ± {found['stderr']:.3f}")


def _change_cell(entry: dict[str, Any], model: str, reference: str) -> str:
    found = entry["models"].get(model, {"change": {}})["change"].get(reference)
    if found is None or found["by"] is None:
        return ""
    return f"{found['by']:+.3f}{MARKS.get(found['verdict'], '')}"


def tax(entries: list[dict[str, Any]], model: str, reference: str) -> str:
    """In words, in how many figures a model is better or worse than a reference beyond the error."""
    changes = [entry["models"].get(model, {"change": {}})["change"].get(reference) for entry in entries]
    verdicts = [found["verdict"] for found in changes if found and found["verdict"]]
    better, worse = verdicts.count("better"), verdicts.count("worse")
    return (
        f"{model} against {reference}: by more than the 95% error worse (▼) in {worse}, better (▲) in {better} "
        f"of {len(verdicts)} figures whose error is known"
    )
