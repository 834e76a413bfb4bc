"""A run made from ranked responses, and the judging of them on the scripted engine."""

from pathlib import Path
from typing import Any

from srlm.records import JudgeEval, Messages, RatedRow
from srlm.run.folder import Run
from srlm.store import read_rows, write_json, write_rows
from tests.helpers.run_folder import bare_run
from tests.helpers.written import write

TALK = [
    {"role": "system", "content": "You are terse."},
    {"role": "user", "content": "Name a river."},
    {"role": "assistant", "content": "The Rhine."},
    {"role": "user", "content": "And a longer one?"},
]


def ranked_run(root: Path, prompts: int = 12, **settings: str) -> Run:
    """A run made from ranked responses: per prompt a good and a bad answer to a conversation of several turns."""
    run = bare_run(root)
    rows = [
        RatedRow(id=f"ranked-{n:06d}.{k}", group=f"g{n}", messages=TALK, response=f"{word} {n}", human=2 - k)
        for n in range(prompts)
        for k, word in enumerate(("good", "bad"))
    ]
    write_rows(run.seed("ranked"), rows)
    run.record.seed_digests = {"ranked": "made at init"}
    write_json(root / "run.json", run.record.model_dump(mode="json"))
    return changed(run, **settings)


def changed(run: Run, **settings: str) -> Run:
    """Edit config.toml as a user would, and open the run again: `train="false"` for `train = true`."""
    path = run.root / "config.toml"
    text = path.read_text()
    defaults = {"train": "true", "max_share": "0.5", "min_rows": "16", "max_in_flight": '"auto"'}
    for key, value in settings.items():
        assert f"\n{key} = {defaults[key]}\n" in text
        text = text.replace(f"\n{key} = {defaults[key]}\n", f"\n{key} = {value}\n")
    path.write_text(text)
    return Run(run.root)


def reply(messages: Messages, seed: int) -> str:
    """A judge that knows good from bad, but for one reply in three without a score."""
    if seed % 3 == 0:
        return "I cannot say."
    return f"Score: {4 + seed % 2}" if "good" in messages[0]["content"] else f"Score: {1 + seed % 2}"


def judge(run: Run, engine: Any) -> list[JudgeEval]:
    write(run, 0, ["judge"], engine)
    return list(read_rows(run.baseline.judgements, JudgeEval))
