"""A check report as tables on the terminal."""

import json
import re
from typing import Any

from rich.table import Table

from srlm.console import out, safe, say
from srlm.seed.check import CheckReport

WIDTH = 100  # columns of a table: longer cells go on in the next line


def show(report: CheckReport, as_json: bool) -> None:
    """Print the report to stdout: two tables and the histograms, or the same as JSON."""
    data = report.data()
    if as_json:
        out().file.write(json.dumps(data, indent=2, allow_nan=False) + "\n")  # ASCII: no control character gets through
    else:
        out().print(_files(data["files"]), width=_width())
        for line in _histograms(data):
            out().print(safe(line), width=_width(), overflow="fold")
        if data["findings"]:
            out().print(_findings(data["findings"]), width=_width())
    harm = f"{len(report.harmful)} that would harm training" if report.harmful else "none that would harm training"
    say(f"Findings: {harm}, and {len(report.findings) - len(report.harmful)} worth knowing.")


def _width() -> int:
    return min(out().width, WIDTH)


def _files(files: list[dict[str, Any]]) -> Table:
    table = _table("file", "kind", "rows", "usable", "prompts", "multi-turn", "with system")
    for file in files:
        use = f"{file['kind']}, held out" if file["held_out"] else file["kind"]
        numbers = (file[name] for name in ("rows", "usable", "prompts", "multi_turn", "with_system"))
        table.add_row(safe(file["file"]), use, *(f"{number:,}" for number in numbers))
    return table


def _histograms(data: dict[str, Any]) -> list[str]:
    """One line for the model and for each histogram: "eft.jsonl scores: 1: 99 (6%), 2: 27 (2%)"."""
    lines = []
    if model := data["model"]:
        ends = " or ".join(model["end_of_turn"])
        lines.append(f"{model['path']}: context {model['context']} tokens; a reply ends with {ends}")
    for file in data["files"]:
        if "scores" in file:
            lines.append(f"{file['file']} scores: {_shares(file['scores'])}")
        if "tokens" in file:
            tokens = file["tokens"]
            size = f"median {tokens['median']}, 95% {tokens['p95']}, longest {tokens['max']}"
            lines.append(f"{file['file']} tokens: {size}; {_shares(tokens['histogram'])}")
    return lines


def _shares(counts: dict[str, int]) -> str:
    total = sum(counts.values())
    return ", ".join(f"{name}: {count:,} ({count / total:.0%})" for name, count in counts.items())


def _findings(findings: list[dict[str, Any]]) -> Table:
    """Each finding as a line, and below it its file with a few places: only that text goes on in the next line."""
    table = _table("", "count", "finding")
    for finding in findings:
        table.add_row(finding["level"], f"{finding['count']:,}", safe(f"{finding['text']}\n{_places(finding)}"))
    return table


def _places(finding: dict[str, Any]) -> str:
    """The file, named once, and its places: "seeds/ift.jsonl:5 = bench.json: row 1; :9"."""
    file, places = str(finding["file"]), finding["places"]
    inside = [place.replace(f"{file}: ", "").replace(file, "") for place in places]
    inside = [re.sub(r"(^|[=~] )[^\s;]*/", r"\1", place) for place in inside]  # of another file, its name
    between = ": " if places and places[0].startswith(f"{file}: ") else ""
    return file + between + "; ".join(inside)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        words = column in ("file", "kind", "finding", "")
        table.add_column(column, justify="left" if words else "right", overflow="fold", no_wrap=not words)
    return table
