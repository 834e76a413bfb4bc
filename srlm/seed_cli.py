"""`srlm seed ...`: from the data that people have to the seed files of the method. Thin, as cli.py is."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from srlm.errors import FINDING, INTERRUPTED, UserError

if TYPE_CHECKING:
    from srlm.seed.divide import SeedReport
    from srlm.seed.from_scores import ScoresReport

app = typer.Typer(
    help="Make seed data (IFT, EFT, ranked responses) out of what you have, and check it.", no_args_is_help=True
)

OutOption = Annotated[
    Path, typer.Option("--out", help="The folder to make: ift.jsonl, ranked.jsonl, what was dropped.")
]
SeedOption = Annotated[int, typer.Option(help="Seed of the hash that divides prompts between IFT and ranked.jsonl.")]
CharsOption = Annotated[int, typer.Option(min=1, help="Longer prompts and answers are left out (characters).")]
SHARE_HELP = "Of the prompts that could serve either, this share goes to IFT"


@app.command(epilog="srlm seed oasst 2023-04-12_oasst_ready.trees.jsonl.gz --out seeds/oasst")
def oasst(
    trees: Annotated[
        list[str],
        typer.Argument(help="OASST exports, trees or flat messages (.jsonl, .jsonl.gz, .parquet), or a dataset's id."),
    ],
    out: OutOption,
    ift_share: Annotated[float, typer.Option(min=0, max=1, help=f"{SHARE_HELP}.")] = 0.6,
    lang: Annotated[list[str] | None, typer.Option(show_default="en", help="Languages to use, or all.")] = None,
    keep: Annotated[
        list[str] | None, typer.Option(help="Use these messages, too: synthetic (a model's), unreviewed.")
    ] = None,
    max_chars: CharsOption = 32_000,
    seed: SeedOption = 0,
) -> None:
    """OASST trees -> first-turn prompts with their best reply (IFT), and others with all ranked replies."""
    from srlm.seed.oasst import OasstFilter, from_oasst

    langs = () if lang and "all" in lang else tuple(lang or ("en",))
    _show(from_oasst(trees, out, OasstFilter(langs, tuple(keep or ()), max_chars), ift_share, seed))


@app.command(
    epilog="srlm seed ranked ratings.jsonl --prompt question --response answer --score stars --out seeds/rated"
)
def ranked(
    file: Annotated[Path, typer.Argument(help="JSONL, JSON, CSV (each perhaps .gz) or Parquet.")],
    out: OutOption,
    prompt: Annotated[str | None, typer.Option(metavar="COL", help="The prompt: text or turns.")] = None,
    system: Annotated[str | None, typer.Option(metavar="COL", help="The system message.")] = None,
    response: Annotated[
        list[str] | None, typer.Option(metavar="COL", help="The answer, or a list; with --label twice, for the two.")
    ] = None,
    score: Annotated[str | None, typer.Option(metavar="COL", help="Its score: the higher the better.")] = None,
    rank: Annotated[str | None, typer.Option(metavar="COL", help="Its rank: the lowest is the best.")] = None,
    chosen: Annotated[str | None, typer.Option(metavar="COL", help="The better of two answers.")] = None,
    rejected: Annotated[str | None, typer.Option(metavar="COL", help="The worse of two answers.")] = None,
    label: Annotated[str | None, typer.Option(metavar="COL", help="Which output is better: 1 or 2, a or b.")] = None,
    good: Annotated[
        float | None,
        typer.Option(show_default="the upper quarter's", help="The lowest score that is good enough for IFT."),
    ] = None,
    ift_share: Annotated[
        float | None,
        typer.Option(min=0, max=1, show_default="0.6; 0 for pairs and labels", help=f"{SHARE_HELP}."),
    ] = None,
    max_chars: CharsOption = 32_000,
    seed: SeedOption = 0,
) -> None:
    """Rated, ranked or paired answers -> prompts with a good answer (IFT), and others with all their answers.

    Columns with usual names are found, and shown before the work starts. `completions.response` reaches into a list.
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
    out: Annotated[Path, typer.Option(help="The EFT file to make; held-out responses and the work go beside it.")],
    ranked: Annotated[
        Path | None, typer.Option(help="Ranked responses, as `srlm seed oasst` and `seed ranked` make them.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="The model that judges: a folder or a Hugging Face id.")] = None,
    ift: Annotated[
        Path | None, typer.Option(help="First train the model on this; without, it judges as it is.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(show_default="paper", help="Settings to start from: demo, small or paper.")
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting.")] = None,
    from_scores: Annotated[
        Path | None, typer.Option(help="Instead of a model: responses with scores from 0 to 5 and written rationales.")
    ] = None,
    prompt: Annotated[str | None, typer.Option(metavar="COL", help="Of --from-scores: the prompt.")] = None,
    response: Annotated[str | None, typer.Option(metavar="COL", help="Of --from-scores: the response.")] = None,
    score: Annotated[str | None, typer.Option(metavar="COL", help="Of --from-scores: its score.")] = None,
    rationale: Annotated[str | None, typer.Option(metavar="COL", help="Of --from-scores: why it has it.")] = None,
) -> None:
    """Ranked responses -> EFT: a model's judgements, where they agree with people. Rerun after anything: it goes on.

    With --from-scores: the scores and reasons that people wrote, as they are.
    """
    if (ranked is None) == (from_scores is None):
        raise UserError("--ranked or --from-scores?", "give one: what a model shall judge, or what people scored")
    if out.suffix != ".jsonl":
        raise UserError(f"--out {out}: EFT is written as JSONL", "name a file that ends with .jsonl")
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
    """EFT of what people scored and explained."""
    from srlm.console import say
    from srlm.seed.from_scores import columns_of_scores, from_scores

    columns = columns_of_scores(path, given)
    say(f"{path}: {', '.join(f'{name} = {column}' for name, column in columns.items())}")
    _show(from_scores(path, out, columns))


def _build(
    out: Path, model: str | None, ift: Path | None, ranked: Path | None, recipe: str, settings: tuple[str, ...]
) -> None:
    """EFT that a model writes."""
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
        say("Stopped. What is finished is safe; the same command goes on.")
        raise typer.Exit(INTERRUPTED) from None


@app.command(epilog="srlm seed check ift.jsonl eft.jsonl --against alpaca_eval.json --model ./my-model")
def check(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Seed files (their columns tell IFT, EFT, ranked and prompts), or folders with such files."
        ),
    ],
    model: Annotated[
        str | None, typer.Option(help="The base model: lengths in its tokens, its context, its end of turn.")
    ] = None,
    against: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Evaluation prompts that training must not hold.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print data instead of tables.")] = False,
) -> None:
    """Look for what would harm training before it starts; exit code 1 where something would.

    Files of prompts, and those with held_out, test, valid or dev in their name, count as held out.
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
