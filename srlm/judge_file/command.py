"""The parent of `srlm judge`: checks the whole file first, has a child judge it, and puts the figures beside its rows.

Beside the output lies a work folder, `.NAME.work`, until the output is written: finished rows are safe there, and the
same command continues from them. Another command on the same output is told what differs.
"""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from srlm.console import say
from srlm.engine.load import weights_digest
from srlm.errors import StageError, UserError
from srlm.judge.parse import DEFAULT_SCALE, Scale
from srlm.judge.rubric import load_rubric
from srlm.judge_file.columns import Columns, guess, is_list, item_of
from srlm.judge_file.job import JudgeJob
from srlm.judge_file.output import Finished, Row, added_names, figures, line_of, suffix_of, write
from srlm.judge_file.people import People, human_marks
from srlm.judge_file.request import STDIN, Request
from srlm.judge_file.summary import Summary
from srlm.process.launch import Watch, run_child
from srlm.process.lock import locked
from srlm.seed.files import sample, stream_table
from srlm.settings import SCORED_BY
from srlm.store import file_digest, read_json, write_json


@dataclass
class Input:
    """A checked input: its rows' columns in order of appearance, and where the judge's figures go."""

    path: Path
    columns: Columns
    count: int = 0
    names: dict[str, None] = field(default_factory=dict)
    added: dict[str, str] = field(default_factory=dict)
    as_list: bool = False


def judge_file(request: Request) -> None:
    """Judge the file. Raises UserError, before any model is loaded, for whatever is wrong with it.

    Raises StageError when all is done and not one response has a score.
    """
    with _input_file(request.file) as path:
        out = request.out or (None if request.file == STDIN else default_out(Path(request.file)))
        if out is not None:
            suffix_of(out)
            if out.exists():
                raise UserError(f"{out} already exists", "choose another file with --out, or move it away")
        found = check(path, request)
        if out is None:
            with tempfile.TemporaryDirectory(prefix="srlm-judge-") as folder:
                summary = _judge(request, found, Path(folder), None)
        else:
            work = out.with_name(f".{out.name}.work")
            summary = _judge(request, found, work, out)
            shutil.rmtree(work)
    if not summary.scored:
        raise StageError("no response got a score: this model cannot judge these rows with this rubric (reasons above)")


def default_out(file: Path) -> Path:
    """answers.jsonl -> answers.judged.jsonl; a gzipped input's is not compressed."""
    bare = file.with_name(file.name[:-3]) if file.name.lower().endswith(".gz") else file
    return bare.with_name(f"{bare.stem}.judged{bare.suffix}")


@contextmanager
def _input_file(file: str) -> Iterator[Path]:
    """The input as a file that can be read again: standard input is copied to one first."""
    if file != STDIN:
        yield Path(file)
        return
    with tempfile.TemporaryDirectory(prefix="srlm-stdin-") as folder:
        say("Reading standard input to its end: all rows are checked before the model is loaded")
        path = Path(folder) / "stdin.jsonl"
        with path.open("wb") as spool:
            shutil.copyfileobj(sys.stdin.buffer, spool)
        yield path


def check(path: Path, request: Request) -> Input:
    """Read all of the input once: guess the columns, and find what is wrong with a row before a model is loaded."""
    first = sample(path)
    found = Input(path, guess(request.columns, first))
    found.as_list = is_list(found.columns, first)
    pairwise = request.config.judge.compares
    for row in stream_table(path):
        item = item_of(found.columns, row)
        if len(item.responses) < 2 and pairwise:
            raise UserError(f"{row.where}: mode pairwise needs at least two responses per row", "use --mode sampled")
        if len(item.responses) > 1 and not found.as_list:
            raise UserError(f"{row.where}: has several responses, but the first row has one", "give every row a list")
        human_marks(found.columns, row, len(item.responses))
        found.names |= dict.fromkeys(row.values)
        found.count = row.number
    found.added = added_names(found.names)
    say(f"Columns: {found.columns.shown()}")
    if found.added["score"] != "score":
        say(f"The input already has columns with the usual names; the judge's are {', '.join(found.added.values())}")
    return found


