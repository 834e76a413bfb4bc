"""What a model answered to each prompt: its first answer, from its evaluation, a file, or a child that loads it."""

from collections.abc import Iterable
from pathlib import Path

from srlm.engine.load import local_model, weights_digest
from srlm.errors import UserError
from srlm.generate.job import GenerateJob
from srlm.generate.parts import PARTS, Place
from srlm.process.launch import Watch, run_child
from srlm.records import EvalRow, Messages, Rollout
from srlm.run.folder import Run
from srlm.run.paths import AnswerPaths
from srlm.seed.files import stream_table
from srlm.seed.forms import judged
from srlm.seed.read import read_prompts
from srlm.store import digest, file_digest, read_rows, write_rows

Answers = dict[str, tuple[Messages, str]]
"""Digest of a prompt's messages -> the messages and the answer."""


def first_answers(rollouts: Iterable[Rollout]) -> Answers:
    """The first candidate of each rollout; rows that were set aside have none."""
    found = [(row.messages, row.candidates[0].text) for row in rollouts if row.candidates]
    return {digest(messages): (messages, text) for messages, text in found}


def held_out_answers(run: Run, t: int) -> Answers:
    """M_t's answers to the run's held-out prompts. Raises UserError where M_t has not been evaluated."""
    path = run.at(t).eval
    if not path.exists():
        raise UserError(f"{run.root}: M{t} has not been evaluated yet", f"run `srlm iterate {t} --run {run.root}`")
    rows = read_rows(path, EvalRow)
    return first_answers(row.rollout for row in rows if row.kind == "answer")


def answers_from_file(path: Path) -> Answers:
    """Answers in alpaca_eval's form (instruction, output), or with other usual names of these columns."""
    result: Answers = {}
    for raw in stream_table(path):
        messages, answer = judged(raw)
        result[digest(messages)] = (messages, answer)
    return result


def ask(run: Run, model: str, prompts: Path, lock: int) -> Answers:
    """The answers of a model (a folder or a hub id) to a file of prompts; a child writes those that are missing.

    They are kept under RUN/versus/answers by prompts, weights and sampling. Raises UserError where no prompt fits.
    """
    rollout = run.config.rollout.model_dump(include={"temperature", "top_p", "max_tokens"})
    asked = (file_digest(prompts), model, weights_digest(model), rollout, run.config.run.seed)
    folder = run.paths.answers / digest(*asked)
    kept = AnswerPaths(folder).prompts
    if not kept.exists():
        write_rows(kept, read_prompts(prompts).rows)
    place = Place(run, 0, folder)
    part = PARTS["answers"]
    if sum(1 for _ in read_rows(part.rows(place), Rollout)) < part.count(place):
        engine = local_model(run.config, model, run.revision(model))
        job = GenerateJob(run=run.root, t=0, parts=["answers"], engine=engine, folder=folder)
        watch = Watch(f"{model} answers", part.rows(place), part.count(place))
        run_child("srlm.generate", job, run.log("versus-answers"), [watch], lock)
    rows: list[Rollout] = list(read_rows(part.rows(place), Rollout))
    answers = first_answers(rows)
    if rows and not answers:  # else it is called a lack of common prompts
        problem = f"{model} answered none of the prompts in {prompts} ({rows[0].dropped})"
        raise UserError(problem, "use shorter prompts, or raise model.max_length")
    return answers
