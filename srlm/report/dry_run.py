"""The plan of `srlm iterate --dry-run` as a table."""

from rich.table import Table

from srlm.console import out, safe, say
from srlm.errors import UserError
from srlm.loop.gpus import say_gpus
from srlm.loop.plan import make_plan
from srlm.loop.retention import check_weights
from srlm.report.memory import disk_line, memory_lines
from srlm.run.folder import Run


def show_plan(run: Run, n: int, redo: str | None) -> None:
    """Print each stage with its state and reason, and the estimates; changes nothing."""
    planned = make_plan(run, n, redo)
    table = Table(box=None, pad_edge=False)
    for column in ("stage", "state", "why", "tokens to generate", "seconds (from last time)"):
        table.add_column(column)
    for item in planned:
        tokens = ("at most " if item.bound and item.tokens else "") + _number(item.tokens)
        table.add_row(item.stage.name, item.state, safe(item.why), tokens, _number(item.seconds))
    out().print(table)
    known = [item.seconds for item in planned if item.seconds is not None]
    unknown = sum(item.seconds is None for item in planned)
    if any(known) or not unknown:
        rest = f", not counting {unknown} stages that are not known yet" if unknown else ""
        say(f"Time: about {sum(known):.0f} s{rest}.")
    else:
        say("Time: not known yet, since no stage like these has run here.")
    say_gpus(run.config, run.revision(run.config.model.path))
    for line in (*memory_lines(run, n, redo), disk_line(run, sum(item.disk > 0 for item in planned))):
        say(line)
    try:
        check_weights(run, (item.stage for item in planned if item.state != "done"))
    except UserError as error:
        say(f"This would stop at once: {error}")


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:,.0f}" if value else ""
