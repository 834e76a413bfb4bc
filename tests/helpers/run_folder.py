"""A small run folder written by hand: what `srlm init` and two iterations leave behind, without any model."""

import shutil
from pathlib import Path
from typing import Any

from srlm.config import flat, parse_config, to_toml
from srlm.loop.stages import stages
from srlm.measure.figures import write_figures
from srlm.packaged import PROMPTS
from srlm.records import AnswerEval, CanaryEval, Candidate, Instruction, JudgeEval, Judgement, PreferencePair, Rollout
from srlm.run.folder import Run, RunRecord
from srlm.store import write_json, write_rows, write_text

SEED_FILES = ("ift", "eft", "held_out_eft", "eval_prompts")
HOSTILE = "\x1b[31m[bold]red[/bold]\x1b[0m \u202etxt\x07"  # what a model may write: escapes, markup, bidi, bell


def bare_run(root: Path) -> Run:
    """A run as `srlm init` leaves it."""
    config = parse_config({"model": {"path": "base-model"}}, "test")
    write_text(root / "config.toml", to_toml(config))
    shutil.copytree(PROMPTS, root / "prompts")
    for name in SEED_FILES:
        write_rows(root / "seed" / f"{name}.jsonl", [])
    record = RunRecord(
        created="2026-01-01T00:00:00Z", versions={}, arguments={}, seed_digests={}, settings=flat(config)
    )
    write_json(root / "run.json", record.model_dump(mode="json"))
    return Run(root)


def finished_run(root: Path, n: int = 2) -> Run:
    """A run at M_n: everything done but what M_n would make for the next model."""
    run = bare_run(root)
    for stage in stages(run, n):
        write_files(run, stage.name)
        run.begin(stage)
        run.end(stage, "done", 10.0 + stage.t, {})
    return run


def write_files(run: Run, name: str) -> None:
    """What the stage leaves behind; of a training, a model folder with nothing in it."""
    t, part = int(name[1]), name.partition("/")[2]
    folder, aift = run.at(t).folder, run.at(t).aift
    if part == "train":
        (folder / "model").mkdir(parents=True)
        rows: list[dict[str, Any]] = [{"step": step, "total_steps": 2, "loss": 0.7 - step / 10} for step in (1, 2)]
        write_rows(folder / "train.jsonl", [row | {"logps_chosen": -5.0 - row["step"]} for row in rows])
    elif part == "eval":
        answers, judged = eval_answers(t), eval_judged(t)
        canary = CanaryEval(id="canary/score/p1", name="score", response="Score: 5", judgements=[judgement(1.0)])
        write_rows(folder / "eval.jsonl", [*answers, *judged, canary])
        write_figures(run, t)
    elif part == "aift":
        write_rows(aift / "instructions.jsonl", _instructions())
        write_rows(aift / "rollouts.jsonl", [row.rollout for row in eval_answers(t)])
    else:
        write_rows(aift / "pairs.jsonl", [_pair()])
        write_rows(aift / "dropped.jsonl", [{"id": "i1", "reason": "tie"}])
        write_figures(run, t)


def judgement(score: float | None) -> Judgement:
    """One reply of the judge."""
    return Judgement(text=f"It is so. {HOSTILE}\nScore: {score}", score=score, finish="stop", tokens=5)


def eval_answers(t: int) -> list[AnswerEval]:
    """Two prompts with two answers each; the ground truth is t + 0.5 on average."""
    rows = []
    for name in ("p1", "p2"):
        candidates = [
            Candidate(text=f"{name} {HOSTILE} {score}", finish="stop", tokens=4, judgements=[judgement(score)])
            for score in (2.0, 4.0)
        ]
        asked = [{"role": "user", "content": f"Question {name}? {HOSTILE}"}]
        truth: list[dict[str, float] | None] = [{"score": float(t), "correct": 0.0}, {"score": t + 1.0, "correct": 1.0}]
        rows.append(AnswerEval(rollout=Rollout(id=name, messages=asked, candidates=candidates), truth=truth))
    return rows


def eval_judged(t: int) -> list[JudgeEval]:
    """Two groups of two held-out responses; M0 orders one of them rightly, later models both."""
    return [
        JudgeEval(id=f"{group}{human}", group=group, human=human, judgements=[judgement(score)])
        for group, scores in (("g1", (1.0, 4.0)), ("g2", (1.0, 4.0) if t else (4.0, 1.0)))
        for human, score in zip((1.0, 2.0), scores, strict=True)
    ]


def _instructions() -> list[Instruction]:
    asked = [{"role": "user", "content": "Why?"}]
    return [
        Instruction(id=f"i{number}", round=0, messages=asked, dropped=dropped)
        for number, dropped in enumerate([None, None, "too similar"])
    ]


def _pair() -> PreferencePair:
    def say(role: str, text: str) -> list[dict[str, str]]:
        return [{"role": role, "content": text}]

    return PreferencePair(
        id="i0",
        prompt=say("user", "Why?"),
        chosen=say("assistant", f"Because. {HOSTILE}"),
        rejected=say("assistant", "No."),
        chosen_score=4.0,
        rejected_score=2.0,
    )
