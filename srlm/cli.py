"""The command line: thin Typer commands. What is heavy is imported inside them."""

import errno
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from srlm import __version__, seed_cli
from srlm.errors import DONE, FINDING, INTERRUPTED, USER_ERROR, StageError, UserError

app = typer.Typer(
    name="srlm",
    help="Self-rewarding language models: a model answers, judges its own answers, and trains on what it preferred.",
    epilog="Start with: srlm init runs/demo --recipe demo && srlm iterate 3 --run runs/demo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # its tracebacks print local variables, secrets among them
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(seed_cli.app, name="seed")

RunOption = Annotated[
    Path | None, typer.Option("--run", help="The run folder; by default the only or latest in runs/.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print data instead of tables.")]


@app.command(epilog="srlm init runs/a --model ./my-model --ift ift.jsonl --eft eft.jsonl --recipe small")
def init(
    run: Annotated[Path, typer.Argument(help="The run folder to make.")],
    model: Annotated[str | None, typer.Option(help="Base model M0: a folder or a Hugging Face id.")] = None,
    ift: Annotated[Path | None, typer.Option(help="Instruction data: JSONL, JSON, CSV or Parquet.")] = None,
    eft: Annotated[Path | None, typer.Option(help="Judging data: JSONL, JSON, CSV or Parquet.")] = None,
    ranked: Annotated[
        Path | None, typer.Option(help="For --eft: ranked responses, from which the run builds its EFT.")
    ] = None,
    oasst: Annotated[
        list[str] | None, typer.Option(help="For --ift and --eft: an OASST export, as `srlm seed oasst` reads it.")
    ] = None,
    held_out_eft: Annotated[
        Path | None, typer.Option(help="Ranked responses to measure the judge with; else split off EFT.")
    ] = None,
    eval_prompts: Annotated[Path | None, typer.Option(help="Held-out evaluation prompts; else split off IFT.")] = None,
    recipe: Annotated[str, typer.Option(help="Settings to start from: demo, small or paper.")] = "paper",
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting.")] = None,
) -> None:
    """Check model and seed data, and make a run folder."""
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
    init_run(run, sources).show()


@app.command(epilog="srlm iterate 3 --run runs/a")
def iterate(
    n: Annotated[int, typer.Argument(min=0, help="Bring the run to M_N.")],
    run: RunOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and stop.")] = False,
    redo: Annotated[
        str | None,
        typer.Option(
            help='Make "M2" (or a stage, "M1/aift", or all that is "stale") and what follows anew, with the old kept.'
        ),
    ] = None,
    accept_judge: Annotated[
        bool,
        typer.Option("--accept-judge", help="Train on although the health gate has findings; run.json keeps them."),
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at a model that is not promoted.")] = False,
) -> None:
    """Train, measure and let the model make its own training data, up to M_N. Rerun after anything: it goes on."""
    from srlm.console import say
    from srlm.run.folder import find_run

    found, how = find_run(run)
    if run is None:
        say(f"{found.root} ({how})")
    if dry_run:
        from srlm.report.dry_run import show_plan

        show_plan(found, n, redo)  # `--redo` moves nothing here
        return
    from srlm.iterate import iterate as bring_to
    from srlm.process.launch import hear_sigterm

    again = f"srlm iterate {n} --run {found.root}"
    hear_sigterm()
    try:
        bring_to(found, n, redo, accept_judge, strict)
    except KeyboardInterrupt:
        say(f"Stopped. What is finished is safe; go on with: {again}")
        raise typer.Exit(INTERRUPTED) from None
    say(f"{found.root} is at M{n}. Look at it: srlm inspect {found.root}")


@app.command(epilog="srlm inspect runs/a M2 --sort disagreement")
def inspect(
    run: Annotated[Path | None, typer.Argument(help="The run folder; by default the only or latest in runs/.")] = None,
    model: Annotated[str | None, typer.Argument(help="One model, e.g. M2.")] = None,
    row: Annotated[str | None, typer.Option(help="All about one row: answers, judgements and the pair.")] = None,
    sort: Annotated[str | None, typer.Option(help="List rows by margin, score, length or disagreement.")] = None,
    grep: Annotated[str | None, typer.Option(help="List rows that match a regular expression.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many rows to list.")] = 20,
    reverse: Annotated[bool, typer.Option("--reverse", help="List the lowest first.")] = False,
    html: Annotated[bool, typer.Option("--html", help="Write RUN/report.html: charts and rows on one page.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the iterations of a run as a table or a page, one model's numbers and examples, or single rows."""
    from srlm.console import out, say
    from srlm.report import inspect_rows, inspect_run, say_outdated
    from srlm.run.folder import find_run

    found, how = find_run(run)
    if run is None:
        say(f"{found.root} ({how})")
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
    run: Annotated[Path | None, typer.Argument(help="The run folder; by default the only or latest in runs/.")] = None,
    against: Annotated[
        str | None, typer.Option(help="M1, a model's folder or id, or alpaca_eval outputs; else earlier models.")
    ] = None,
    prompts: Annotated[Path | None, typer.Option(help="Prompts in alpaca_eval's form; else the held-out ones.")] = None,
    tasks: Annotated[
        str | None,
        typer.Option(help="Instead: tasks of lm-evaluation-harness by name, or YAML files or folders; commas between."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="For --tasks: only so many questions of each task.")] = None,
    few_shot: Annotated[
        int | None, typer.Option(min=0, help="For --tasks: so many examples before a question; else as the task says.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the models of a run head to head, by the one judge that [versus] names (else M1).

    With --tasks: let M0, M1, ... do tasks of lm-evaluation-harness, and show what training cost them there.
    """
    from srlm.console import say
    from srlm.measure.harness.command import eval_tasks
    from srlm.measure.versus.command import eval_run
    from srlm.process.launch import hear_sigterm
    from srlm.run.folder import find_run

    if tasks is not None and (against or prompts):
        raise UserError("--tasks goes with neither --against nor --prompts", "use two commands")
    if tasks is None and (limit or few_shot is not None):
        raise UserError("--limit and --few-shot are about tasks", "name some with --tasks")
    found, how = find_run(run)
    if run is None:
        say(f"{found.root} ({how})")
    hear_sigterm()
    try:
        if tasks is None:
            eval_run(found, against, prompts, as_json)
        else:
            eval_tasks(found, tasks, limit, few_shot, as_json)
    except KeyboardInterrupt:
        say("Stopped. What was done is safe: the same command goes on.")
        raise typer.Exit(INTERRUPTED) from None


@app.command(epilog="srlm measure runs/a")
def measure(
    run: Annotated[Path | None, typer.Argument(help="The run folder; by default the only or latest in runs/.")] = None,
) -> None:
    """Compute the figures of every model anew from the run's rows, as after an upgrade of srlm; loads no model."""
    from srlm.console import say
    from srlm.measure.figures import measure_run
    from srlm.run.folder import find_run

    found, how = find_run(run)
    if run is None:
        say(f"{found.root} ({how})")
    measure_run(found)


@app.command(epilog="srlm export runs/a M2 --out my-model")
def export(
    run: Annotated[Path | None, typer.Argument(help="The run folder; by default the only or latest in runs/.")] = None,
    model: Annotated[str | None, typer.Argument(help="Which model, e.g. M2; else the last that is measured.")] = None,
    out: Annotated[Path | None, typer.Option(help="The folder to make; else RUN/export-M2.")] = None,
) -> None:
    """Write a model with a card, its answers for alpaca_eval, and the pairs that it learned from for TRL."""
    from srlm.console import out as stdout
    from srlm.loop.export import export_model
    from srlm.measure.figures import measured_model
    from srlm.run.folder import find_run

    found, _ = find_run(run)
    t = measured_model(found, model)
    stdout().print(str(export_model(found, t, out or found.root / f"export-M{t}")), soft_wrap=True)


@app.command(epilog="srlm view runs/a")
def view(
    run: Annotated[Path | None, typer.Argument(help="The run folder; by default the only or latest in runs/.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0: any free one.")] = 8765,
) -> None:
    """Serve the page of the whole run to browsers of this machine, until Ctrl+C."""
    from srlm.console import say
    from srlm.report.view import serve
    from srlm.run.folder import find_run

    found, how = find_run(run)
    if run is None:
        say(f"{found.root} ({how})")
    serve(found, port)


@app.command(epilog="srlm judge answers.jsonl --run runs/a | srlm judge answers.csv --endpoint URL --model NAME")
def judge(
    file: Annotated[str, typer.Argument(help='JSONL, JSON, CSV or Parquet; "-": JSONL from stdin, judged to stdout.')],
    run: Annotated[Path | None, typer.Option("--run", help="Judge with a run's model, settings and rubric.")] = None,
    iteration: Annotated[str | None, typer.Option(help="Which of the run's models, e.g. M2; else the last.")] = None,
    model: Annotated[str | None, typer.Option(help="Judge with this model: a folder, a hub id, a served name.")] = None,
    endpoint: Annotated[str | None, typer.Option(help="OpenAI-compatible server; key in OPENAI_API_KEY.")] = None,
    out: Annotated[Path | None, typer.Option(help="Output; its extension decides. Else FILE.judged.EXT.")] = None,
    mode: Annotated[str | None, typer.Option(help="sampled, expected or pairwise.")] = None,
    rubric: Annotated[str | None, typer.Option(help="Your rubric file, or judge_1_10, judge_reference, ...")] = None,
    samples: Annotated[int | None, typer.Option(help="Judgements per response (K).")] = None,
    temperature: Annotated[float | None, typer.Option(help="Sampling temperature of the judge.")] = None,
    prompt: Annotated[str | None, typer.Option(metavar="COL", help="Column of prompts or conversations.")] = None,
    response: Annotated[
        list[str] | None, typer.Option(metavar="COL", help="Column of responses, or of lists of them; repeatable.")
    ] = None,
    reference: Annotated[str | None, typer.Option(metavar="COL", help="Column of right answers.")] = None,
    judge_prompt: Annotated[str | None, typer.Option(metavar="COL", help="Column of whole judge prompts.")] = None,
    scale: Annotated[str | None, typer.Option(metavar="LOW-HIGH", help="Scale of whole judge prompts.")] = None,
    human_score: Annotated[str | None, typer.Option(metavar="COL", help="People's scores, higher is better.")] = None,
    human_rank: Annotated[str | None, typer.Option(metavar="COL", help="People's ranks, lower is better.")] = None,
    human_label: Annotated[str | None, typer.Option(metavar="COL", help="Which of two is better: 1/2, A/B.")] = None,
    group: Annotated[str | None, typer.Option(metavar="COL", help="Rows with the same prompt; else by prompt.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests at once to an endpoint.")] = 32,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for one request to an endpoint.")] = 300.0,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting.")] = None,
) -> None:
    """Score any file of responses with a model as the judge, and say how far it agrees with people."""
    from srlm.console import say
    from srlm.judge_file.columns import Columns
    from srlm.judge_file.command import judge_file
    from srlm.judge_file.request import Options, resolve
    from srlm.process.launch import hear_sigterm

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
    hear_sigterm()
    try:
        judge_file(resolve(options))
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(FINDING) from None
    except KeyboardInterrupt:
        say("Stopped." if file == "-" and out is None else "Stopped. Judged rows are safe: the same command goes on.")
        raise typer.Exit(INTERRUPTED) from None


@app.command()
def config(recipe: Annotated[str, typer.Option(help="demo, small or paper.")] = "paper") -> None:
    """Print a recipe's settings with a comment on every key."""
    from srlm.config import load_recipe, parse_config, to_toml

    values: dict[str, Any] = {"recipe": recipe, "model": {"path": "MODEL"}} | load_recipe(recipe)
    values["model"] = {"path": "MODEL"} | values["model"]
    typer.echo(to_toml(parse_config(values, f"recipe {recipe}")))


@app.command()
def doctor() -> None:
    """Say what this machine has, what is missing, and how to get it."""
    from srlm.doctor import doctor as examine

    raise typer.Exit(examine())


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
    """Run the command line. Exit codes: 0 done, 1 a finding or a failed stage, 2 the user's error, 130 interrupted."""
    try:
        app()
    except UserError as error:
        _fail(str(error), USER_ERROR)
    except StageError as error:
        _fail(str(error), FINDING)
    except KeyboardInterrupt:
        _fail("interrupted", INTERRUPTED)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _fail("the disk is full: make room, then run the same command again", USER_ERROR)


def _fail(problem: str, code: int) -> None:
    from srlm.console import say

    say(f"error: {problem}")
    sys.exit(code)


if __name__ == "__main__":
    main()
