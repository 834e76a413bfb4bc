"""The command line: thin Typer commands. What is heavy is imported inside them."""

import errno
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
    from srlm.init import Sources, init_run

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
        str | None, typer.Option(help='Make "M2" (or a stage, "M1/aift") and what follows anew; the old is kept aside.')
    ] = None,
) -> None:
    """Train, measure and let the model make its own training data, up to M_N. Rerun after anything: it goes on."""
    from srlm.console import say
    from srlm.run import find_run

    found, how = find_run(run)
    if run is None:
        say(f"{found.root} ({how})")
    if dry_run:
        from srlm.report.plan import show_plan

        show_plan(found, n, redo)  # `--redo` moves nothing here
        return
    from srlm.iterate import iterate as bring_to
    from srlm.launch import hear_sigterm

    again = f"srlm iterate {n} --run {found.root}"
    hear_sigterm()
    try:
        bring_to(found, n, redo)
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
    from srlm.report import inspect_rows, inspect_run
    from srlm.run import find_run

    found, how = find_run(run)
    if run is None:
        say(f"{found.root} ({how})")
    if html:
        from srlm.report.html import write_page

        out().print(str(write_page(found)), soft_wrap=True)
    elif row or sort or grep:
        inspect_rows(found, model, row=row, sort=sort, grep=grep, limit=limit, reverse=reverse, as_json=as_json)
    else:
        inspect_run(found, model, as_json)


@app.command(epilog="srlm view runs/a")
def view(
    run: Annotated[Path | None, typer.Argument(help="The run folder; by default the only or latest in runs/.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0: any free one.")] = 8765,
) -> None:
    """Serve the page of the whole run to browsers of this machine, until Ctrl+C."""
    from srlm.console import say
    from srlm.report.view import serve
    from srlm.run import find_run

    found, how = find_run(run)
    if run is None:
        say(f"{found.root} ({how})")
    serve(found, port)


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
