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


def _show(report: "SeedReport") -> None:
    from srlm.console import say

    for line in report.lines():
        say(line)
