"""The page: one HTML file with its style, its script and its data inside. Nothing is fetched when it is opened.

The charts are drawn as SVG by a few hundred lines of our own script: a chart library is larger than all the rest, needs
a build step or styles set from scripts, which the page's security policy refuses. Data from models goes into the page
as JSON in a script block that browsers do not run, and from there only into text nodes.
"""

import base64
import hashlib
import json
from importlib import resources
from typing import Any

from srlm.report.data import baseline, best, detailed, doubts
from srlm.run.folder import Run, now

SCRIPTS = ("dom.js", "charts.js", "gates.js", "overview.js", "source.js", "rows.js", "main.js")  # in this order
POINTS = 120  # of a training curve on the page
_ESCAPES = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}


def overview(run: Run) -> dict[str, Any]:
    """All that the page shows but the rows themselves. Takes a pass over the rows of every model."""
    config, models = run.config, [detailed(run, t, POINTS) for t in run.begun]
    return {
        "run": run.root.resolve().name,
        "model": config.model.path,
        "recipe": config.recipe,
        "seed": config.run.seed,
        "created": run.record.created,
        "made": now(),
        "versions": run.record.versions,
        "baseline": baseline(run),
        "best": best(run, models),
        "models": [model | {"doubts": found} for model, found in zip(models, doubts(run, models), strict=True)],
    }


def page(data: dict[str, Any], live: bool) -> str:
    """The whole page around `data`; `live`: it may ask the server that it came from for rows."""
    style = _asset("style.css")
    script = '"use strict";\n' + "\n".join(_asset(name) for name in SCRIPTS)
    policy = [
        "default-src 'none'",
        f"script-src '{_hash(script)}'",
        f"style-src '{_hash(style)}'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        *(["connect-src 'self'"] if live else []),
    ]
    parts = {"POLICY": "; ".join(policy), "STYLE": style, "DATA": embedded(data), "SCRIPT": script}
    pieces = _asset("page.html").split("@@")  # text, name, text, name, ...: one pass, what is put in is not looked at
    return "".join(parts[piece] if number % 2 else piece for number, piece in enumerate(pieces))


def embedded(data: Any) -> str:
    """JSON that can stand in an HTML script block: nothing in it can end the block or begin a tag or an entity."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.translate(_ESCAPES)


def _hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def _asset(name: str) -> str:
    return resources.files("srlm.report").joinpath("assets", name).read_text(encoding="utf-8")
