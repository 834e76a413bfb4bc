"""What a run folder holds, for people (tables) and for programs (data). Imports neither torch nor a stage."""

import json
import re

from srlm.console import out, say
from srlm.errors import UserError
from srlm.report.data import model_data, models_of, run_data
from srlm.report.tables import print_model, print_run
from srlm.run import Run


def inspect_run(run: Run, model: str | None, as_json: bool) -> None:
    """Print the iterations of a run, or what there is about one `model` ("M2"); as JSON with `as_json`.

    Works while the run is unfinished. Raises UserError for a model that the run does not have, or a broken file.
    """
    data = run_data(run) if model is None else model_data(run, _number(run, model))
    if as_json:
        out().file.write(json.dumps(data, indent=2, allow_nan=False) + "\n")  # ASCII: no control character gets through
    elif model is None:
        print_run(data)
        say(f"One model with examples: srlm inspect {run.root} M{models_of(run)[-1]}")
    else:
        print_model(data)


def _number(run: Run, model: str) -> int:
    known = models_of(run)
    match = re.fullmatch(r"[Mm](\d+)", model)
    if not match or int(match[1]) not in known:
        raise UserError(f"{run.root} has no model {model}", f"it has {', '.join(f'M{t}' for t in known)}")
    return int(match[1])
