"""The options of `srlm judge` -> what is to be done, checked before the file is read."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from srlm.config import apply_overrides, load_config, load_recipe, parse_config
from srlm.console import say
from srlm.engine.load import Endpoint, EngineSpec, local_model
from srlm.errors import UserError
from srlm.judge.parse import Scale
from srlm.judge.rubric import WIDEST, load_rubric
from srlm.judge_file.columns import Columns
from srlm.packaged import PROMPTS
from srlm.run.folder import Run, find_run
from srlm.run.stage import number_of
from srlm.settings import Config

STDIN = "-"


@dataclass(frozen=True)
class Options:
    """The options as typed."""

    file: str
    out: Path | None = None
    run: Path | None = None
    iteration: str | None = None
    model: str | None = None
    endpoint: str | None = None
    judge: dict[str, Any] = field(default_factory=dict)  # mode, samples, temperature; None: not given
    rubric: str | None = None
    scale: str | None = None
    columns: Columns = field(default_factory=Columns)
    concurrency: int = 32
    timeout: float = 300.0
    overrides: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Request:
    """What the user asked for, resolved: `config` holds the judge's settings; no `rubric` means whole judge prompts."""

    file: str
    out: Path | None
    columns: Columns
    config: Config
    engine: EngineSpec
    rubric: Path | None
    scale: Scale | None


def resolve(options: Options) -> Request:
    """Raises UserError for options that do not go together, and for a rubric that does not fit."""
    run = _run(options)
    config = _config(options, run)
    rubric = None if options.columns.judge_prompt else _rubric(options, config, run)
    if rubric is not None:
        _check_rubric(rubric, options, config)
    elif config.judge.compares or options.rubric:
        problem = "--judge-prompt cannot be used with a rubric or mode pairwise"
        raise UserError(problem, "leave those out: the file has the complete prompts")
    return Request(
        file=options.file,
        out=options.out,
        columns=options.columns,
        config=config,
        engine=_engine(options, config, run),
        rubric=rubric,
        scale=_scale(options),
    )


def _run(options: Options) -> Run | None:
    """The run whose model judges, if it is one's."""
    if options.run is None and options.iteration is None:
        if options.model is None:
            missing = "--endpoint also needs --model" if options.endpoint else "no judge is named"
            raise UserError(missing, "give --run RUN, --model PATH_OR_ID, or --endpoint URL --model NAME")
        return None
    if options.model or options.endpoint:
        raise UserError("--run cannot be used with --model or --endpoint", "name only one judge")
    return find_run(options.run)[0]


def _config(options: Options, run: Run | None) -> Config:
    """The run's settings, else the defaults; what was typed wins."""
    if run is not None:
        values = load_config(run.paths.config).model_dump()
    else:
        values = {"recipe": "srlm judge", "model": {"path": options.model}, "judge": load_recipe("paper")["judge"]}
    values = apply_overrides(values, options.overrides)
    judge = values["judge"] | {name: value for name, value in options.judge.items() if value is not None}
    return parse_config(values | {"judge": judge}, "srlm judge")


def _rubric(options: Options, config: Config, run: Run | None) -> Path:
    """--rubric (a file, or the name of one that ships with srlm), else the run's, else the shipped one."""
    setting = config.judge.pairwise_rubric if config.judge.compares else config.judge.rubric
    if options.rubric is None:
        return (run.paths.prompts if run is not None else PROMPTS) / setting
    named = Path(options.rubric).expanduser()
    shipped = PROMPTS / (named.name if named.suffix else f"{named.name}.txt")
    return shipped if not named.exists() and named.parent == Path() and shipped.exists() else named.resolve()


def _check_rubric(path: Path, options: Options, config: Config) -> None:
    rubric = load_rubric(path)
    if (rubric.kind == "pairwise") != config.judge.compares:
        fix = "use --mode pairwise" if rubric.kind == "pairwise" else "a pairwise one has {response_a}, {response_b}"
        raise UserError(f"{path}: a {rubric.kind} rubric cannot judge in mode {config.judge.mode}", fix)
    if rubric.needs_reference and not options.columns.reference:
        raise UserError(f"{path}: the rubric compares with a reference", "name its column: --reference COL")
    if options.scale:
        problem = "--scale only works with --judge-prompt"
        raise UserError(problem, 'a rubric gives its scale in its header: "scale = [1, 10]"')


def _scale(options: Options) -> Scale | None:
    """--scale LOW-HIGH, which whole judge prompts need."""
    if not options.columns.judge_prompt:
        return None
    match = re.fullmatch(r"(\d+)-(\d+)", options.scale or "")
    if match is None or not 0 < int(match[2]) - int(match[1]) <= WIDEST:
        problem = f"--scale {options.scale}: not a scale" if options.scale else "--judge-prompt also needs --scale"
        raise UserError(problem, "give the range of scores that these prompts ask for, e.g. --scale 1-5")
    return Scale(int(match[1]), int(match[2]))


def _engine(options: Options, config: Config, run: Run | None) -> EngineSpec:
    if options.endpoint:
        if not re.match(r"https?://[^/@]+(/|$)", options.endpoint):
            # what was typed is not repeated: it may hold a key
            raise UserError("--endpoint: not a URL, or one with a user name in it", "e.g. http://127.0.0.1:8000/v1")
        url, name = options.endpoint, str(options.model)
        return Endpoint(url=url, model=name, concurrency=options.concurrency, timeout=options.timeout)
    if run is not None:
        model = _model_of(run, options.iteration)
        return local_model(config, model, run.revision(model))
    whole = "max_length" not in config.model.model_fields_set
    return local_model(config, str(options.model), config.model.revision, whole_context=whole)


def _model_of(run: Run, iteration: str | None) -> str:
    """The weights of --iteration, by default of the last model that is trained."""
    models = [0, *run.trained]
    t = models[-1] if iteration is None else number_of(iteration, models)
    model = run.model(t)
    say(f"Judge: M{t} of {run.root}")
    return model
