"""What a run folder holds, for people (tables, pages) and for programs (data). Imports neither torch nor a stage."""

import json
from typing import Any

from srlm.console import out, say
from srlm.measure.figures import outdated
from srlm.report.data import model_data, run_data
from srlm.report.tables import print_model, print_run
from srlm.run.folder import Run
from srlm.run.stage import number_of


def inspect_run(run: Run, model: str | None, as_json: bool) -> None:
    """Print the iterations of a run, or what there is about one `model` ("M2"); as JSON with `as_json`.

    Works while the run is unfinished. Raises UserError for a model that the run does not have, or a broken file.
    """
    data = run_data(run) if model is None else model_data(run, number_of(model, run.begun))
    say_outdated(run)
    if as_json:
        _print_json(data)
    elif model is None:
        print_run(data)
        say(f"To see one model with examples: srlm inspect {run.root} M{run.begun[-1]}. To get a page: add --html")
    else:
        print_model(data)


def say_outdated(run: Run) -> None:
    """Say which figures an earlier version of srlm computed, and how to recompute them."""
    if models := outdated(run):
        named = ", ".join(f"M{t}" for t in models)
        say(f"An earlier version of srlm computed the figures of {named}. To update them: srlm measure {run.root}")


def inspect_rows(
    run: Run,
    model: str | None,
    *,
    row: str | None,
    sort: str | None,
    grep: str | None,
    limit: int,
    reverse: bool,
    as_json: bool,
) -> None:
    """Print the row `row`, or the list of rows by `sort` that match `grep`, of one `model` or of all.

    Raises UserError for a model or a row that the run does not have, an unknown order, or a broken file.
    """
    from srlm.report.listing import find_row, list_rows, print_list, print_row

    numbers = run.begun if model is None else [number_of(model, run.begun)]
    items = find_row(run, numbers, row) if row else list_rows(run, numbers, sort, grep, limit, reverse)
    if as_json:
        _print_json(items)
    elif row:
        for item in items:
            print_row(item)
    else:
        print_list(items)


def _print_json(data: Any) -> None:
    out().file.write(json.dumps(data, indent=2, allow_nan=False) + "\n")  # ASCII: no control character gets through
