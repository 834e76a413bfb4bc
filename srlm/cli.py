"""The command line: thin Typer commands. What is heavy is imported inside them."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, get_args

import typer
from typer.exceptions import TyperException

from srlm import __version__, seed_cli
from srlm.errors import DONE, FINDING, INTERRUPTED, USER_ERROR, StageError, UserError
from srlm.settings import JudgeSettings

if TYPE_CHECKING:
    from srlm.run.folder import Run

app = typer.Typer(
    name="srlm",
    help="Self-rewarding language models: a model answers, judges its own answers, and learns from what it prefers.",
    epilog="Start with: srlm init runs/demo --recipe demo && srlm iterate 3 --run runs/demo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # its tracebacks print local variables, secrets among them
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(seed_cli.app, name="seed")

RunArgument = Annotated[
    Path | None, typer.Argument(metavar="RUN", help="The run folder. Default: the latest one in runs/.")
]
RunOption = Annotated[Path | None, typer.Option("--run", help="The run folder. Default: the latest one in runs/.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting.")]
MODES = ", ".join(get_args(JudgeSettings.model_fields["mode"].annotation))
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


@app.command(epilog="srlm init runs/a --model ./my-model --ift ift.jsonl --eft eft.jsonl --recipe small")
def init(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The run folder to create.")],
    model: Annotated[str | None, typer.Option(help="Base model M0: a folder or a Hugging Face id.")] = None,
    ift: Annotated[Path | None, typer.Option(help="Instruction data: JSONL, JSON, CSV or Parquet.")] = None,
    eft: Annotated[Path | None, typer.Option(help="Judging data: JSONL, JSON, CSV or Parquet.")] = None,
    ranked: Annotated[
        Path | None, typer.Option(help="Instead of --eft: ranked responses. The run builds its EFT from them.")
    ] = None,
    oasst: Annotated[
        list[str] | None, typer.Option(help="Instead of --ift and --eft: an OASST export (see `srlm seed oasst`).")
    ] = None,
    held_out_eft: Annotated[
        Path | None, typer.Option(help="Ranked responses to measure the judge on. Default: a part of EFT.")
    ] = None,
    eval_prompts: Annotated[
        Path | None, typer.Option(help="Held-out evaluation prompts. Default: a part of the IFT prompts.")
    ] = None,
    recipe: Annotated[str, typer.Option(help="Settings to start from: demo, small or paper.")] = "paper",
    set_: Overrides = None,
) -> None:
    """Check the model and the seed data, and create a run folder."""
    from srlm.report.memory import init_lines
    from srlm.run.init import Sources, init_run

    sources = Sources(
        model=model,
        ift=ift,
        eft=eft,
        ranked=ranked,
        oasst=tuple(oasst or ()),
        held_out_eft=held_out_eft,
        eval_prompts=eval_prompts,
        recipe=recipe,
        overrides=tuple(set_ or ()),
    )
    made = init_run(run, sources)
    made.show([] if made.already else init_lines(made.root))


@app.command(epilog="srlm iterate 3 --run runs/a")
def iterate(
    n: Annotated[int, typer.Argument(metavar="N", min=0, help="The model to reach: 3 for M3.")],
    run: RunOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")] = False,
    redo: Annotated[
        str | None,
        typer.Option(
            help='Redo "M2" (a model), "M1/aift" (a stage) or "stale" (all stale stages), and what follows from it.'
        ),
    ] = None,
    accept_judge: Annotated[
        bool,
        typer.Option("--accept-judge", help="Continue despite the health gate's findings. run.json records them."),
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Stop if a new model is not promoted.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Run even if memory is too small. run.json says so.")] = False,
) -> None:
    """Bring the run to M_N: train each model, measure it, and let it make the training data for the next one.

    You can stop and rerun this at any time. It continues where it stopped.
    """
    from srlm.console import say

    found = _open(run)
    if dry_run:
        from srlm.report.dry_run import show_plan

        show_plan(found, n, redo)  # `--redo` moves nothing here
        return
    from srlm.iterate import iterate as bring_to

    with _stoppable(f"Stopped. Finished work is safe. To continue: srlm iterate {n} --run {found.root}"):
        bring_to(found, n, redo, accept_judge, strict, force)
    say(f"{found.root} has reached M{n}. To see the results: srlm inspect {found.root}")


@app.command(epilog="srlm inspect runs/a M2 --sort disagreement")
def inspect(
    run: RunArgument = None,
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help="One model, e.g. M2.")] = None,
    row: Annotated[str | None, typer.Option(help="Show one row in full: its answers, judgements and pair.")] = None,
    sort: Annotated[str | None, typer.Option(help="List rows by margin, score, length or disagreement.")] = None,
    grep: Annotated[str | None, typer.Option(help="List rows that match a regular expression.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many rows to list.")] = 20,
    reverse: Annotated[bool, typer.Option("--reverse", help="List the lowest first.")] = False,
    html: Annotated[bool, typer.Option("--html", help="Write RUN/report.html: charts and rows on one page.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show a run: all models as a table or a page, one model with examples, or single rows."""
    from srlm.console import out
    from srlm.report import inspect_rows, inspect_run, say_outdated

    found = _open(run)
    if html:
        from srlm.report.html import write_page

        say_outdated(found)
        out().print(str(write_page(found)), soft_wrap=True)
    elif row or sort or grep:
        inspect_rows(found, model, row=row, sort=sort, grep=grep, limit=limit, reverse=reverse, as_json=as_json)
    else:
        inspect_run(found, model, as_json)


