"""The models' figures side by side, with what each one gained or lost against M0 and M1: the alignment tax."""

import json
import math
from typing import Any

from rich import box
from rich.table import Table

from srlm.console import out, safe, say
from srlm.measure.harness.job import Figure, TaskRow

REFERENCES = (0, 1)  # the base, and the model with which self-rewarding begins
Z = 1.96  # 95%
ENOUGH = 20  # questions; of fewer, all or none may be right by chance, and the standard error is 0
MARKS = {"better": " ▲", "worse": " ▼", "unclear": ""}


def compared(rows: dict[int, list[TaskRow]]) -> list[dict[str, Any]]:
    """One entry per metric of a task: the figure of each model, and its change from the models of REFERENCES.

    A change is "better" or "worse" where it exceeds 1.96 standard errors of the difference of two independent samples
    of at least 20 questions. The questions are the same ones, so that this rather misses a change than invents one.
    What was asked for is no part of a group (`within`), though another group that was asked for may sum it up.
    """
    found: dict[tuple[str, str], dict[int, Figure]] = {}
    for t, row in ((t, row) for t, all_rows in rows.items() for row in all_rows):
        for figure in row.figures:
            by_model = found.setdefault((figure.task, figure.metric), {})
            if figure.within is None or t not in by_model:
                by_model[t] = figure
    return [_entry(by_model) for by_model in found.values()]


def _entry(figures: dict[int, Figure]) -> dict[str, Any]:
    first = next(iter(figures.values()))
    shared = first.model_dump(
        include={"task", "metric", "higher_is_better", "questions", "version", "few_shot", "within"}
    )
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
    few = min(before.questions, after.questions) < ENOUGH
    return {"by": by, "stderr": error, "verdict": _verdict(by, math.inf if few else error, after.higher_is_better)}


def _verdict(by: float, error: float, higher_is_better: bool | None) -> str | None:
    if higher_is_better is None:
        return None
    if abs(by) <= Z * error:
        return "unclear"
    return "better" if (by > 0) == higher_is_better else "worse"


def cut(rows: dict[int, list[TaskRow]]) -> dict[str, dict[str, int]]:
    """Model -> task as it was asked for -> prompts that lost their beginning, where there are any."""
    found = {f"M{t}": {row.task: row.cut for row in all_rows if row.cut} for t, all_rows in rows.items()}
    return {model: counts for model, counts in found.items() if counts}


def show(data: dict[str, Any], models: list[str], as_json: bool) -> None:
    """Print the data, or a table of it without the parts of what a group sums up."""
    if as_json:
        out().file.write(json.dumps(data, indent=2) + "\n")
        return
    table = Table("task (questions, examples)", "metric", box=box.SIMPLE_HEAD, pad_edge=False)
    for model in models:
        table.add_column(model, justify="right")
    main = [entry for entry in data["tasks"] if entry["within"] is None]
    for before, entry in zip([None, *main], main, strict=False):
        again = before is not None and before["task"] == entry["task"]
        examples = f", {entry['few_shot']}" if entry["few_shot"] else ""
        name = "" if again else safe(f"{entry['task']} ({entry['questions']}{examples})")
        table.add_row(name, safe(entry["metric"]), *(_cell(entry["models"].get(model)) for model in models))
        for reference in (f"M{k}" for k in REFERENCES):
            if any(reference in found["change"] for found in entry["models"].values()):
                table.add_row("", f"  from {reference}", *(_change_cell(entry, model, reference) for model in models))
    out().print(table)
    for model, task, count in ((model, *item) for model, counts in data["cut"].items() for item in counts.items()):
        say(f"{model}: {task}: {count} prompts were longer than model.max_length tokens and lost their beginning")
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
        f"{model} against {reference}, beyond the 95% error: worse (▼) in {worse} and better (▲) in {better} "
        f"of {len(verdicts)} figures with a known error"
    )
