"""A run whose models' answers are told apart by their exclamation marks, and a judge that counts these."""

from pathlib import Path
from typing import Any

from srlm.records import AnswerEval, Candidate, Rollout
from srlm.run.folder import Run
from srlm.store import write_rows
from tests.helpers.chat_server import ChatServer
from tests.helpers.run_folder import finished_run

# What each model answers to the held-out prompts; the judge counts exclamation marks.
TEXTS = {0: ["", "no", ""], 1: ["!", "!!", "!"], 2: ["!!!", "!!", "!!!!"]}


def question(number: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"Question {number}?"}]


def run_with_answers(root: Path, server: ChatServer, **settings: Any) -> Run:
    run = finished_run(root)
    for t, texts in TEXTS.items():
        rows = [
            AnswerEval(
                rollout=Rollout(
                    id=f"q{number}",
                    messages=question(number),
                    candidates=[Candidate(text=text, finish="stop", tokens=3)] * 2,
                )
            )
            for number, text in enumerate(texts)
        ]
        write_rows(run.at(t).eval, rows)
    changes = {"judge": '"the-judge"', "endpoint": f'"{server.url}"'} | settings
    text = (root / "config.toml").read_text()
    head, table = text.split("[versus]\n")
    for key, value in changes.items():
        before = next(line for line in table.splitlines() if line.startswith(f"{key} ="))
        table = table.replace(before, f"{key} = {value}")
    (root / "config.toml").write_text(f"{head}[versus]\n{table}")
    return Run(root)


def scored(prompt: str) -> str:
    answer = prompt.partition("### Answer\n")[2].partition("### Review")[0]
    return f"Some words.\nScore: {answer.count('!')}"