@app.command("eval", epilog="srlm eval runs/a --against M1")
def evaluate(
    run: RunArgument = None,
    against: Annotated[
        str | None, typer.Option(help="M1, a model's folder or id, or an alpaca_eval file. Default: earlier models.")
    ] = None,
    prompts: Annotated[Path | None, typer.Option(help="Prompts in alpaca_eval's form. Default: held-out ones.")] = None,
    tasks: Annotated[
        str | None,
        typer.Option(
            help="Run lm-evaluation-harness tasks instead: names, YAML files or folders, with commas between."
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="With --tasks: at most this many questions per task.")
    ] = None,
    few_shot: Annotated[
        int | None, typer.Option(min=0, help="With --tasks: examples before each question. Default: as the task says.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the models of a run head to head. The judge is the model named in [versus], or else M1.

    With --tasks: run tasks of lm-evaluation-harness on M0, M1, and so on, and show what training cost there.
    """
    from srlm.measure.harness.command import eval_tasks
    from srlm.measure.versus.command import eval_run

    if tasks is not None and (against or prompts):
        raise UserError("--tasks cannot be combined with --against or --prompts", "use two commands")
    if tasks is None and (limit or few_shot is not None):
        raise UserError("--limit and --few-shot only work with --tasks", "name the tasks with --tasks")
    found = _open(run)
    with _stoppable("Stopped. Finished work is safe. To continue, run the same command again."):
        if tasks is None:
            eval_run(found, against, prompts, as_json)
        else:
            eval_tasks(found, tasks, limit, few_shot, as_json)


@app.command(epilog="srlm measure runs/a")
def measure(run: RunArgument = None) -> None:
    """Recompute the figures of every model from the run's rows, for example after an upgrade. Loads no model."""
    from srlm.measure.figures import measure_run

    measure_run(_open(run))


@app.command(epilog="srlm export runs/a M2 --out my-model")
def export(
    run: RunArgument = None,
    model: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="Which model, e.g. M2. Default: the last measured one.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The folder to create. Default: RUN/export-M2 (for M2).")] = None,
) -> None:
    """Export a model with its model card, its answers (for alpaca_eval) and its training pairs (for TRL)."""
    from srlm.console import out as stdout
    from srlm.loop.export import export_model, model_to_export
    from srlm.run.folder import find_run

    found, _ = find_run(run)
    t = model_to_export(found, model)
    stdout().print(str(export_model(found, t, out or found.root / f"export-M{t}")), soft_wrap=True)


@app.command(epilog="srlm view runs/a")
def view(
    run: RunArgument = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1. 0 picks a free one.")] = 8765,
) -> None:
    """Show the whole run as a web page, to browsers on this machine only. Stop it with Ctrl+C."""
    from srlm.report.view import serve

    serve(_open(run), port)


@app.command(epilog="srlm judge answers.jsonl --run runs/a | srlm judge answers.csv --endpoint URL --model NAME")
def judge(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help='JSONL, JSON, CSV or Parquet. "-" reads JSONL from stdin and writes to stdout.'
        ),
    ],
    run: Annotated[Path | None, typer.Option("--run", help="Judge with a run's model, settings and rubric.")] = None,
    iteration: Annotated[str | None, typer.Option(help="One of the run's models, e.g. M2. Default: the last.")] = None,
    model: Annotated[str | None, typer.Option(help="The judge: a folder, a Hugging Face id or a served name.")] = None,
    endpoint: Annotated[str | None, typer.Option(help="OpenAI-compatible server. OPENAI_API_KEY: its key.")] = None,
    out: Annotated[Path | None, typer.Option(help="Its ending sets the format. Default: FILE.judged.EXT.")] = None,
    mode: Annotated[str | None, typer.Option(help=f"How to score: {MODES}.")] = None,
    rubric: Annotated[str | None, typer.Option(help="A rubric file, or a shipped one: judge_1_10, ...")] = None,
    samples: Annotated[int | None, typer.Option(help="Judgements per response (K).")] = None,
    temperature: Annotated[float | None, typer.Option(help="Sampling temperature of the judge.")] = None,
    prompt: Annotated[str | None, typer.Option(metavar="COL", help="Column with prompts or conversations.")] = None,
    response: Annotated[
        list[str] | None, typer.Option(metavar="COL", help="Column with responses, or with lists of them; repeatable.")
    ] = None,
    reference: Annotated[str | None, typer.Option(metavar="COL", help="Column with correct answers.")] = None,
    judge_prompt: Annotated[str | None, typer.Option(metavar="COL", help="Column with complete judge prompts.")] = None,
    scale: Annotated[str | None, typer.Option(metavar="LOW-HIGH", help="With --judge-prompt: range of scores.")] = None,
    human_score: Annotated[str | None, typer.Option(metavar="COL", help="People's scores; higher is better.")] = None,
    human_rank: Annotated[str | None, typer.Option(metavar="COL", help="People's ranks; lower is better.")] = None,
    human_label: Annotated[str | None, typer.Option(metavar="COL", help="The better: 1 or 2, A or B, A>B.")] = None,
    group: Annotated[
        str | None, typer.Option(metavar="COL", help="Same for rows with the same prompt. Default: the prompt.")
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Simultaneous requests to an endpoint.")] = 32,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that a request to an endpoint may take.")] = 300.0,
    set_: Overrides = None,
) -> None:
    """Score the responses in any file with a model as the judge, and show how well it agrees with people."""
    from srlm.judge_file.columns import Columns
    from srlm.judge_file.command import judge_file
    from srlm.judge_file.request import Options, resolve
    from srlm.loop.best import say_if_better
    from srlm.run.folder import Run

    columns = Columns(
        prompt=prompt,
        responses=response or [],
        reference=reference,
        judge_prompt=judge_prompt,
        human_score=human_score,
        human_rank=human_rank,
        human_label=human_label,
        group=group,
    )
    options = Options(
        file=file,
        out=out,
        run=run,
        iteration=iteration,
        model=model,
        endpoint=endpoint,
        judge={"mode": mode, "samples": samples, "temperature": temperature},
        rubric=rubric,
        scale=scale,
        columns=columns,
        concurrency=concurrency,
        timeout=timeout,
        overrides=set_ or [],
    )
    request = resolve(options)
    if run is not None and iteration is None:
        found = Run(run)
        say_if_better(found, [0, *found.trained][-1], "To judge with it: --iteration {best}")
    kept = " Judged rows are safe. To continue, run the same command again."
    try:
        with _stoppable("Stopped." + ("" if file == "-" and out is None else kept)):
            judge_file(request)
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(FINDING) from None


