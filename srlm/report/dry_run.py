"""The plan of `srlm iterate --dry-run` as a table."""

import shutil

from rich.table import Table

from srlm.console import out, safe, say
from srlm.loop.plan import disk_use, make_plan
from srlm.loop.redo import made_from
from srlm.run.folder import Run


def show_plan(run: Run, n: int, redo: str | None) -> None:
    """Print each stage with its state and reason, and the estimates; changes nothing."""
    again = {stage.name for stage in made_from(run, redo)} if redo else set()
    planned = make_plan(run, n)
    table = Table(box=None, pad_edge=False)
    for column in ("stage", "state", "why", "tokens to generate", "seconds (from last time)"):
        table.add_column(column)
    for item in planned:
        state, why = ("redo", "the old files are kept") if item.stage.name in again else (item.state, item.why)
        tokens = ("at most " if item.bound and item.tokens else "") + _number(item.tokens)
        table.add_row(item.stage.name, state, safe(why), tokens, _number(item.seconds))
    out().print(table)
    known = [item.seconds for item in planned if item.seconds is not None]
    unknown = sum(item.seconds is None for item in planned)
    if any(known) or not unknown:
        rest = f", not counting {unknown} stages that are not known yet" if unknown else ""
        say(f"Time: about {sum(known):.0f} s{rest}.")
    else:
        say("Time: not known yet, since no stage like these has run here.")
    free, size = shutil.disk_usage(run.root).free, disk_use(run)
    if size is None:
        say(f"Disk: {_gib(free)} free. The size of {run.config.model.path} is not known here.")
        return
    need = sum(item.disk for item in planned)
    peak = need and need + size[1]
    short = " THIS IS NOT ENOUGH." if peak > free else ""
    say(f"Disk: {_gib(need)} for new weights, up to {_gib(peak)} during training; {_gib(free)} free.{short}")


def _gib(count: int) -> str:
    return f"{count / 2**30:.2f} GiB"


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:,.0f}" if value else ""
