"""`srlm export`: one model of a run for others: its weights with a card, its answers, the pairs that it learned from.

OUT/model/                a model folder with a filled card (README.md), ready for upload
OUT/model_outputs.json    its answers to the held-out prompts, as alpaca_eval reads them
OUT/preferences/          the pairs that it was trained on, a `datasets` folder that TRL's DPOTrainer takes
"""

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from srlm.config import flat
from srlm.console import say
from srlm.errors import UserError
from srlm.loop.best import say_if_better
from srlm.measure.figures import measured_model, read_figures
from srlm.measure.versus.answers import held_out_answers
from srlm.model.adapter import adapter_of
from srlm.process.launch import run_child
from srlm.process.lock import locked
from srlm.records import PreferencePair
from srlm.run.folder import Run
from srlm.store import read_rows, write_json, write_text
from srlm.train.merge import MergeJob
from srlm.train.steps import STEPS, step_of

KEPT_BACK = "training.json"  # the trainer's record, with paths of this machine
TABLES = ("instructions", "rollout", "judge", "pairs", "train", *STEPS)  # settings that a card shows


def model_to_export(run: Run, name: str | None) -> int:
    """The t of the model `name`, else of the last one; then says so, and which one is the best. Raises UserError."""
    t = measured_model(run, name)
    if name is None:
        say(f"M{t}, the last measured model of {run.root}")
        say_if_better(run, t, f"To export it: srlm export {run.root} {{best}}")
    return t


def export_model(run: Run, t: int, out: Path) -> Path:
    """Write the folder for M_t in one step; returns it. Raises UserError where it exists or M_t is not finished."""
    if out.exists():
        raise UserError(f"{out} already exists", "choose another folder with --out, or move it away")
    model = Path(run.model(t))
    if t < 1 or not model.is_dir() or t not in run.measured:
        problem = f"{run.root}: M{t} is not trained and measured yet"
        raise UserError(problem, f"run `srlm iterate {max(t, 1)} --run {run.root}`")
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        _write_model(run, t, temporary / "model")
        write_text(temporary / "model" / "README.md", card(run, t, read_figures(run, t)))
        write_json(temporary / "model_outputs.json", list(_outputs(run, t)))
        if step_of(t).on_pairs:
            _save_pairs(read_rows(step_of(t).rows(run, f"M{t}"), PreferencePair), temporary / "preferences")
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return out


def _write_model(run: Run, t: int, folder: Path) -> None:
    """The model's own folder; an adapter is merged into its base."""
    model = run.model(t)
    if adapter_of(model) is None:
        shutil.copytree(model, folder, ignore=shutil.ignore_patterns(KEPT_BACK))
        return
    folder.mkdir(parents=True)
    job = MergeJob(adapter=model, out=folder, save_dtype=run.config.train.save_dtype)
    with locked(folder.with_name("lock"), str(folder), "wait for it to finish") as lock:
        run_child("srlm.train.merge", job, run.log(f"M{t}-merge"), [], lock)
    folder.with_name("lock").unlink()


def _outputs(run: Run, t: int) -> Iterator[dict[str, str]]:
    """Rows of alpaca_eval, which knows single turns only: other conversations are left out."""
    name = f"{run.root.name}-M{t}"
    for messages, text in held_out_answers(run, t).values():
        if [turn["role"] for turn in messages] == ["user"]:
            yield {"dataset": "held out", "instruction": messages[0]["content"], "output": text, "generator": name}


def _save_pairs(pairs: Iterable[PreferencePair], folder: Path) -> None:
    from datasets import Dataset, disable_progress_bars  # heavy, and needed here alone

    disable_progress_bars()
    rows = [pair.model_dump(exclude={"rejected_from"}) for pair in pairs]
    Dataset.from_list(rows).save_to_disk(str(folder))


def card(run: Run, t: int, figures: dict[str, Any]) -> str:
    """The model card: lineage, data, settings and metrics, with the head that hubs read. No path of this machine."""
    from huggingface_hub import ModelCardData

    base = Path(run.config.model.path)
    name = base.name if base.is_dir() or base.is_absolute() else str(base)
    tags = ["self-rewarding", step_of(2).name, "srlm"]  # M1, too, is found by what follows it
    head = ModelCardData(base_model=name, library_name="transformers", tags=tags)
    judge = run.config.judge.model or "each model judged its own answers"
    commit = None if base.is_dir() else run.revision(run.config.model.path)
    lineage = f"- M0: `{name}`" + (f" at `{commit}`" if commit else "")
    steps = [lineage, *(f"- M{k}: {step_of(k).lineage(k)}" for k in range(1, t + 1))]
    parts = [
        f"---\n{head.to_yaml()}\n---",
        f"# {run.root.name}, M{t}\n\nA self-rewarding language model (arXiv:2401.10020), made with srlm.",
        "## Lineage\n\n" + "\n".join(steps) + f"\n\nJudge: {judge}",
        "## Data\n\n" + _table(_data(run, t)),
        "## Metrics\n\nOn held-out prompts and responses; intervals are 95%.\n\n" + _table(_metrics(figures)),
        "## Settings\n\n" + _table(_settings(run)),
        "## Limits\n\nThe model was trained on its own judgements, which share its errors. Its safety was not tested.",
    ]
    return "\n\n".join(parts) + "\n"


def _data(run: Run, t: int) -> dict[str, Any]:
    names = [named for k in range(1, t + 1) for named in step_of(k).sources(run, k).items()]
    return {f"{name} (rows)": sum(1 for _ in path.open()) for name, path in names if path.exists()}


def _metrics(figures: dict[str, Any]) -> dict[str, Any]:
    """Those that people look for first, of those that are there."""
    answers, judge = figures["answers"], figures["judge"]
    found = {f"answers: {name}": answers.get(name) for name in ("self_score", "chars", "distinct_2")}
    found |= {f"ground truth: {name[6:]}": value for name, value in answers.items() if name.startswith("truth_")}
    names = ("pairwise_accuracy", "pairwise_interval", "spearman", "parse_rate")
    found |= {f"judge: {name}": judge.get(name) for name in names}
    versus = figures.get("versus") or {"against": {}}
    for other, met in versus["against"].items():
        shown = {"win rate": "win_rate", "its interval": "interval", "at equal length": "controlled"}
        who = f"against {other}, judge {Path(versus['judge']['model']).name}"
        found |= {f"{who}: {label}": met[key] for label, key in shown.items()}
    return {name: value for name, value in found.items() if value is not None}


def _settings(run: Run) -> dict[str, Any]:
    # an address says nothing about the model, and something about the machines it was made on
    values = {k: v for k, v in flat(run.config).items() if k.split(".")[0] in TABLES and not k.endswith(".endpoint")}
    return {"recipe": run.config.recipe, "run.seed": run.config.run.seed} | {
        key: Path(value).name if key == "instructions.path" else value for key, value in values.items()
    }


def _table(values: dict[str, Any]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {_cell(value)} |" for name, value in values.items())])


def _cell(value: Any) -> str:
    if isinstance(value, list) and value and all(isinstance(part, float) for part in value):
        return " to ".join(f"{part:.3f}" for part in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "\\|").replace("\n", " ")
