"""What a run needs of memory and disk: lines for `srlm init` and the plan, a table for `srlm doctor`."""

import shutil
from pathlib import Path

from rich.table import Table

from srlm.console import gib, out, say
from srlm.loop.needs import Need, run_needs
from srlm.loop.plan import disk_use
from srlm.run.folder import Run

MODELS = 3  # to which M_t init proposes to bring a run


def init_lines(root: Path) -> list[str]:
    """For a new run folder: where most memory is needed, or each place where it is too little; and the disk."""
    run = Run(root)
    needs = run_needs(run, MODELS)
    known = [need for need in needs if not need.unknown]
    told = [need for need in known if need.short] or sorted(known, key=lambda need: -need.bytes / need.have)[:1]
    return [f"Memory: {need}." for need in told or needs[:1]] + [disk_line(run, MODELS)]


def memory_lines(run: Run, n: int, redo: str | None) -> list[str]:
    """For a plan: a line per kind of stage that is owed."""
    return [f"Memory: {need}." for need in run_needs(run, n, redo)]


def show_table(needs: list[Need]) -> None:
    """Print what each kind of stage needs, part by part."""
    known = [need for need in needs if not need.unknown]
    table = Table(box=None, pad_edge=False)
    table.add_column("memory")
    for need in known:
        table.add_column(need.kind, justify="right")
    for part in dict.fromkeys(part for need in known for part, size in need.parts.items() if size):
        table.add_row(part, *(_cell(need.parts.get(part, 0)) for need in known))
    for name, sizes in (("in all", [need.bytes for need in known]), ("there is", [need.have for need in known])):
        table.add_row(name, *map(gib, sizes))
    if known:
        out().print(table)
    for need in needs:
        if need.short or need.unknown:
            say(f"Memory: {need}.")
    if needs and len(known) == len(needs) and not any(need.short for need in needs):
        say("Memory: all of this fits.")


def disk_line(run: Run, trainings: int) -> str:
    """What so many trainings need for what they write, and what the disk has."""
    free, size = shutil.disk_usage(run.root).free, disk_use(run, trainings)
    if size is None:
        return f"Disk: {gib(free)} free. The size of {run.config.model.path} is not known here."
    need, checkpoints = size
    peak = need and need + checkpoints
    short = " THIS IS NOT ENOUGH." if peak > free else ""
    at_once = " at once" if run.config.train.keep_models == "needed" else ""
    return f"Disk: {gib(need)} for new weights{at_once}, up to {gib(peak)} during training; {gib(free)} free.{short}"


def _cell(size: int) -> str:
    return gib(size) if size else ""
