"""`srlm seed ...`: turns the data that people have into seed files. Thin, like cli.py."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from srlm.errors import FINDING, INTERRUPTED, UserError

if TYPE_CHECKING:
    from srlm.seed.divide import SeedReport
    from srlm.seed.from_scores import ScoresReport

app = typer.Typer(
    help="Make seed data (IFT, EFT, ranked responses) from what you have, and check it.", no_args_is_help=True
)

OutOption = Annotated[
    Path, typer.Option("--out", help="The folder to create, with ift.jsonl, ranked.jsonl and dropped.jsonl.")
]
SeedOption = Annotated[int, typer.Option(help="Seed of the hash that divides prompts between IFT and ranked.jsonl.")]
CharsOption = Annotated[int, typer.Option(min=1, help="Leave out prompts and answers with more characters than this.")]
SHARE_HELP = "Of the prompts that could go to either file, this share goes to IFT"


@app.command(epilog="srlm seed oasst 2023-04-12_oasst_ready.trees.jsonl.gz --out seeds/oasst")
def oasst(
    trees: Annotated[
        list[str],
        typer.Argument(
            metavar="TREES",
            help="OASST exports: trees or flat messages (.jsonl, .jsonl.gz, .parquet), or a dataset id.",
        ),
    ],
    out: OutOption,
    ift_share: Annotated[float, typer.Option(min=0, max=1, help=f"{SHARE_HELP}.")] = 0.6,
    lang: Annotated[list[str] | None, typer.Option(show_default="en", help='Languages to use, or "all".')] = None,
    keep: Annotated[
        list[str] | None, typer.Option(help="Also use these messages: synthetic (by a model), unreviewed.")
    ] = None,
    max_chars: CharsOption = 32_000,
    seed: SeedOption = 0,
) -> None:
    """Make IFT and ranked responses from OASST trees. Only the first turn of each tree is used.

    Some prompts go to IFT with their best reply. The others go to ranked.jsonl with all ranked replies.
    """
    from srlm.seed.oasst import OasstFilter, from_oasst

    langs = () if lang and "all" in lang else tuple(lang or ("en",))
    _show(from_oasst(trees, out, OasstFilter(langs, tuple(keep or ()), max_chars), ift_share, seed))


@app.command(
    epilog="srlm seed ranked ratings.jsonl --prompt question --response answer --score stars --out seeds/rated"
)
def ranked(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSONL, JSON or CSV (also as .gz), or Parquet.")],
    out: OutOption,
    prompt: Annotated[str | None, typer.Option(metavar="COL", help="Column with the prompt: text or turns.")] = None,
    system: Annotated[str | None, typer.Option(metavar="COL", help="Column with the system message.")] = None,
    response: Annotated[
        list[str] | None,
        typer.Option(metavar="COL", help="Column with the answer, or a list of answers. With --label, give it twice."),
    ] = None,
    score: Annotated[str | None, typer.Option(metavar="COL", help="Column with the score; higher is better.")] = None,
    rank: Annotated[str | None, typer.Option(metavar="COL", help="Column with the rank; the lowest is best.")] = None,
    chosen: Annotated[str | None, typer.Option(metavar="COL", help="Column with the better of two answers.")] = None,
    rejected: Annotated[str | None, typer.Option(metavar="COL", help="Column with the worse of two answers.")] = None,
    label: Annotated[
        str | None, typer.Option(metavar="COL", help="Column that says which output is better: 1 or 2, a or b.")
    ] = None,
    good: Annotated[
        float | None,
        typer.Option(show_default="the start of the top quarter", help="The lowest score that is good enough for IFT."),
    ] = None,
    ift_share: Annotated[
        float | None,
        typer.Option(min=0, max=1, show_default="0.6; 0 for pairs and labels", help=f"{SHARE_HELP}."),
    ] = None,
    max_chars: CharsOption = 32_000,
    seed: SeedOption = 0,
) -> None:
    """Make IFT and ranked responses from rated, ranked or paired answers.

    Some prompts go to IFT with a good answer. The others go to ranked.jsonl with all their answers. Columns with
    usual names are found, and shown before the work starts. `completions.response` reaches into a list.
    """
    from srlm.console import say
    from srlm.seed.columns import RankedColumns
    from srlm.seed.ranked import RankedOptions, columns_of, from_ranked

    given = RankedColumns(prompt, system, tuple(response or ()), score, rank, chosen, rejected, label)
    columns = columns_of(file, given)
    say(f"{file}: {columns.shown()}")
    _show(from_ranked(file, out, columns, RankedOptions(good, ift_share, max_chars, seed)))


@app.command(epilog="srlm seed eft --model ./my-model --ranked ranked.jsonl --ift ift.jsonl --out eft.jsonl")
def eft(
    out: Annotated[
        Path, typer.Option(help="The EFT file to create. Held-out responses and a work folder go next to it.")
    ],
    ranked: Annotated[
        Path | None, typer.Option(help="Ranked responses, made by `srlm seed oasst` or `seed ranked`.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="The model that judges: a folder or a Hugging Face id.")] = None,
    ift: Annotated[
        Path | None, typer.Option(help="Train the model on this first. Without it, the model judges as it is.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(show_default="paper", help="Settings to start from: demo, small or paper.")
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting.")] = None,
    from_scores: Annotated[
        Path | None, typer.Option(help="Instead of a model: responses with scores from 0 to 5 and written reasons.")
    ] = None,
    prompt: Annotated[str | None, typer.Option(metavar="COL", help="With --from-scores: the prompts.")] = None,
    response: Annotated[str | None, typer.Option(metavar="COL", help="With --from-scores: the responses.")] = None,
    score: Annotated[str | None, typer.Option(metavar="COL", help="With --from-scores: the scores.")] = None,
    rationale: Annotated[str | None, typer.Option(metavar="COL", help="With --from-scores: the reasons.")] = None,
) -> None:
    """Make EFT from ranked responses: a model judges them, and judgements that agree with people are kept.

    You can stop and rerun this at any time. It continues where it stopped. With --from-scores, no model judges: the
    scores and reasons that people wrote become EFT as they are.
    """
    if (ranked is None) == (from_scores is None):
        raise UserError(
            "one of --ranked and --from-scores is needed", "give one: what a model judges, or what people scored"
        )
    if out.suffix != ".jsonl":
        raise UserError(f"--out {out}: EFT is written as JSONL", "use a file name that ends in .jsonl")
    columns = {"prompt": prompt, "response": response, "score": score, "rationale": rationale}
    building = {"model": model, "ift": ift, "recipe": recipe, "set": set_}
    unused, source = (building, "--from-scores") if from_scores else (columns, "--ranked")
    if extra := [f"--{name}" for name, value in unused.items() if value]:
        raise UserError(f"{', '.join(extra)} cannot be used with {source}", "leave it out")
    if from_scores:
        _convert(from_scores, out, columns)
    else:
        settings = (*(set_ or ()), *(() if ift else ("baseline.train=false",)))
        _build(out, model, ift, ranked, recipe or "paper", settings)


def _convert(path: Path, out: Path, given: dict[str, str | None]) -> None:
    """Make EFT from what people scored and explained."""
    from srlm.console import say
    from srlm.seed.from_scores import columns_of_scores, from_scores

    columns = columns_of_scores(path, given)
    say(f"{path}: {', '.join(f'{name} = {column}' for name, column in columns.items())}")
    _show(from_scores(path, out, columns))


def _build(
    out: Path, model: str | None, ift: Path | None, ranked: Path | None, recipe: str, settings: tuple[str, ...]
) -> None:
    """Make EFT from what a model writes."""
    from srlm.console import say
    from srlm.iterate import build_eft
    from srlm.loop.build_eft import Output, begin, finish
    from srlm.process.launch import hear_sigterm
    from srlm.run.init import Sources

    hear_sigterm()
    try:
        output = Output(out)
        run = begin(output, Sources(model, ift, ranked=ranked, recipe=recipe, overrides=settings, eft_only=True))
        build_eft(run)
        finish(output, run)
    except KeyboardInterrupt:
        say("Stopped. Finished work is safe. To continue, run the same command again.")
        raise typer.Exit(INTERRUPTED) from None


@app.command(epilog="srlm seed check ift.jsonl eft.jsonl --against alpaca_eval.json --model ./my-model")
def check(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILES", help="Seed files, or folders with seed files. Their columns tell which kind they are."
        ),
    ],
    model: Annotated[
        str | None, typer.Option(help="The base model. Adds token lengths and checks of its context and end of turn.")
    ] = None,
    against: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Evaluation prompts that must not be trained on.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Look for problems in seed data that would harm training. Exit code 1 means that there are some.

    Files of prompts count as held out. So do files with held_out, test, valid or dev in their name.
    """
    from srlm.console import say
    from srlm.seed.check import check_files
    from srlm.seed.check_table import show
    from srlm.seed.kinds import seed_files

    found = seed_files(files)
    for file in found:
        say(f"{file.path}: {file}")
    report = check_files(found, against or [], model)
    show(report, as_json)
    if report.harmful:
        raise typer.Exit(FINDING)


def _show(report: "SeedReport | ScoresReport") -> None:
    from srlm.console import say

    for line in report.lines():
        say(line)
