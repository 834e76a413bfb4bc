"""The run folder: its paths, its record (run.json), its lock, and which stage is owed, done or stale.

A stage is the unit that is done once: `M1/train`, `M1/eval`, `M1/aift`, `M1/pairs`, `baseline/judge`.
Its digest covers the settings that it reads and the digests of its inputs; its `done` mark is written after its files.
A dead owner leaves a partial stage behind, which the next `srlm iterate` takes up again.
"""

import json
import time
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from srlm.config import DEFAULTS, KNOBS, flat, load_config, renamed
from srlm.errors import UserError
from srlm.judge.prompts import Templates
from srlm.process.lock import locked
from srlm.run.paths import BaselinePaths, ModelPaths, RunPaths
from srlm.run.stage import Stage, model_number
from srlm.settings import FORMAT, Config
from srlm.store import digest, file_digest, read_json, write_json

MADE_AT_ONCE = ("pairs", "eft")  # parts without rows of their own to go on with: unfinished, they may change freely
State = Literal["done", "partial", "owed", "stale"]
Status = Literal["running", "done", "failed", "interrupted"]
Dotted = Annotated[dict[str, Any], AfterValidator(renamed)]  # settings, by the names of today whoever wrote them


class StageRecord(BaseModel):
    """What run.json keeps of a stage: status, times, what it was made from and how it was launched."""

    model_config = ConfigDict(extra="forbid")

    status: Status
    digest: str
    settings: Dotted  # the settings it read
    inputs: dict[str, str]  # input -> digest
    started: str
    seconds: float = 0.0  # over all attempts
    attempts: int = 1
    info: dict[str, Any] = {}  # what the stage reports: how it was launched, the reference model, counts, seconds


class RunRecord(BaseModel):
    """run.json: what made this run, and the record of each stage."""

    model_config = ConfigDict(extra="forbid")

    format: int = FORMAT
    created: str
    versions: dict[str, str]
    arguments: dict[str, Any]  # of `srlm init`
    commits: dict[str, str] = {}  # hub's model, as `hub_name` writes it -> the commit that it stood for at init
    seed_digests: dict[str, str]  # seed file -> digest as split at init
    settings: Dotted  # all settings as last accepted
    changes: list[dict[str, Any]] = []  # accepted changes of settings, by their names of that time
    accepted: list[dict[str, Any]] = []  # findings of the health gate that --accept-judge went on with (loop/accept.py)
    forced: list[dict[str, Any]] = []  # what --force went on with although there is too little memory (loop/needs.py)
    stages: dict[str, StageRecord] = {}


def hub_name(model: str, revision: str | None) -> str:
    """A hub's id with the revision that the user asked for, if any: ID@REVISION."""
    return f"{model}@{revision}" if revision else model


