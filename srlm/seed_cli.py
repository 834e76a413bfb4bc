"""`srlm seed ...`: from the data that people have to the seed files of the method. Thin, as cli.py is."""

import typer

app = typer.Typer(
    help="Make seed data (IFT, EFT, ranked responses) out of what you have, and check it.", no_args_is_help=True
)
