"""`srlm eval --prompts` and `--against`: other prompts, other opponents, and that nothing is asked twice."""

import json
from pathlib import Path
from typing import Any

import pytest

from srlm.engine.scripted import ScriptedEngine
from srlm.errors import UserError
from srlm.measure.figures import read_figures
from srlm.measure.versus.command import eval_run
from srlm.records import Messages, PromptRow, Rollout
from srlm.run.folder import Run
from srlm.store import read_rows, write_rows
from tests.helpers.chat_server import ChatServer, serve
from tests.helpers.versus_run import run_with_answers, scored
from tests.helpers.written import write

ASKED = ["What is 3 plus 4?", "What is 2 plus 2?", "Which comes first, b or a?"]


def test_against_an_earlier_model_of_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All others meet it on the held-out prompts; asked again, the judge is not."""
    with serve(ChatServer(scored)) as server:
        run = run_with_answers(tmp_path / "r", server)
        eval_run(run, "m1", None, True)
        found = json.loads(capsys.readouterr().out)
        asked = len(server.prompts)
        eval_run(run, "M1", None, True)
        assert len(server.prompts) == asked == 3 * 3 - 1
    assert {model: list(figures["against"]) for model, figures in found.items()} == {"M0": ["m1"], "M2": ["m1"]}
    assert found["M0"]["against"]["m1"]["loss"] == 1
    assert found["M2"]["against"]["m1"]["win"] == 2 / 3
    kept = [json.loads(path.read_text()) for path in (run.root / "versus").glob("result-*.json")]
    assert found in kept
    assert "versus" not in read_figures(run, 2)  # nobody's opponent in the loop


@pytest.mark.parametrize(
    ("against", "rows", "message"),
    [
        ("other.json", [{"instruction": "Nobody asked this.", "output": "!"}], "no prompt in common"),
        ("other.json", [{"instruction": "Question 0?"}], "other.json: row 1: wrong columns .found: instruction."),
        ("nowhere.json", [], "nowhere.json: no such file"),
    ],
)
def test_answers_that_cannot_be_compared(tmp_path: Path, against: str, rows: list[Any], message: str) -> None:
    (tmp_path / "other.json").write_text(json.dumps(rows))
    with serve(ChatServer(scored)) as server:
        run = run_with_answers(tmp_path / "r", server)
        with pytest.raises(UserError, match=message):
            eval_run(run, str(tmp_path / against), None, True)
        assert not server.prompts


def test_prompts_that_are_not_there(tmp_path: Path) -> None:
    with serve(ChatServer(scored)) as server:
        run = run_with_answers(tmp_path / "r", server)
        with pytest.raises(UserError, match="no such file"):
            eval_run(run, None, tmp_path / "prompts.json", True)


class CrashError(Exception):
    """Stands for a kill in the middle of the work."""


def test_answers_go_on_from_the_last_row(tmp_path: Path) -> None:
    """Killed at the third prompt: the first two answers stay, and only the third is asked for again."""
    with serve(ChatServer(scored)) as server:
        run = run_with_answers(tmp_path / "r", server)
    config = run.root / "config.toml"
    config.write_text(config.read_text().replace('max_in_flight = "auto"', "max_in_flight = 1"))
    prompts, answers = tmp_path / "prompts.jsonl", tmp_path / "answers.jsonl"
    rows = [PromptRow(id=f"p{n}", messages=[{"role": "user", "content": text}]) for n, text in enumerate(ASKED)]
    write_rows(prompts, rows)

    def crash(messages: Messages, seed: int) -> str:
        if messages[-1]["content"] == ASKED[2]:
            raise CrashError
        return f"answer {seed}"

    with pytest.raises(BaseExceptionGroup):
        write(Run(run.root), 0, ["answers"], ScriptedEngine(crash), folder=tmp_path)
    before = answers.read_bytes()
    assert [row.id for row in read_rows(answers, Rollout)] == ["p0", "p1"]
    whole = ScriptedEngine(lambda messages, seed: f"answer {seed}")
    write(Run(run.root), 0, ["answers"], whole, folder=tmp_path)
    assert [messages[-1]["content"] for messages, _, _ in whole.asked] == [ASKED[2]]
    assert answers.read_bytes().startswith(before)
    assert [row.id for row in read_rows(answers, Rollout)] == ["p0", "p1", "p2"]
