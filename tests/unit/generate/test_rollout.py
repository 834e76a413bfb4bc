"""Rollouts on the scripted engine: one durable row each, bounded work, resume."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from srlm.engine import Sample, Sampling
from srlm.engine.scripted import ScriptedEngine
from srlm.records import AnswerEval, CanaryEval, EvalRow, IFTRow, Instruction, Messages, PromptRow, RatedRow, Rollout
from srlm.run.folder import Run
from srlm.store import read_rows, write_rows
from tests.helpers.run_folder import bare_run
from tests.helpers.written import write

QUESTION = "what is the {} thing"
NUMBERS = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"]


class CrashError(Exception):
    """Stands for a kill in the middle of the work."""


def small_run(root: Path, **replace: str) -> Run:
    """A run with 4 held-out prompts, 6 held-out EFT rows and 10 instructions to make."""
    run = bare_run(root)
    config = root / "config.toml"
    text = (
        config.read_text().replace("count = 1000", "count = 10").replace('max_in_flight = "auto"', "max_in_flight = 3")
    )
    config.write_text(text)
    ask = [{"role": "user", "content": "seed question"}]
    answer = [{"role": "assistant", "content": "seed answer"}]
    write_rows(run.seed("ift"), [IFTRow(id=f"ift-{n}", messages=ask + answer) for n in range(9)])
    write_rows(
        run.seed("eval_prompts"),
        [PromptRow(id=f"eval-{n}", messages=[{"role": "user", "content": f"held out {n}"}]) for n in range(4)],
    )
    write_rows(
        run.seed("held_out_eft"),
        [RatedRow(id=f"eft-{n}", group=f"g{n % 2}", messages=ask, response=f"r{n}", human=n) for n in range(6)],
    )
    return Run(root)


def reply(messages: Messages, seed: int) -> str:
    """Instructions for few-shot prompts, scores for judge prompts, answers for the rest."""
    text = messages[-1]["content"]
    if "Write one new task" in text:
        return f"{seed % 1000} {seed // 7 % 1000} {seed // 49 % 1000} what is it"
    return f"Score: {seed % 6}" if "### Review" in text else f"answer {seed}"


def generate(run: Run, engine: Any) -> None:
    write(run, 1, ["eval", "aift"], engine)


def rows(run: Run) -> tuple[list[Instruction], list[Rollout], list[Any]]:
    aift = run.at(1).aift
    return (
        list(read_rows(aift / "instructions.jsonl", Instruction)),
        list(read_rows(aift / "rollouts.jsonl", Rollout)),
        list(read_rows(run.at(1).eval, EvalRow)),
    )


def test_every_kept_instruction_and_every_held_out_item_gets_one_row(tmp_path: Path) -> None:
    run = small_run(tmp_path / "r")
    generate(run, ScriptedEngine(reply))
    instructions, rollouts, evaluated = rows(run)
    kept = [row.id for row in instructions if row.dropped is None]
    assert len(kept) == 10
    assert sorted(row.id for row in rollouts) == sorted(kept)
    assert sum(isinstance(row, AnswerEval) for row in evaluated) == 4
    assert sum(isinstance(row, CanaryEval) for row in evaluated) == 6 * 4
    assert len(evaluated) == 4 + 6 + 6 * 4
    for rollout in rollouts:
        assert len(rollout.candidates) == 4
        assert all(len(candidate.valid) == 3 for candidate in rollout.candidates)


def test_the_judge_gets_the_conversation_and_the_very_candidate(tmp_path: Path) -> None:
    run, engine = small_run(tmp_path / "r"), ScriptedEngine(reply)
    generate(run, engine)
    judged = [m[0]["content"] for m, _, _ in engine.asked if "### Review" in m[0]["content"]]
    for rollout in rows(run)[1]:
        for candidate in rollout.candidates:
            asked = [p for p in judged if candidate.text in p and rollout.messages[0]["content"] in p]
            assert len(asked) == 1


def test_at_most_max_in_flight_rows_at_once(tmp_path: Path) -> None:
    run = small_run(tmp_path / "r")
    open_now, most = 0, 0

    class Counting(ScriptedEngine):
        async def sample(self, messages: Messages, sampling: Sampling, seed: int) -> list[Sample]:
            nonlocal open_now, most
            if sampling.n != 4:  # only candidates: one call per row
                return await super().sample(messages, sampling, seed)
            open_now += 1
            most = max(most, open_now)
            await asyncio.sleep(0.001)
            open_now -= 1
            return await super().sample(messages, sampling, seed)

    generate(run, Counting(reply))
    assert most == 3


@pytest.mark.parametrize("crash_after", [1, 7, 20, 45, 70])
def test_a_crash_loses_no_row_doubles_none_and_redoes_at_most_what_was_in_flight(
    tmp_path: Path, crash_after: int
) -> None:
    class Crashing(ScriptedEngine):
        async def sample(self, messages: Messages, sampling: Sampling, seed: int) -> list[Sample]:
            if len(self.asked) == crash_after:
                raise CrashError
            return await super().sample(messages, sampling, seed)

    whole, run = small_run(tmp_path / "whole"), small_run(tmp_path / "cut")
    engine, first, second = ScriptedEngine(reply), Crashing(reply), ScriptedEngine(reply)
    generate(whole, engine)
    with pytest.raises(BaseExceptionGroup):
        generate(run, first)
    before = rows(run)
    generate(run, second)
    after = rows(run)
    for old, new, expected in zip(before, after, rows(whole), strict=True):
        assert new[: len(old)] == old  # nothing lost, nothing rewritten
        assert sorted(map(repr, new)) == sorted(map(repr, expected))  # nothing doubled; a resumed run asks the same
    candidates = [sum(s.n == 4 for _, s, _ in e.asked) for e in (engine, first, second)]
    assert candidates[1] + candidates[2] - candidates[0] <= 3  # max_in_flight


def test_an_overlong_prompt_is_set_aside_and_the_rest_goes_on(tmp_path: Path) -> None:
    class Short(ScriptedEngine):
        async def sample(self, messages: Messages, sampling: Sampling, seed: int) -> list[Sample]:
            if messages[-1]["content"] == "held out 2":
                return [Sample("", 0, "overlong")] * sampling.n
            return await super().sample(messages, sampling, seed)

    run = small_run(tmp_path / "r")
    generate(run, Short(reply))
    answers = {row.rollout.id: row.rollout for row in rows(run)[2] if isinstance(row, AnswerEval)}
    assert answers["eval-2"].dropped == "overlong"
    assert [row.dropped for row in answers.values() if row.id != "eval-2"] == [None] * 3


def test_another_model_writes_the_instructions_and_this_one_answers_them(tmp_path: Path) -> None:
    run = small_run(tmp_path / "r")
    config = run.root / "config.toml"
    config.write_text(
        config.read_text().replace('source = "self"', 'source = "model"').replace('path = ""', 'path = "x"')
    )
    run = Run(run.root)
    writer, answerer = ScriptedEngine(reply), ScriptedEngine(reply)
    write(run, 1, ["instructions"], writer)
    write(run, 1, ["aift"], answerer)
    assert all("Write one new task" in messages[0]["content"] for messages, _, _ in writer.asked)
    assert not any("Write one new task" in messages[0]["content"] for messages, _, _ in answerer.asked)
    assert len(rows(run)[1]) == 10


def test_in_mode_pairwise_candidates_and_held_out_responses_play_round_robins(tmp_path: Path) -> None:
    run = small_run(tmp_path / "r")
    config = run.root / "config.toml"
    config.write_text(config.read_text().replace('mode = "sampled"', 'mode = "pairwise"'))
    run = Run(run.root)

    def prefer_the_longer(messages: Messages, seed: int) -> str:
        text = messages[-1]["content"]
        if "answer A" not in text:
            return reply(messages, seed)
        _, _, a, b, _ = re.split(r"^=== \w+ .*\n", text, flags=re.MULTILINE)
        return f"Verdict: {'A' if a > b else 'B' if b > a else 'tie'}"

    engine = ScriptedEngine(prefer_the_longer)
    generate(run, engine)
    _, rollouts, evaluated = rows(run)
    for rollout in rollouts:
        order = sorted(rollout.candidates, key=lambda candidate: candidate.text)
        assert [candidate.score for candidate in order] == pytest.approx([0, 5 / 3, 10 / 3, 5])
        assert [len(candidate.judgements) for candidate in order] == [9] * 4  # 3 others, 3 times
    held_out = {row.id: row for row in evaluated if not isinstance(row, AnswerEval)}
    groups = [("eft-0", "eft-2", "eft-4"), ("eft-1", "eft-3", "eft-5")]
    for group in groups:
        scores = [sum(j.score for j in held_out[name].judgements) / len(held_out[name].judgements) for name in group]
        assert scores == pytest.approx([0, 2.5, 5])
    asked = sum("answer A" in messages[0]["content"] for messages, _, _ in engine.asked)
    canaries = 4 * 6 * 4  # each of six against the four answers, on four prompts
    assert asked == 2 * (14 * 6 + 2 * 3 + canaries)  # each pair once, in both orders


def other_models(run: Run) -> list[list[Rollout]]:
    names = ("rollouts", "past", "past_judged", "previous_judged")
    return [sorted(read_rows(run.at(1).aift / f"{name}.jsonl", Rollout), key=lambda row: row.id) for name in names]


def test_an_earlier_model_answers_the_same_instructions_and_this_one_judges_it(tmp_path: Path) -> None:
    run, past = small_run(tmp_path / "r"), ScriptedEngine(lambda messages, seed: "as ever")
    generate(run, ScriptedEngine(reply))
    write(run, 1, ["past"], past)
    write(run, 1, ["judge_past"], ScriptedEngine(reply))
    own, answered, judged, _ = other_models(run)
    assert [(row.id, row.messages) for row in judged] == [(row.id, row.messages) for row in own]
    assert not any("### Review" in messages[0]["content"] for messages, _, _ in past.asked)
    for bare, row in zip(answered, judged, strict=True):
        assert [(c.text, c.judgements) for c in bare.candidates] == [("as ever", [])] * 4
        assert [c.text for c in row.candidates] == ["as ever"] * 4
        assert all(len(c.valid) == 3 for c in row.candidates)


def test_the_previous_model_judges_the_same_candidates_and_a_crash_loses_none_of_it(tmp_path: Path) -> None:
    class Crashing(ScriptedEngine):
        async def sample(self, messages: Messages, sampling: Sampling, seed: int) -> list[Sample]:
            if len(self.asked) == 15:
                raise CrashError
            return await super().sample(messages, sampling, seed)

    run = small_run(tmp_path / "r")
    generate(run, ScriptedEngine(reply))
    with pytest.raises(BaseExceptionGroup):
        write(run, 1, ["previous"], Crashing(lambda messages, seed: "Score: 2"))
    begun = len(other_models(run)[3])
    assert 0 < begun < 10
    second = ScriptedEngine(lambda messages, seed: "Score: 2")
    write(run, 1, ["previous"], second)
    own, _, _, judged = other_models(run)
    assert len(second.asked) == 4 * (10 - begun)
    assert [[c.text for c in row.candidates] for row in judged] == [[c.text for c in row.candidates] for row in own]
    assert {score for row in judged for c in row.candidates for score in c.valid} == {2.0}