def _judge(request: Request, found: Input, work: Path, out: Path | None) -> Summary:
    """Have the child judge what is owed, and write the output; without `out` it streams to stdout."""
    work.mkdir(parents=True, exist_ok=True)
    with locked(work / "lock", str(work), "another command is writing this output; wait for it to finish") as lock:
        job = _job(request, found, work)
        _same_as_before(work, asked(request, found), job.rows)
        finished = Finished(job.rows)
        scale = Scale(0, 1) if request.config.judge.compares else _scale(request)
        summary = Summary(request.config.judge, scale, People(found.columns, scale))
        stream = Stream(found, finished, summary) if out is None else None
        watch = stream or Watch("Judging", job.rows, found.count)
        run_child("srlm.judge_file", job, work / "child.log", [watch], lock)
        finished.look()
        if out is not None:
            columns = [*found.names, *found.added.values()]
            source = found.path if found.path.suffix.lower() == ".parquet" else None
            write(out, _all(judged_rows(found, finished, summary), job.rows), columns, source)
        elif stream is not None:
            stream.look()
    summary.show()
    if out is not None:
        say(f"{found.count} rows written to {out}")
    return summary


def _job(request: Request, found: Input, work: Path) -> JudgeJob:
    return JudgeJob(
        input=found.path,
        columns=found.columns,
        engine=request.engine,
        settings=request.config.judge,
        rubric=request.rubric,
        scale=request.scale,
        seed=request.config.run.seed,
        rows=work / "rows.jsonl",
    )


def _scale(request: Request) -> Scale:
    return load_rubric(request.rubric).scale if request.rubric else request.scale or DEFAULT_SCALE


def asked(request: Request, found: Input) -> dict[str, Any]:
    """What decides the scores: what a rerun must share to go on. Speed and time limits are no part of it."""
    # what newer versions added to either is named where it is used: a work folder of an earlier one goes on
    engine = request.engine.model_dump(include={"url", "model", "revision", "max_length"})
    settings = request.config.judge.model_dump(include=set(SCORED_BY))
    rubric = load_rubric(request.rubric).digest if request.rubric else None
    values: dict[str, Any] = {
        "input": file_digest(found.path),
        "rubric": rubric,
        "scale": list(request.scale or ()) or None,
    }
    values |= {"seed": request.config.run.seed, "weights": weights_digest(request.engine.model)}
    return values | engine | settings | {f"column {k}": v for k, v in found.columns.model_dump().items()}


def _same_as_before(work: Path, values: dict[str, Any], rows: Path) -> None:
    """Raise UserError when the work folder holds rows of a command that asked for something else."""
    path = work / "asked.json"
    if not path.exists() or not rows.exists() or not rows.stat().st_size:
        write_json(path, values)
        return
    before = read_json(path)
    differ = [key for key in {**before, **values} if before.get(key) != values.get(key)]
    if differ:
        shown = ", ".join(f"{key}: {before.get(key)} before, {values.get(key)} now" for key in differ[:3])
        problem = f"{work} holds rows that another command judged ({shown})"
        raise UserError(problem, f"repeat that command, choose another --out, or remove {work}")


def judged_rows(found: Input, finished: Finished, summary: Summary) -> Iterator[Row | None]:
    """The input's rows in order, each with the judge's figures behind it; None for as long as the next is not there."""
    raw_rows = stream_table(found.path, typed=False)
    for row in stream_table(found.path):
        raw = next(raw_rows)
        while (judged := finished[row.number]) is None:
            yield None
        summary.add(row, item_of(found.columns, row), judged)
        yield raw.values | figures(judged, found.added, found.as_list)


def _all(rows: Iterator[Row | None], work: Path) -> Iterator[Row]:
    for row in rows:
        if row is None:
            raise StageError(f"{work} is missing a row that should have been judged: run the same command again")
        yield row


class Stream(Watch):
    """A progress bar that also writes to stdout what is finished so far, in the input's order."""

    def __init__(self, found: Input, finished: Finished, summary: Summary) -> None:
        super().__init__("Judging", finished.path, found.count)
        self._finished, self._rows = finished, judged_rows(found, finished, summary)

    def look(self) -> None:
        """Write the rows that are finished up to the first one that is not."""
        super().look()
        self._finished.look()
        for row in self._rows:
            if row is None:
                break
            sys.stdout.write(line_of(row) + "\n")
        sys.stdout.flush()