class Run:
    """An existing run folder, opened. Raises UserError where there is none or it is broken."""

    def __init__(self, root: Path) -> None:
        self.root, self.paths = root, RunPaths(root)
        self.load()

    def load(self) -> None:
        """Read config.toml and run.json (again: another process may have written them before this one got the lock)."""
        root, paths = self.root, self.paths
        if not paths.record.is_file():
            raise UserError(f"{root} is not a run folder", "make one with `srlm init`, or name another one")
        self.config: Config = load_config(paths.config)
        found = read_json(paths.record)
        if found.get("format", 0) > FORMAT:
            problem = f"{root}: the run folder has format {found['format']}, but this srlm knows only {FORMAT}"
            raise UserError(problem, "upgrade srlm")
        try:
            self.record = RunRecord.model_validate(found)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise UserError(f"{paths.record}: {where}: {first['msg']}", "restore the file") from None

    @cached_property
    def templates(self) -> Templates:
        """The run's own copy of the prompt templates."""
        settings = self.config.judge
        return Templates(self.paths.prompts, settings.rubric, settings.pairwise_rubric)

    def at(self, t: int) -> ModelPaths:
        """The files of M_t."""
        return self.paths.model(t)

    def model(self, t: int) -> str:
        """Folder (or, for M0, perhaps a Hugging Face id) of M_t's weights. Raises UserError where they were removed."""
        self.must_have(f"M{t}")
        return str(self.at(t).weights) if t else self.config.model.path

    def removed(self, name: str) -> dict[str, Any] | None:
        """What was noted of the weights of "M2" or "baseline" before they were removed; None where they were not.

        It belongs to the record of their training: a model that is made anew has its weights.
        """
        made = self.record.stages.get(f"{name}/train")
        return made.info.get("removed") if made else None

    def must_have(self, name: str, user: str = "") -> None:
        """Raise UserError where the weights of a model, which `user` (a stage) would load, were removed."""
        if not self.removed(name):
            return
        first = name  # the way back begins at the first model whose start is still there
        while self.removed(before := f"M{model_number(first) - 1}"):
            first = before
        n = self.begun[-1] if user else model_number(name)  # as the last model it stays
        raise UserError(
            f"{user or self.root}: the weights of {name} were removed (train.keep_models)",
            f"to train {first} again and set aside all that was made from it: "
            f"srlm iterate {n} --run {self.root} --redo {first}",
        )

    def revision(self, model: str) -> str | None:
        """What is loaded of a hub's model: the commit that it stood for at init, so that it is one model all along.

        Where none was noted then: the revision as set. None for a local folder.
        """
        asked = self.config.model.revision if model == self.config.model.path else None
        return self.record.commits.get(hub_name(model, asked), asked)

    def seed(self, name: str) -> Path:
        """One of the seed files: ift, eft (or ranked), held_out_eft, eval_prompts."""
        return self.paths.seed(name)

    @property
    def baseline(self) -> BaselinePaths:
        """The files of the baseline and of the EFT that is built with it."""
        return self.paths.baseline

    @property
    def builds_eft(self) -> bool:
        """Whether the run was made from ranked responses, from which it first builds its EFT."""
        return "ranked" in self.record.seed_digests

    @property
    def eft(self) -> Path:
        """What M1 learns judging from: the EFT of the seed data, or the one that was built."""
        return self.baseline.eft if self.builds_eft else self.seed("eft")

    def log(self, name: str) -> Path:
        """The log file of a child process; the folder is made."""
        self.paths.logs.mkdir(exist_ok=True)
        return self.paths.logs / f"{name}.log"

    @property
    def begun(self) -> list[int]:
        """The models that the run has begun to make or measure, by number; M0 is always there."""
        return list(range(1 + max([0, *(model_number(name) for name in self.record.stages)])))

    @property
    def trained(self) -> list[int]:
        """The models whose training is finished, by number."""
        stages = self.record.stages
        return [t for t in self.begun if (made := stages.get(f"M{t}/train")) and made.status == "done"]

    @property
    def measured(self) -> list[int]:
        """The models of which there are figures, by number."""
        return [t for t in self.begun if self.at(t).metrics.exists()]

    @property
    def last(self) -> int:
        """The number of the model after the last one that is begun: up to here, stages may be recorded."""
        return len(self.begun)

    # --- which stage is owed -------------------------------------------------------------------------------------

    def settings_of(self, stage: Stage) -> dict[str, Any]:
        """The settings that the stage's digest covers, dotted."""
        values = flat(self.config, knobs=False)
        return {
            key: value for key, value in values.items() if key in stage.settings or key.split(".")[0] in stage.settings
        }

    def inputs_of(self, stage: Stage) -> dict[str, str]:
        """Digest of each input: another stage's, a seed file's, a template's, or that of the file of instructions."""
        result = {}
        for name in stage.inputs:
            kind, _, rest = name.partition("/")
            if kind == "seed":
                result[name] = file_digest(self.seed(rest))
            elif name == "prompts/pairwise":
                if self.config.judge.compares:
                    result[name] = self.templates.pairwise.digest
            elif name == "prompts/versus":
                compares = self.config.versus.mode == "pairwise"
                result[name] = self.templates.pairwise.digest if compares else self.templates.rubric.digest
            elif kind == "prompts":
                result[name] = self.templates.digests()[rest]
            elif kind == "instructions":  # a file of the user's; the current model and a fixed one need no digest
                source = self.config.instructions
                result[name] = file_digest(Path(source.path)) if source.source == "file" else source.source
            else:
                record = self.record.stages.get(name)
                result[name] = record.digest if record else "owed"
        return result

    def state(self, stage: Stage) -> tuple[State, str]:
        """done, partial, owed or stale; and why, in words."""
        record = self.record.stages.get(stage.name)
        if record is None:
            return "owed", "not started"
        if record.status != "done" and stage.part in MADE_AT_ONCE:
            return "owed", record.status
        if differs := self._difference(stage, record):
            return "stale", differs
        if record.status != "done":
            return "partial", f"{record.status}, will continue"
        main = stage.outputs[0]
        return ("done", "") if main.exists() else ("stale", f"{main.relative_to(self.root)} is missing")

    def _difference(self, stage: Stage, record: StageRecord) -> str:
        """What differs between a recorded stage and the present settings and inputs; "" when nothing does."""
        now, inputs = self.settings_of(stage), self.inputs_of(stage)
        then = {key: DEFAULTS[key] for key in now if key in DEFAULTS}  # it knew of no newer settings
        then |= {key: value for key, value in record.settings.items() if key not in KNOBS}  # nor of what is now a knob
        found = [
            f"{key} was {json.dumps(then.get(key))}, is now {json.dumps(now.get(key))}"
            for key in sorted({*now, *then})
            if now.get(key) != then.get(key)
        ]
        found += [f"{name} has changed" for name, value in inputs.items() if record.inputs.get(name) != value]
        return "; ".join(found)

    # --- recording -----------------------------------------------------------------------------------------------

    def begin(self, stage: Stage) -> None:
        """Record that the stage is being worked on."""
        old = self.record.stages.get(stage.name)
        settings, inputs = self.settings_of(stage), self.inputs_of(stage)
        self.record.stages[stage.name] = StageRecord(
            status="running",
            digest=digest(settings, inputs),
            settings=settings,
            inputs=inputs,
            started=old.started if old else now(),
            seconds=old.seconds if old else 0.0,
            attempts=old.attempts + 1 if old else 1,
        )
        self.save()

    def end(self, stage: Stage, status: Status, seconds: float, info: dict[str, Any]) -> None:
        """Record how the stage ended and what it reports; its files are in place before a `done`."""
        record = self.record.stages[stage.name]
        record.status = status
        record.seconds = round(record.seconds + seconds, 2)
        record.info |= info
        self.save()

    def note_removed(self, name: str, weights: str | None) -> None:
        """Record that the weights of a model are about to be removed, with the digest that tells them from others."""
        self.record.stages[f"{name}/train"].info["removed"] = {"time": now(), "weights": weights}
        self.save()

    def accept_changes(self) -> list[dict[str, Any]]:
        """Record settings that changed since last time (called when no finished stage is stale); return them."""
        old, new = DEFAULTS | self.record.settings, flat(self.config)
        changed = [
            {"time": now(), "key": key, "was": old.get(key), "is": new.get(key)}
            for key in sorted({*old, *new})
            if old.get(key) != new.get(key)
        ]
        if changed:
            self.record.changes += changed
            self.record.settings = new
            self.save()
        return changed

    def save(self) -> None:
        """Replace run.json."""
        write_json(self.paths.record, self.record.model_dump(mode="json"))

    def lock(self) -> AbstractContextManager[int]:
        """Hold the run for this process, and for the children that inherit the lock's file descriptor.

        Raises UserError while another process holds it.
        """
        return locked(self.paths.lock, str(self.root), "wait for it to finish, or stop it")


def now() -> str:
    """The time in UTC, as run.json writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def find_run(named: Path | None, runs: Path = Path("runs")) -> tuple[Run, str]:
    """The named run, else the only or the latest one under `runs`; and how it was chosen, in words."""
    if named is not None:
        return Run(named), "as named"
    found = sorted(runs.glob("[!.]*/run.json"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise UserError(f"there is no run in {runs}/", "make one with `srlm init`, or name it with --run")
    return Run(found[-1].parent), "the only run" if len(found) == 1 else f"the latest of {len(found)} runs"
