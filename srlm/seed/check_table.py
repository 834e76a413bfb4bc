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
            out().print(safe(line), soft_wrap=True)
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
    table = _table("", "file", "count", "finding", "examples")
    for finding in findings:
        places = re.sub(
            r"(^|; |[=~] )[^\s;]*/", r"\1", "; ".join(finding["places"])
        )  # the column beside has the whole path
        table.add_row(
            finding["level"], safe(finding["file"]), f"{finding['count']:,}", safe(finding["text"]), safe(places)
        )
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        right = column in ("rows", "usable", "prompts", "multi-turn", "with system", "count")
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    return table
