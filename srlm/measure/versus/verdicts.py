"""The one judge of a run's head-to-head comparisons, and what it said so far, kept by content in the run folder.

    RUN/versus/DIGEST/judge.json items.jsonl judged.jsonl

DIGEST covers what decides a verdict: who judges, how, by which rubric. A question is one conversation with one
response (scored) or two (pairwise); judged.jsonl names it by its line, so that items are only ever appended.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from srlm.engine.load import Endpoint, EngineSpec, local_model, weights_digest
from srlm.errors import StageError, UserError
from srlm.judge.rubric import Rubric
from srlm.judge_file.columns import Columns
from srlm.judge_file.job import Judged, JudgeJob
from srlm.process.launch import Watch, run_child
from srlm.records import Judgement, Messages, Record
from srlm.run.folder import Run
from srlm.run.paths import VerdictPaths
from srlm.settings import SCORED_BY, JudgeSettings
from srlm.store import Appender, digest, read_rows, write_json


class Question(Record):
    """One thing to judge; its id is the digest of the other two."""

    id: str
    messages: Messages
    responses: list[str]


def question(messages: Messages, responses: list[str]) -> Question:
    """The question with its id."""
    return Question(id=digest(messages, responses), messages=messages, responses=responses)


@dataclass(frozen=True)
class RunJudge:
    """The judge that [versus] names for a run."""

    run: Run

    @property
    def pairwise(self) -> bool:
        """Whether it sees two answers at once."""
        return self.run.config.versus.mode == "pairwise"

    @property
    def rubric(self) -> Rubric:
        """The run's own rubric for the mode."""
        return self.run.templates.pairwise if self.pairwise else self.run.templates.rubric

    @property
    def settings(self) -> JudgeSettings:
        """[judge] in the mode of [versus]: scores are made as in the run, unless that has none."""
        settings = self.run.config.judge
        if self.pairwise:
            return settings.model_copy(update={"mode": "pairwise"})
        return settings.model_copy(update={"mode": "sampled"}) if settings.compares else settings

    @cached_property
    def engine(self) -> EngineSpec:
        """The endpoint or the model; M1 where none is named. Raises UserError where its weights were removed."""
        config, versus = self.run.config, self.run.config.versus
        if not versus.judge and self.run.removed("M1"):
            problem = f"{self.run.root}: M1 is the judge, but its weights were removed (train.keep_models)"
            raise UserError(problem, "name another judge in versus.judge")
        named = versus.judge or self.run.model(1)
        if versus.endpoint:
            return Endpoint(url=versus.endpoint, model=named)
        if versus.judge:  # gets the context that it has, and none of the arguments that were chosen for M0's shape
            config = config.model_copy(update={"engine": config.engine.model_copy(update={"args": {}})})
        return local_model(config, named, self.run.revision(named), whole_context=bool(versus.judge))

    @cached_property
    def record(self) -> dict[str, Any]:
        """Who judges and how, for the record; what is in it decides a verdict, or where another model judges."""
        versus, trained = self.run.config.versus, self.run.record.stages.get("M1/train")
        return {
            "model": versus.judge or "M1",
            "endpoint": versus.endpoint or None,
            "weights": weights_digest(versus.judge) if versus.judge else trained and trained.digest,
            **self.settings.model_dump(include=set(SCORED_BY)),
            "rubric": self.rubric.path.name,
            "rubric_digest": self.rubric.digest,
            "seed": self.run.config.run.seed,
        }

    @property
    def paths(self) -> VerdictPaths:
        """Where its verdicts lie."""
        return VerdictPaths(self.run.paths.versus / digest(self.record))

    def judge(self, items: Iterable[Question], lock: int) -> dict[str, list[list[Judgement]]]:
        """Question id -> judgements of each of its responses; a child judges those that are not known yet.

        Raises UserError for a judge that cannot be used, StageError when the child crashed.
        """
        wanted = {one.id: one for one in items}
        self.paths.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.paths.judge, self.record)
        known = [row.id for row in read_rows(self.paths.items, Question)]
        with Appender(self.paths.items) as file:
            file.append_all(one for one in wanted.values() if one.id not in set(known))
        known += [name for name in wanted if name not in set(known)]
        if len(self._judged(known)) < len(known):  # also what an earlier call was interrupted at
            self._child(len(known), lock)
        found = self._judged(known)
        if missing := wanted.keys() - found.keys():
            raise StageError(f"{self.paths.folder} is missing {len(missing)} verdicts: run the same command again")
        return {name: found[name] for name in wanted}

    def _judged(self, known: list[str]) -> dict[str, list[list[Judgement]]]:
        rows: Iterable[Judged] = read_rows(self.paths.judged, Judged)
        return {known[row.row - 1]: row.judgements for row in rows}

    def _child(self, count: int, lock: int) -> None:
        job = JudgeJob(
            input=self.paths.items,
            columns=Columns(prompt="messages", responses=["responses"]),
            engine=self.engine,
            settings=self.settings,
            rubric=self.rubric.path,
            scale=None,
            seed=self.run.config.run.seed,
            rows=self.paths.judged,
        )
        watch = Watch(f"head to head, judged by {self.record['model']}", job.rows, count)
        run_child("srlm.judge_file", job, self.run.log("versus"), [watch], lock)
