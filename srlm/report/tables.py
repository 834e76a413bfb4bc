"""The data of a run as tables and text on stdout. What models wrote goes through `safe`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

from srlm.console import gib, out, safe
from srlm.report.bars import bar, histogram, sparkline

NOTHING = "-"  # what is not there, or not defined
BAR = 40  # characters of the longest bar
WIDTH, MORE = 100, 17  # columns of the overview with up to four models, and for each further one
LOST = 0.5  # share of a training's gain that the saved model must have
PLAIN_COURSES = ("step", "total_steps", "epoch", "tokens", "seconds")  # which only count on: no curve


# --- the whole run ---------------------------------------------------------------------------------------------------


def print_run(data: dict[str, Any]) -> None:
    """The iterations side by side: one column per model, one line per figure."""
    models = data["models"]
    line(f"{data['run']}: {data['model']}, recipe {data['recipe']}, seed {data['seed']}")
    if data["judge"]:
        line(f"Judged by {data['judge']} at a server: figures of the judge are its own, not the models'")
    if data["baseline"]:
        _print_baseline(data["baseline"])
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for model in models:
        table.add_column(model["model"], justify="right")
    for label, cells in _lines(models):
        if any(cell != NOTHING for cell in cells):
            table.add_row(label, *(safe(cell) for cell in cells))
    out().print(table, width=min(out().width, WIDTH + MORE * max(0, len(models) - 4)))
    if data["best"]:
        line(f"Best so far: {data['best']['model']} ({data['best']['why']})")


def _print_baseline(baseline: dict[str, Any]) -> None:
    """How EFT came from ranked responses, or how far that is."""
    unfinished = [f"{name} {stage['state']}" for name, stage in baseline["stages"].items() if stage["state"] != "done"]
    if unfinished:
        judged = f"{baseline['judged']} of {baseline['ranked']} ranked responses judged"
        line(f"EFT from ranked responses: {', '.join(unfinished)} ({judged})")
    if not (eft := baseline["eft"]):
        return
    figures = ("responses", "judgements", "pairwise_accuracy", "kept", "dropped")
    _print_figures("EFT from ranked responses", {name: eft[name] for name in figures})
    columns = ("judged", "agreeing", "kept")
    table = _table("Judgements by score", "score", *columns)
    for score in sorted(eft["scores_judged"], key=float):
        table.add_row(score, *(str(eft[f"scores_{column}"].get(score, 0)) for column in columns))
    out().print(table)
    line("Judgements are kept if they agree with people. The exact rule is in docs/seed-data.md")


def _lines(models: list[dict[str, Any]]) -> Iterable[tuple[str, list[str]]]:
    """(label, one cell per model) for each figure of the overview."""

    def one(label: str, show: Callable[[Any], str], *path: str) -> tuple[str, list[str]]:
        return label, [show(_at(model, *path)) for model in models]

    answers, judge = ("metrics", "answers"), ("metrics", "judge")
    yield one("ground truth: score", number, *answers, "truth_score")
    yield one("ground truth: fully correct", percent, *answers, "truth_correct")
    yield one("self-score", number, *answers, "self_score")
    yield one("judge: pairwise accuracy", percent, *judge, "pairwise_accuracy")
    yield one("  95% interval", interval, *judge, "pairwise_interval")
    won = [_won(model) for model in models]
    yield "win rate against the model before", [percent(found.get("win_rate")) for found in won]
    yield "  95% interval", [interval(found.get("interval")) for found in won]
    yield one("judge: Spearman", number, *judge, "spearman")
    yield one("judge: replies parsed", percent, *judge, "parse_rate")
    yield one("answer length (characters)", whole, *answers, "chars")
    yield one("prompts with tied answers", percent, *answers, "tie_rate")
    yield one("prompts with a usable pair", percent, *answers, "usable_pair_rate")
    yield "canaries that pass as answers", [_passed(model) for model in models]
    yield "health gate", [_gate(model) for model in models]
    yield "  checks without a figure", [_unmeasured(model) for model in models]
    yield "AIFT: instructions kept / asked", [_kept(model) for model in models]
    yield one("AIFT: preference pairs", whole, "aift", "pairs", "pairs")
    yield "weights", [_weights(model) for model in models]
    yield "training (s)", [_seconds(model, "train") for model in models]
    yield "generation (s)", [_seconds(model, "eval", "aift") for model in models]
    yield "unfinished", [_unfinished(model) for model in models]


def _kept(model: dict[str, Any]) -> str:
    counts = _at(model, "aift", "instructions")
    return f"{counts['kept']} / {counts['asked']}" if counts else NOTHING


def _passed(model: dict[str, Any]) -> str:
    """How many canaries pass, of those that got a score."""
    found = _at(model, "metrics", "canaries")
    scored = [score for score in found["scores"].values() if score is not None] if found else []
    return f"{len(found['passed'])} of {len(scored)}" if scored and found["median"] is not None else NOTHING


def _won(model: dict[str, Any]) -> dict[str, Any]:
    """The model head to head with the one before it; {} where the two did not meet."""
    found: dict[str, Any] = _at(model, "metrics", "versus", "against", f"M{int(model['model'][1:]) - 1}") or {}
    return found


def _gate(model: dict[str, Any]) -> str:
    """passed, or the checks that found something, and what became of them."""
    gate = _at(model, "metrics", "gate")
    if gate is None:
        return NOTHING
    names = [finding["check"] + (" (waived)" if finding["waived"] else "") for finding in gate["findings"]]
    stopped = not gate["accepted"] and not all(finding["waived"] for finding in gate["findings"])
    found = ", ".join(dict.fromkeys(names)) + (" (accepted)" if gate["accepted"] else "") or "passed"
    return f"stopped: {found}" if stopped else found


def _unmeasured(model: dict[str, Any]) -> str:
    """How many checks of the gate had no figure to look at."""
    unseen = _at(model, "metrics", "gate", "unmeasured")  # an earlier version did not say
    return str(len(unseen)) if unseen else NOTHING


def _weights(model: dict[str, Any]) -> str:
    return "removed" if _at(model, "stages", "train", "info", "removed") else NOTHING


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
    """One model: its stages, its figures and their shapes, what was dropped and why, and examples."""
    _print_stages(data)
    _print_training(data["training"])
    _print_survives(_at(data, "stages", "train", "info", "survives"))
    _print_peak(_at(data, "stages", "train", "info") or {})
    for title, name in (("Judge, on held-out EFT", "judge"), ("Answers to the held-out prompts", "answers")):
        _print_figures(title, _at(data, "metrics", name))
    _print_against(data["metrics"] or {})
    _print_figures("Canaries: worthless answers, and the scores that they get", _at(data, "metrics", "canaries"))
    pairs = (data["aift"] or {}).get("pairs") or {}  # has a table of its own
    judged = {name: value for name, value in (_at(data, "metrics", "aift") or {}).items() if name not in pairs}
    _print_figures("Judge, on its own answers to new instructions", judged)
    _print_gate(_at(data, "metrics", "gate"))
    _print_lengths(data["lengths"])
    aift = data["aift"] or {}
    _print_figures("New instructions", aift.get("instructions"))
    _print_figures("Preference pairs", aift.get("pairs"))
    _print_histogram("Its judgements of the held-out answers", _at(data, "metrics", "answers", "score_histogram"))
    _print_histogram("Its judgements of the answers to new instructions", data["rollouts"]["score_histogram"])
    _print_histogram("Margins of the pairs (lower edge)", data["rollouts"]["margins"])
    for row in data["examples"]["answers"]:
        _print_answer(row)
    for row in data["examples"]["pairs"]:
        _print_pair(row)


def _print_stages(data: dict[str, Any]) -> None:
    columns = ("stage", "state", "seconds", "tokens", "tokens/s", "attempts", "")
    table = _table(f"{data['model']}: stages", *columns)
    for name, stage in data["stages"].items():
        wrote = (_count(stage["tokens"]), _count(stage["tokens_per_second"]))
        table.add_row(
            name, stage["state"], number(stage["seconds"]), *wrote, str(stage["attempts"]), safe(stage["why"])
        )
    out().print(table)


def _print_training(training: dict[str, Any] | None) -> None:
    if training is None:
        return
    table = _table("Training", "", "first row", "last row", "course")
    for name in training["last"]:
        values = training["course"].get(name)
        shape = sparkline(values) if values and name not in PLAIN_COURSES else ""
        table.add_row(safe(name), *(_figure(training[row].get(name)) for row in ("first", "last")), shape)
    out().print(table)


def _print_survives(found: dict[str, Any] | None) -> None:
    """What is left of the training in the model that was saved; nothing where an earlier version did not measure it."""
    if found is None:
        return
    shares = f"{percent(found['stored'])} as stored / {percent(found['bfloat16'])} in bfloat16"
    line(f"update that survives: {shares} (on {found['rows']} training rows)")
    if found["stored"] is not None and found["stored"] < LOST:
        line('Warning: most of what this training learned was lost when it was saved: set train.save_dtype = "float32"')


def _print_peak(info: Mapping[str, Any]) -> None:
    """What the training took of the GPU or of memory; nothing where an earlier version did not measure it."""
    if "peak_memory" in info:
        line(f"memory at the fullest moment: {gib(info['peak_memory'])} on {safe(info['device'])}")


def _print_against(metrics: Mapping[str, Any]) -> None:
    """The held-out answers against those of earlier models: before the judge of the head to head, and by the grader."""
    won, graded = (_at(metrics, by, "against") or {} for by in ("versus", "truth"))
    if not won and not graded:
        return
    columns = ("win rate", "95%", "length-controlled", "95%", "ground truth", "95%")
    table = _table("Its answers against those of", "", *columns)
    for model in sorted(won.keys() | graded.keys()):
        met, change = won.get(model, {}), graded.get(model, {})
        rates = (percent(met.get("win_rate")), interval(met.get("interval")))
        controlled = (percent(met.get("controlled")), interval(met.get("controlled_interval")))
        table.add_row(model, *rates, *controlled, _gain([change.get("score")]), _gain(change.get("interval") or [None]))
    out().print(table)


def _gain(values: Sequence[float | None]) -> str:
    return " to ".join(NOTHING if value is None else f"{value:+.2f}" for value in values)


def _print_lengths(lengths: dict[str, float]) -> None:
    """How the length of the answers drifts from model to model, and against the first that is not the base."""
    if len(lengths) < 2:
        return
    table = _table("Length of the held-out answers (characters)", "", "", "", "")
    longest, start = max(lengths.values()), lengths.get("M1")
    for model, chars in lengths.items():
        drift = f"{chars / start - 1:+.1%} against M1" if start and model not in ("M0", "M1") else ""
        table.add_row(model, whole(chars), bar(chars / longest if longest else 0.0, BAR), drift)
    out().print(table)


def _print_histogram(title: str, counts: dict[str, int] | None) -> None:
    if not counts:
        return
    table = _table(title, "", "", "", "")
    for cells in histogram(counts, BAR):
        table.add_row(*cells)
    out().print(table)


def _print_figures(title: str, figures: Mapping[str, Any] | None) -> None:
    """Name and value of each figure; counts by reason become one line each."""
    if not figures:
        return
    table = _table(title, "", "")
    for name, value in figures.items():
        if name == "score_histogram":  # drawn
            continue
        table.add_row(name.replace("_", " "), "" if isinstance(value, dict) and value else _figure(value))
        if isinstance(value, dict):
            for reason, count in value.items():
                table.add_row(safe(f"  {reason}"), _figure(count))
    out().print(table)


def _print_gate(gate: dict[str, Any] | None) -> None:
    if gate is None:
        return
    stops = not all(finding["waived"] for finding in gate["findings"])
    heading(
        "Health gate: "
        + ("accepted with --accept-judge" if gate["accepted"] else "stopped the run" if stops else "passed")
    )
    for finding in gate["findings"]:
        line(finding["text"])
    if gate.get("unmeasured"):
        line(f"not measured, so not checked: {', '.join(gate['unmeasured'])}")


def _print_answer(row: dict[str, Any]) -> None:
    rollout = row["rollout"]
    heading(f"Held-out prompt {rollout['id']}")
    line(conversation(rollout["messages"]))
    if rollout["dropped"]:
        line(f"left out: {rollout['dropped']}")
    truth = row["truth"] or [None] * len(rollout["candidates"])
    for candidate, score, marks in zip(rollout["candidates"], row["scores"], truth, strict=True):
        given = ", ".join(_figure(judgement["score"]) for judgement in candidate["judgements"])
        ground = "; truth " + ", ".join(f"{name} {_figure(value)}" for name, value in marks.items()) if marks else ""
        line(f"\n--- answer ({candidate['finish']}), self-score {number(score)} ({given}){ground}")
        line(candidate["text"])
        if candidate["judgements"]:
            said = "judgement: " + candidate["judgements"][0]["text"]
            line("\n".join(f"    {text}" for text in said.splitlines()))


def _print_pair(row: dict[str, Any]) -> None:
    heading(f"Preference pair {row['id']}, margin {number(row['margin'])}")
    line(conversation(row["prompt"]))
    for side in ("chosen", "rejected"):
        line(f"\n--- {side}, self-score {number(row[f'{side}_score'])}")
        line(row[side][-1]["content"])


# --- small parts -----------------------------------------------------------------------------------------------------


def number(value: float | None) -> str:
    """Two decimals."""
    return NOTHING if value is None else f"{value:.2f}"


def whole(value: float | None) -> str:
    """No decimals."""
    return NOTHING if value is None else f"{value:.0f}"


def _count(value: float | None) -> str:
    return NOTHING if value is None else f"{value:,.0f}"


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
    heading(title)
    table = Table(box=None, show_header=any(columns), pad_edge=False)
    for column in columns:
        table.add_column(column)
    return table


def heading(text: str) -> None:
    """A title, with an empty line before it."""
    out().print()
    out().print(safe(text), style="bold", soft_wrap=True)


def line(text: str) -> None:
    """Text of any kind and length, with its line breaks."""
    out().print(safe(text), soft_wrap=True)


def conversation(messages: list[dict[str, str]]) -> str:
    """The turns, each with its role."""
    return "\n".join(f"{message['role']}: {message['content']}" for message in messages)
