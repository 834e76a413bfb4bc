"""The data of a run as tables and text on stdout. What models wrote goes through `safe`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

from srlm.console import out, safe

NOTHING = "-"  # what is not there, or not defined


# --- the whole run ---------------------------------------------------------------------------------------------------


def print_run(data: dict[str, Any]) -> None:
    """The iterations side by side: one column per model, one line per figure."""
    models = data["models"]
    _line(f"{data['run']}: {data['model']}, recipe {data['recipe']}, seed {data['seed']}")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for model in models:
        table.add_column(model["model"], justify="right")
    for label, cells in _lines(models):
        if any(cell != NOTHING for cell in cells):
            table.add_row(label, *(safe(cell) for cell in cells))
    out().print(table)


def _lines(models: list[dict[str, Any]]) -> Iterable[tuple[str, list[str]]]:
    """(label, one cell per model) for each figure of the overview."""

    def line(label: str, show: Callable[[Any], str], *path: str) -> tuple[str, list[str]]:
        return label, [show(_at(model, *path)) for model in models]

    answers, judge = ("metrics", "answers"), ("metrics", "judge")
    yield line("ground truth: score", number, *answers, "truth_score")
    yield line("ground truth: fully correct", percent, *answers, "truth_correct")
    yield line("self-score", number, *answers, "self_score")
    yield line("judge: pairwise accuracy", percent, *judge, "pairwise_accuracy")
    yield line("  95% interval", interval, *judge, "pairwise_interval")
    yield line("judge: Spearman", number, *judge, "spearman")
    yield line("judge: replies parsed", percent, *judge, "parse_rate")
    yield line("answer length (characters)", whole, *answers, "chars")
    yield line("prompts with tied answers", percent, *answers, "tie_rate")
    yield line("prompts with a usable pair", percent, *answers, "usable_pair_rate")
    yield "canaries that pass as answers", [_passed(model) for model in models]
    yield "health gate", [_gate(model) for model in models]
    yield "AIFT: instructions kept / asked", [_kept(model) for model in models]
    yield line("AIFT: preference pairs", whole, "aift", "pairs", "pairs")
    yield "training (s)", [_seconds(model, "train") for model in models]
    yield "generation (s)", [_seconds(model, "eval", "aift") for model in models]
    yield "unfinished", [_unfinished(model) for model in models]


def _kept(model: dict[str, Any]) -> str:
    counts = _at(model, "aift", "instructions")
    return f"{counts['kept']} / {counts['asked']}" if counts else NOTHING


def _passed(model: dict[str, Any]) -> str:
    found = _at(model, "metrics", "canaries")
    return f"{len(found['passed'])} of {len(found['scores'])}" if found else NOTHING


def _gate(model: dict[str, Any]) -> str:
    """passed, or the checks that found something, with what became of it."""
    gate = _at(model, "metrics", "gate")
    if gate is None:
        return NOTHING
    names = [finding["check"] + (" (waived)" if finding["waived"] else "") for finding in gate["findings"]]
    return ", ".join(dict.fromkeys(names)) + (" (accepted)" if gate["accepted"] else "") or "passed"


def _seconds(model: dict[str, Any], *parts: str) -> str:
    """Seconds of some stages together."""
    seconds = [
        stage["seconds"] for part in parts if (stage := model["stages"].get(part)) and stage["seconds"] is not None
    ]
    return f"{sum(seconds):.0f}" if seconds else NOTHING


def _unfinished(model: dict[str, Any]) -> str:
    """The stages that are not done, with the rows that are already safe: "eval partial (120 rows)"."""
    counted = {"eval": "eval", "aift": "rollouts"}
    words = []
    for name, stage in model["stages"].items():
        if stage["state"] != "done":
            rows = model["rows"].get(counted.get(name, ""))
            words.append(f"{name} {stage['state']}" + (f" ({rows} rows)" if rows else ""))
    return ", ".join(words) or NOTHING


# --- one model -------------------------------------------------------------------------------------------------------


def print_model(data: dict[str, Any]) -> None:
    """One model: its stages, its figures, what was dropped and why, and examples."""
    _print_stages(data)
    _print_training(data["training"])
    for title, name in (("Judge, on held-out EFT", "judge"), ("Answers to the held-out prompts", "answers")):
        _print_figures(title, _at(data, "metrics", name))
    _print_figures("Canaries: worthless answers, and what the judge gives them", _at(data, "metrics", "canaries"))
    _print_gate(_at(data, "metrics", "gate"))
    aift = data["aift"] or {}
    _print_figures("New instructions", aift.get("instructions"))
    _print_figures("Preference pairs", aift.get("pairs"))
    for row in data["examples"]["answers"]:
        _print_answer(row)
    for row in data["examples"]["pairs"]:
        _print_pair(row)


def _print_stages(data: dict[str, Any]) -> None:
    table = _table(f"{data['model']}: stages", "stage", "state", "seconds", "attempts", "")
    for name, stage in data["stages"].items():
        table.add_row(name, stage["state"], number(stage["seconds"]), str(stage["attempts"]), safe(stage["why"]))
    out().print(table)


def _print_training(training: dict[str, Any] | None) -> None:
    if training is None:
        return
    table = _table("Training", "", "first row", "last row")
    for name in training["last"]:
        table.add_row(name, *(_figure(training[row].get(name)) for row in ("first", "last")))
    out().print(table)


def _print_figures(title: str, figures: Mapping[str, Any] | None) -> None:
    """Name and value of each figure; counts by reason become one line each."""
    if not figures:
        return
    table = _table(title, "", "")
    for name, value in figures.items():
        table.add_row(name.replace("_", " "), "" if isinstance(value, dict) and value else _figure(value))
        if isinstance(value, dict):
            for reason, count in value.items():
                table.add_row(safe(f"  {reason}"), _figure(count))
    out().print(table)


def _print_gate(gate: dict[str, Any] | None) -> None:
    if gate is None:
        return
    _heading("Health gate: " + ("accepted by hand" if gate["accepted"] else "" if gate["findings"] else "passed"))
    for finding in gate["findings"]:
        _line(f"{finding['saw']} ({finding['limit']}): {finding['means']}" + (" [waived]" if finding["waived"] else ""))


def _print_answer(row: dict[str, Any]) -> None:
    rollout = row["rollout"]
    _heading(f"Held-out prompt {rollout['id']}")
    _line(_conversation(rollout["messages"]))
    if rollout["dropped"]:
        _line(f"set aside: {rollout['dropped']}")
    truth = row["truth"] or [None] * len(rollout["candidates"])
    for candidate, score, marks in zip(rollout["candidates"], row["scores"], truth, strict=True):
        given = ", ".join(_figure(judgement["score"]) for judgement in candidate["judgements"])
        ground = "; truth " + ", ".join(f"{name} {_figure(value)}" for name, value in marks.items()) if marks else ""
        _line(f"\n--- answer ({candidate['finish']}), self-score {number(score)} ({given}){ground}")
        _line(candidate["text"])
        if candidate["judgements"]:
            _line(_indented("judgement: " + candidate["judgements"][0]["text"]))


def _print_pair(row: dict[str, Any]) -> None:
    _heading(f"Preference pair {row['id']}, margin {number(row['margin'])}")
    _line(_conversation(row["prompt"]))
    for side in ("chosen", "rejected"):
        _line(f"\n--- {side}, self-score {number(row[f'{side}_score'])}")
        _line(row[side][-1]["content"])


# --- small parts -----------------------------------------------------------------------------------------------------


def number(value: float | None) -> str:
    """Two decimals."""
    return NOTHING if value is None else f"{value:.2f}"


def whole(value: float | None) -> str:
    """No decimals."""
    return NOTHING if value is None else f"{value:.0f}"


def percent(value: float | None) -> str:
    """A share as a percentage."""
    return NOTHING if value is None else f"{value:.1%}"


def interval(value: Sequence[float] | None) -> str:
    """A 95% interval of a share, in percent."""
    return NOTHING if value is None else f"{value[0]:.1%} to {value[1]:.1%}"


def _figure(value: Any) -> str:
    if value is None or value == {}:
        return NOTHING
    if isinstance(value, list):
        return " to ".join(_figure(part) for part in value)
    return f"{value:.4g}" if isinstance(value, float) else safe(str(value))


def _at(data: Any, *path: str) -> Any:
    """The value under a path of keys; None where any of them is missing."""
    for key in path:
        data = data.get(key) if isinstance(data, dict) else None
    return data


def _table(title: str, *columns: str) -> Table:
    _heading(title)
    table = Table(box=None, show_header=any(columns), pad_edge=False)
    for column in columns:
        table.add_column(column)
    return table


def _heading(text: str) -> None:
    out().print()
    out().print(safe(text), style="bold", soft_wrap=True)


def _line(text: str) -> None:
    out().print(safe(text), soft_wrap=True)


def _conversation(messages: list[dict[str, str]]) -> str:
    return "\n".join(f"{message['role']}: {message['content']}" for message in messages)


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
