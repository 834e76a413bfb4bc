"""`srlm seed ...`: from the data that people have to the seed files of the method. Thin, as cli.py is."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from srlm.seed.divide import SeedReport

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
    lang: Annotated[list[str] | None, typer.Option(help="Languages to use, or all. [default: en]")] = None,
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


@app.command(epilog="srlm seed eft --model ./my-model --ranked ranked.jsonl --ift ift.jsonl --out eft.jsonl")
def eft(
    ranked: Annotated[Path, typer.Option(help="Ranked responses, as `srlm seed oasst` and `seed ranked` make them.")],
    out: Annotated[Path, typer.Option(help="The EFT file to make; held-out responses and the work go beside it.")],
    model: Annotated[str | None, typer.Option(help="The model that judges: a folder or a Hugging Face id.")] = None,
    ift: Annotated[
        Path | None, typer.Option(help="First train the model on this; without, it judges as it is.")
    ] = None,
    recipe: Annotated[str, typer.Option(help="Settings to start from: demo, small or paper.")] = "paper",
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting.")] = None,
) -> None:
    """Ranked responses -> EFT: a model's judgements, where they agree with people. Rerun after anything: it goes on."""
    from srlm.build_eft import make_eft
    from srlm.console import say
    from srlm.errors import INTERRUPTED
    from srlm.init import Sources
    from srlm.launch import hear_sigterm

    settings = (*(set_ or ()), *(() if ift else ("baseline.train=false",)))
    hear_sigterm()
    try:
        make_eft(out, Sources(model, ift, ranked=ranked, recipe=recipe, overrides=settings, eft_only=True))
    except KeyboardInterrupt:
        say("Stopped. What is finished is safe; the same command goes on.")
        raise typer.Exit(INTERRUPTED) from None


def _show(report: "SeedReport") -> None:
    from srlm.console import say

    for line in report.lines():
        say(line)
