"""What the user sees: results on stdout, chatter and progress on stderr, plain lines where the output is no terminal.

Rich markup is off on both consoles: whatever a model writes is printed as it is, but for control characters (`safe`).
"""

import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    import rich.progress

RATE_SECONDS = 60.0  # the rate of a progress is that of its last minute
PLAIN_WIDTH = 220  # columns where no terminal says how many: tables are then never squeezed
PLAIN_SECONDS = 30.0  # longest silence of a plain progress
PLAIN_SHARE = 0.1  # of the total, between two plain progress lines

# C0 (but newline and tab) and C1 controls, soft hyphen, direction marks and overrides, zero-width and line separators,
# byte-order mark, interlinear marks, lone surrogates, tags: all that can hide, reorder or restyle what is shown.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


@cache
def out() -> Console:
    """The console of results (stdout)."""
    return _console(stderr=False)


@cache
def err() -> Console:
    """The console of chatter (stderr)."""
    return _console(stderr=True)


def _console(stderr: bool) -> Console:
    console = Console(stderr=stderr, markup=False, highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    return console


def safe(text: str) -> str:
    """`text` with every control character written out (ESC as \\x1b), so that it cannot steer a terminal or mislead."""
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def gib(size: int) -> str:
    """Bytes in words."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def say(message: str) -> None:
    """One message to the user, on stderr; above the progress bars when there are any."""
    err().print(safe(message), soft_wrap=True)


class Progress:
    """How far one long step has come. Made by `progress`, moved by `update`."""

    def __init__(self, label: str, total: int, show: Callable[["Progress"], None], clock: Callable[[], float]) -> None:
        self.label, self.total, self.done = label, total, 0
        self._show, self._clock = show, clock
        self._before: int | None = None  # what was done before this process began
        self._opened = self._moved = clock()
        # (time, done) at each move, of the last RATE_SECONDS and one before; at least the last two, for slow steps
        self._moves = deque([(self._opened, 0)])

    def update(self, done: int, total: int) -> None:
        """`done` of `total` are finished by now; the total may turn out to be another than thought."""
        if self._before is None or done < self._before:
            self._before = done
        now = self._clock()
        if done == self._before:  # nothing yet: loading a model is no part of the rate
            self._moves = deque([(now, done)])
        if done != self.done:
            self._moved = now
        if done != self._moves[-1][1]:
            self._moves.append((now, done))
        while len(self._moves) > 2 and now - self._moves[1][0] > RATE_SECONDS:
            self._moves.popleft()
        self.done, self.total = done, total
        self._show(self)

    @property
    def finished(self) -> bool:
        """Whether all is done, as far as is known."""
        return self.done >= self.total

    @property
    def seconds(self) -> float:
        """Seconds since the step began, until it was finished."""
        return (self._moved if self.finished else self._clock()) - self._opened

    @property
    def count(self) -> str:
        """The count in words: "30/300"."""
        return f"{self.done}/{self.total}"

    def state(self) -> str:
        """Count, rate of the last minute and time left: "30/300, 5.0/s, 0:54 left"; "0/300, starting" at first.

        While a model loads, it is starting.
        """
        if self.finished and self._before is not None:
            return self.closing()
        since, before = self._moves[0]
        moved, seconds = self.done - before, self._clock() - since
        if moved <= 0 or seconds <= 0:
            return f"{self.count}, starting"
        rate = moved / seconds
        return f"{self.count}, {_rate(rate)}/s, {_clock_time(max(0, self.total - self.done) / rate)} left"

    def closing(self) -> str:
        """How it ended, with the rate over the whole step: "finished, 300/300 (100 done earlier) in 40.0 s, 5.0/s"."""
        before, seconds = self._before or 0, self.seconds
        already = f" ({before} done earlier)" if before else ""
        rate = f", {_rate((self.done - before) / seconds)}/s" if seconds > 0 and self.done > before else ""
        ending = "finished" if self.finished else "stopped"
        return f"{ending}, {self.count}{already} in {seconds:.1f} s{rate}"


@contextmanager
def progress(label: str, total: int, clock: Callable[[], float] = time.monotonic) -> Iterator[Progress]:
    """Show the progress of `label` towards `total`: a bar on a terminal, else a line now and then.

    Several may be open at once.
    """
    on_terminal = err().is_terminal and not err().is_dumb_terminal
    with _bar(label, total, clock) if on_terminal else _lines(label, total, clock) as result:
        yield result


@contextmanager
def _lines(label: str, total: int, clock: Callable[[], float]) -> Iterator[Progress]:
    last_done, last_time, closed = 0, clock(), False

    def show(bar: Progress) -> None:
        nonlocal last_done, last_time, closed
        if bar.finished and closed:
            return
        soon = bar.done - last_done < PLAIN_SHARE * bar.total and clock() - last_time < PLAIN_SECONDS
        if soon and not bar.finished:
            return
        last_done, last_time, closed = bar.done, clock(), bar.finished
        say(f"{label}: {bar.state()}")

    say(f"{label}: started, {total} to do")
    bar = Progress(label, total, show, clock)
    try:
        yield bar
    finally:
        if not closed:
            say(f"{label}: {bar.closing()}")


_live: "rich.progress.Progress | None" = None  # one live display for all bars that are open at once


@contextmanager
def _bar(label: str, total: int, clock: Callable[[], float]) -> Iterator[Progress]:
    with _display() as live:
        task = live.add_task(label, total=total, state="")

        def show(bar: Progress) -> None:
            live.update(task, completed=bar.done, total=bar.total, state=bar.state())

        bar = Progress(label, total, show, clock)
        try:
            yield bar
        finally:
            live.update(task, state=bar.closing())


@contextmanager
def _display() -> Iterator["rich.progress.Progress"]:
    global _live
    if _live is not None:
        yield _live
        return
    from rich.progress import BarColumn, TextColumn  # only here: `srlm --help` needs no bars
    from rich.progress import Progress as Display

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(24),
        TextColumn("{task.fields[state]}", markup=False),
    )
    with Display(*columns, console=err(), refresh_per_second=4) as _live:
        try:
            yield _live
        finally:
            _live = None


def _rate(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 0.95 else f"{value:.2f}"


def _clock_time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
