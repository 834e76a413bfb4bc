"""Which engine a part is given, and what the table of parts says of each."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from srlm.config import parse_config
from srlm.engine.load import Endpoint, EngineSpec, LocalModel
from srlm.engine.scripted import ScriptedEngine
from srlm.errors import UserError
from srlm.generate import __main__ as child
from srlm.generate.job import GenerateJob
from srlm.generate.parts import PARTS, Engines, Lengths, Place, engines_of, watches
from srlm.settings import Config
from tests.helpers.run_folder import finished_run

URL = "http://127.0.0.1:1/v1"


def config(**tables: dict[str, object]) -> Config:
    values: dict[str, object] = {"model": {"path": "base"}}
    return parse_config(values | tables, "test")


def test_the_model_writes_and_judges_where_no_server_is_named() -> None:
    writer, judge = engines_of(config(), "base", "abc", ["eval", "aift"])
    assert isinstance(writer, LocalModel)
    assert (writer.model, writer.revision, judge) == ("base", "abc", None)
    assert engines_of(config(), "M1/model", None, ["eval"])[0].model == "M1/model"


def test_a_server_judges_beside_the_model_and_alone_where_nothing_else_is_to_do() -> None:
    settings = config(judge={"endpoint": URL, "model": "big"})
    writer, judge = engines_of(settings, "base", None, ["eval", "aift"])
    assert isinstance(writer, LocalModel)
    assert judge == Endpoint(url=URL, model="big")
    assert engines_of(settings, "base", None, ["judge"]) == (Endpoint(url=URL, model="big"), None)


def test_a_server_writes_instructions_and_nothing_else() -> None:
    settings = config(instructions={"source": "model", "path": "writer", "endpoint": URL})
    assert engines_of(settings, "writer", None, ["instructions"]) == (Endpoint(url=URL, model="writer"), None)
    assert isinstance(engines_of(settings, "base", None, ["aift"])[0], LocalModel)


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"judge": {"endpoint": URL}}, "judge.endpoint and judge.model"),
        ({"judge": {"model": "big"}}, "judge.endpoint and judge.model"),
        ({"instructions": {"endpoint": URL}}, 'instructions.source = "model"'),
        ({"judge": {"endpoint": URL, "model": "big"}, "pairs": {"consistency": "drop"}}, "always the same one"),
    ],
)
def test_servers_without_what_they_need(tables: dict[str, dict[str, object]], said: str) -> None:
    with pytest.raises(UserError, match=said):
        config(**tables)


def test_each_part_knows_its_rows_and_how_many_there_will_be(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run")
    place = Place(run, 1)
    assert {name: part.rows(place).name for name, part in PARTS.items() if name != "answers"} == {
        "eval": "eval.jsonl",
        "judge": "judgements.jsonl",
        "instructions": "instructions.jsonl",
        "aift": "rollouts.jsonl",
        "past": "past.jsonl",
        "judge_past": "past_judged.jsonl",
        "previous": "previous_judged.jsonl",
    }
    [bar] = watches(place, ["past"])
    assert (bar.label, bar.total) == ("M1: an earlier model answers the same instructions", 2)
    lengths = Lengths(answer=10, judgement=5)
    count, k = run.config.instructions.count, run.config.judge.samples
    assert PARTS["aift"].tokens(run, lengths) == count * run.config.rollout.candidates * (10 + k * 5)
    assert PARTS["aift"].tokens(run, lengths) == sum(PARTS[p].tokens(run, lengths) for p in ("past", "judge_past"))


@pytest.mark.parametrize(("asked", "expected"), [("auto", 3 * 8), (5, 5)])
def test_rows_in_progress_follow_the_engines_unless_the_user_says_how_many(
    asked: str | int, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, seen = finished_run(tmp_path / "run"), []

    @asynccontextmanager
    async def load_engine(spec: EngineSpec) -> AsyncIterator[ScriptedEngine]:
        yield ScriptedEngine(lambda messages, seed: "")

    async def make_parts(place: Place, parts: list[str], engines: Engines) -> dict[str, float]:
        seen.append(engines.in_flight)
        return {}

    monkeypatch.setattr(child, "load_engine", load_engine)
    monkeypatch.setattr(child, "make_parts", make_parts)
    text = run.paths.config.read_text()
    run.paths.config.write_text(text.replace('max_in_flight = "auto"', f"max_in_flight = {json.dumps(asked)}"))
    engine = LocalModel(model="base", replicas=3, sequences=8)
    asyncio.run(child.generate(GenerateJob(run=run.root, t=0, parts=["eval"], engine=engine)))
    assert seen == [expected]
