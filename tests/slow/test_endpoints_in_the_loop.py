"""A server writes the instructions and judges, in the loop; the model itself answers and is trained."""

import subprocess
from pathlib import Path

import pytest

from srlm.records import Rollout
from srlm.run.folder import Run
from srlm.store import read_rows
from tests.helpers.chat_server import ChatServer, serve
from tests.helpers.kills import iterate_command, make_run

pytestmark = pytest.mark.timeout(900)
SMALL = [
    "data.eval_prompts=4",
    "data.held_out_eft=0.02",
    "eval.canaries=1",
    "instructions.count=8",
    "instructions.source=model",
    "instructions.path=writer",
    "judge.model=judge",
    "sft.epochs=0.2",
    "engine.replicas=1",
]
PLACES = [
    "lake",
    "river",
    "hill",
    "town",
    "island",
    "desert",
    "coast",
    "forest",
    "valley",
    "bridge",
    "castle",
    "harbour",
]


def test_a_server_writes_instructions_and_judges(tmp_path: Path) -> None:
    asked: list[str] = []

    def reply(prompt: str) -> str:
        """Instructions that differ in every word that matters; as the judge: more points for longer answers."""
        if "Score:" in prompt:
            return f"Fair.\nScore: {len(prompt) % 6}"
        asked.append(prompt)
        place = PLACES[len(asked) % len(PLACES)]
        return f"Name a {place} number {len(asked)} that travellers of {place}s would love"

    root = tmp_path / "run"
    with serve(ChatServer(reply)) as server:
        make_run(root, [*SMALL, f"instructions.endpoint={server.url}", f"judge.endpoint={server.url}", "gate.waive=[]"])
        done = subprocess.run([*iterate_command(root), "--accept-judge"], capture_output=True, text=True)
        models = {body["model"] for body in server.bodies}
    assert done.returncode == 0, done.stderr
    assert models == {"writer", "judge"}
    run = Run(root)
    rows = list(read_rows(run.at(1).rollouts, Rollout))
    assert len(rows) == 8
    assert all(row.messages[0]["content"].startswith("Name a ") for row in rows)
    assert {j.text for row in rows for c in row.candidates for j in c.judgements} <= {
        f"Fair.\nScore: {n}" for n in range(6)
    }
    assert not any(c.text.startswith("Fair.") for row in rows for c in row.candidates)
    assert (run.at(2).weights).is_dir()
