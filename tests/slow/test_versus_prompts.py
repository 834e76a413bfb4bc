"""`srlm eval --prompts` with the real engine: models answer a file of prompts, once."""

import json
from pathlib import Path

import pytest

from srlm.measure.versus.command import eval_run
from srlm.packaged import DEMO
from srlm.records import Rollout
from srlm.run.folder import Run
from srlm.store import read_rows
from tests.helpers.chat_server import ChatServer, serve
from tests.helpers.versus_run import run_with_answers, scored

BASE = DEMO / "base"
ASKED = ["What is 3 plus 4?", "What is 2 plus 2?", "Which comes first, b or a?"]


@pytest.mark.timeout(900)  # two engines to load where other work may be going on
def test_models_answer_a_file_of_prompts_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """AlpacaEval's form, the real engine: a model and the file's own answers; then with half of the answers gone."""
    rows = [{"instruction": text, "output": "!!!", "generator": "other", "dataset": "own"} for text in ASKED]
    (tmp_path / "alpaca.json").write_text(json.dumps(rows))
    with serve(ChatServer(scored)) as server:
        run = run_with_answers(tmp_path / "r", server)
        for t in (0, 2):  # one model is enough: each is an engine to load
            (run.at(t).metrics).unlink()
        (run.at(1).weights).rmdir()
        (run.at(1).weights).symlink_to(BASE)
        config = run.root / "config.toml"
        text = config.read_text().replace("max_length = 2048", "max_length = 512")
        config.write_text(text.replace("max_tokens = 512", "max_tokens = 64"))
        ask = (Run(run.root), str(tmp_path / "alpaca.json"), tmp_path / "alpaca.json", True)
        eval_run(*ask)
        found = json.loads(capsys.readouterr().out)["M1"]["against"][ask[1]]
        assert (found["prompts"], found["unread"]) == (3, 0)
        [answers] = (run.root / "versus" / "answers").glob("*/answers.jsonl")
        texts = [row.candidates[0].text for row in read_rows(answers, Rollout)]
        assert found["loss"] == sum(text.count("!") < 3 for text in texts) / 3
        whole, asked, log = answers.read_bytes(), len(server.prompts), run.log("versus-answers").stat().st_mtime_ns
        eval_run(*ask)
        assert run.log("versus-answers").stat().st_mtime_ns == log  # no engine was started
        first = whole.partition(b"\n")[0] + b"\n"
        answers.write_bytes(first + whole[len(first) : len(first) + 9])  # killed in the middle of the second row
        eval_run(*ask)
        assert answers.read_bytes().startswith(first)
        assert sorted(answers.read_bytes().splitlines()) == sorted(whole.splitlines())
        assert len(server.prompts) == asked  # the same answers: judged before
