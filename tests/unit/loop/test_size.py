"""What the parent keeps of a row does not depend on how much text it has: streams stay streams."""

import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from srlm.iterate import Iteration
from srlm.loop.plan import make_plan
from srlm.measure.figures import measure_again, write_figures
from srlm.records import AnswerEval, CanaryEval, Candidate, Instruction, JudgeEval, Judgement, Rollout
from srlm.report.data import model_data
from srlm.run.folder import Run
from srlm.settings import PairSettings
from srlm.store import write_rows
from tests.helpers.run_folder import bare_run

TEXT = "many words " * 150  # prompt, answer or judgement: a pair has 5,000 characters, a rollout more than 10,000
KEPT = 1500  # bytes of a row that may stay: ids, places, numbers
FEW, MANY = 30, 130


def rollouts(count: int, last: float) -> Iterator[Rollout]:
    for number in range(count):
        judged = [[Judgement(text=TEXT, score=s, finish="stop", tokens=9)] for s in (1.0, 4.0, last)]
        answers = [
            Candidate(text=f"{TEXT}{'!' * i}", finish="stop", tokens=9, judgements=j) for i, j in enumerate(judged)
        ]
        yield Rollout(id=f"i{number:04d}", messages=[{"role": "user", "content": TEXT}], candidates=answers)


def evaluation(count: int) -> Iterator[AnswerEval | JudgeEval | CanaryEval]:
    for row in rollouts(count, 2.0):
        yield AnswerEval(rollout=row, truth=[{"score": 1.0}, None, {"score": 2.0}])
        judged = row.candidates[0].judgements
        yield JudgeEval(id=row.id, group=row.id[:-1], human=float(row.id[-1]), judgements=judged)
        yield CanaryEval(id=f"c{row.id}", name="score", response=TEXT, judgements=judged)


def run_of(root: Path, count: int) -> Run:
    """M1 has judged `count` rollouts, also those of M0, and M0 judged M1's: each option of [pairs] reads a file."""
    run = bare_run(root)
    run.config = run.config.model_copy(update={"pairs": PairSettings(rho=0.1, anchor="M0", consistency="drop")})
    for t in (0, 1):
        write_rows(run.at(t).eval, evaluation(count))
    paths = run.at(1)
    for path, last in ((paths.rollouts, 3.0), (paths.past_judged, 0.5), (paths.previous_judged, 3.0)):
        write_rows(path, rollouts(count, last))
    write_rows(paths.instructions, (Instruction(id=r.id, round=0, messages=r.messages) for r in rollouts(count, 1.0)))
    return run


def pair(run: Run) -> None:
    run.record.stages.clear()
    Iteration(run, 2, 0).make_pairs(1)
    assert run.record.stages["M1/pairs"].info["anchored"]


WORK: dict[str, Callable[[Run], object]] = {
    "pair": pair,
    "measure": lambda run: measure_again(run, [0, 1]),
    "inspect": lambda run: model_data(run, 1),
    "plan": lambda run: make_plan(run, 2),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    return [run_of(tmp_path_factory.mktemp("run") / f"{count}", count) for count in (FEW, MANY)]


@pytest.mark.parametrize("work", WORK)
def test_of_a_row_only_numbers_stay(runs: list[Run], work: str) -> None:
    peaks = []
    for run in runs:
        write_figures(run, 0)
        pair(run)
        WORK[work](run)  # what is imported or made once is there now
        tracemalloc.start()
        WORK[work](run)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (peaks[1] - peaks[0]) / (MANY - FEW) < KEPT