@app.command()
def config(recipe: Annotated[str, typer.Option(help="Which recipe: demo, small or paper.")] = "paper") -> None:
    """Print a recipe's settings, each with a comment."""
    from srlm.config import load_recipe, parse_config, to_toml

    values: dict[str, Any] = {"recipe": recipe, "model": {"path": "MODEL"}} | load_recipe(recipe)
    values["model"] = {"path": "MODEL"} | values["model"]
    typer.echo(to_toml(parse_config(values, f"recipe {recipe}")))


@app.command(epilog="srlm doctor --model ./my-model --recipe small")
def doctor(
    model: Annotated[
        str | None, typer.Option(help="Show the memory that a run of this model needs: a folder or a hub id.")
    ] = None,
    recipe: Annotated[str, typer.Option(help="For --model: the settings of demo, small or paper.")] = "paper",
    set_: Overrides = None,
) -> None:
    """Show what this machine has, what is missing, and how to get it."""
    from srlm.doctor import doctor as examine

    raise typer.Exit(examine(model, recipe, set_ or []))


def _open(run: Path | None) -> "Run":
    """The run that is meant; where none was named, say which one that is."""
    from srlm.console import say
    from srlm.run.folder import find_run

    found, how = find_run(run)
    if run is None:
        say(f"{found.root} ({how})")
    return found


@contextmanager
def _stoppable(words: str) -> Iterator[None]:
    """Ctrl+C and SIGTERM end what happens in the block in order, and then say these words."""
    from srlm.console import say
    from srlm.process.launch import hear_sigterm

    hear_sigterm()
    try:
        yield
    except KeyboardInterrupt:
        say(words)
        raise typer.Exit(INTERRUPTED) from None


def _version(show: bool) -> None:
    if show:
        typer.echo(f"srlm {__version__}")
        raise typer.Exit(DONE)


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 a finding or a failed stage, 2 a user error, 130 interrupted."""
    try:
        sys.exit(app(standalone_mode=False))  # so that what is wrong with a call is said in one line, too
    except TyperException as error:
        _fail(_usage(error), USER_ERROR)
    except UserError as error:
        _fail(str(error), USER_ERROR)
    except StageError as error:
        _fail(str(error), FINDING)
    except KeyboardInterrupt:
        _fail("interrupted", INTERRUPTED)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _fail("the disk is full: free some space, then run the same command again", USER_ERROR)


def _usage(error: TyperException) -> str:
    """What is wrong with a call, in the style of the other errors; "" where the help was printed instead."""
    message, context = error.format_message().strip().rstrip("."), getattr(error, "ctx", None)
    see = f"see `{context.command_path if context else 'srlm'} --help`"
    return message and f"{message[0].lower()}{message[1:]}: {see}"


def _fail(problem: str, code: int) -> NoReturn:
    from srlm.console import say

    if problem:
        say(f"error: {problem}")
    sys.exit(code)


if __name__ == "__main__":
    main()
