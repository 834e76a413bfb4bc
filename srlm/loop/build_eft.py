"""`srlm seed eft`: EFT from ranked responses, by the same stages as in a run.

The work is done in a run folder beside the file to make, in which the baseline stages are run and nothing else. It
stays, so that the same command continues where it stopped, and `srlm inspect` shows how the EFT was made.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srlm.console import say
from srlm.errors import UserError
from srlm.records import EFTRow, RatedRow
from srlm.run.folder import Run
from srlm.run.init import Sources, init_run
from srlm.run.paths import BASELINE, RunPaths
from srlm.seed.rated import side_by_side
from srlm.store import read_rows, write_rows


@dataclass(frozen=True)
class Output:
    """The files of one `srlm seed eft`: EFT to train on, the held-out ranked responses, the run folder of the work."""

    eft: Path

    @property
    def held_out(self) -> Path:
        """What `srlm init --held-out-eft` takes, to measure the judge."""
        return self.eft.with_name(f"{self.eft.stem}.held-out.jsonl")

    @property
    def work(self) -> Path:
        """The run folder in which EFT is built."""
        return self.eft.with_name(f"{self.eft.name}.work")


def begin(output: Output, given: Sources) -> Run:
    """The run folder in which EFT is built, new or found. Safe to rerun: the work continues.

    Raises UserError where one of the output's files holds anything else, and whatever `init_run` raises.
    """
    taken = [path for path in (output.held_out, output.eft) if path.exists()]
    if taken and not _finished(output.work):
        raise UserError(f"{taken[0]} already exists", "choose another --out, or move it away")
    for line in init_run(output.work, given).lines():
        say(line)
    return Run(output.work)


def finish(output: Output, run: Run) -> None:
    """Write what the run's baseline stages built to the output's files, and say what to do with them."""
    run.load()
    held_out = side_by_side(read_rows(run.seed("held_out_eft"), RatedRow))
    _write(output.held_out, [row.model_dump() for row in held_out])
    _write(output.eft, [_as_given(row) for row in read_rows(run.eft, EFTRow)])
    info = run.record.stages[f"{BASELINE}/eft"].info
    say(f"{output.eft}: {info['kept']} judgements to learn from. {output.held_out}: {len(held_out)} prompts held out.")
    for what, name in (("all judgements", "judged"), ("those that agree", "agreeing"), ("those kept", "kept")):
        counts = ", ".join(f"{score}: {count}" for score, count in info[f"scores_{name}"].items())
        say(f"Scores of {what}: {counts or 'none'}")
    say(f"To see how it was made: srlm inspect {output.work}")
    say(f"Next: srlm init RUN --model ... --ift ... --eft {output.eft} --held-out-eft {output.held_out}")


def _finished(work: Path) -> bool:
    record = Run(work).record.stages.get(f"{BASELINE}/eft") if RunPaths(work).record.is_file() else None
    return record is not None and record.status == "done"


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write a file in one step, or leave it where it holds just this. Raises UserError if it holds anything else."""
    if path.exists() and list(read_rows(path, dict[str, Any])) != rows:
        raise UserError(f"{path} already exists, with other content", "move it away, then run the same command again")
    write_rows(path, rows)


def _as_given(row: EFTRow) -> dict[str, Any]:
    """The row as `--eft` reads it."""
    return {
        "messages": row.messages,
        "response": row.response,
        "judgement": row.judgement,
        "score": row.score,
        "human_score": row.human,
        "prompt_group": row.group,
    }
