"""EFT from ranked responses in a run folder: its stages, its judging on the scripted engine, what is shown of it."""

import re
from pathlib import Path
from typing import Any

import pytest

from srlm.engine.scripted import ScriptedEngine
from srlm.errors import StageError, UserError
from srlm.generate.instructions import first_user_turn
from srlm.iterate import Iteration
from srlm.loop.plan import check_plan, make_plan
from srlm.loop.redo import made_from, set_aside
from srlm.loop.stages import stages
from srlm.records import EFTRow, IFTRow, JudgeEval, Messages
from srlm.report import inspect_run
from srlm.run.folder import Run
from srlm.store import read_rows, write_rows
from srlm.train.sft import sft_rows
from tests.helpers.ranked_run import TALK, changed, judge, ranked_run, reply
from tests.helpers.run_folder import bare_run, finished_run, judgement


def names(run: Run, n: int = 1) -> list[str]:
    return [stage.name for stage in stages(run, n)]


# --- stages ----------------------------------------------------------------------------------------------------------


def test_the_baseline_comes_between_m0_and_m1(tmp_path: Path) -> None:
    run = ranked_run(tmp_path / "r")
    building = ["baseline/train", "baseline/judge", "baseline/eft"]
    assert names(run) == ["M0/eval", *building, "M1/train", "M1/eval"]
    assert names(run, 0) == ["M0/eval"]
    assert names(changed(run, train="false")) == ["M0/eval", *building[1:], "M1/train", "M1/eval"]
    assert names(bare_run(tmp_path / "s")) == ["M0/eval", "M1/train", "M1/eval"]


def test_the_plan_estimates_the_judging(tmp_path: Path) -> None:
    planned = {item.stage.name: item for item in make_plan(ranked_run(tmp_path / "r"), 1)}
    assert planned["baseline/judge"].tokens == 24 * 3 * 512
    assert planned["baseline/eft"].tokens == 0


def done(run: Run, *wanted: str) -> Run:
    """Mark stages as done, as if their files had been made."""
    for stage in stages(run, 1):
        if stage.name in wanted:
            for path in stage.outputs[:1]:
                (run.root / path).parent.mkdir(exist_ok=True)
                (run.root / path).touch()
            run.begin(stage)
            run.end(stage, "done", 1.0, {})
    return Run(run.root)


def test_what_eft_was_built_from_makes_it_stale(tmp_path: Path) -> None:
    run = done(ranked_run(tmp_path / "r"), *names(ranked_run(tmp_path / "other")))
    assert {item.state for item in make_plan(run, 1)} == {"done"}
    run.seed("ranked").write_text("")
    states = {item.stage.name: item.state for item in make_plan(Run(run.root), 1)}
    assert states["baseline/judge"] == "stale"
    assert states["baseline/train"] == "done"
    with pytest.raises(UserError, match=r"baseline/judge is out of date: seed/ranked has changed.*--redo stale"):
        check_plan(Run(run.root), 1)
    anew = {stage.name for stage in made_from(run, "baseline")}
    assert anew >= {"baseline/train", "baseline/judge", "baseline/eft", "M1/train", "M1/eval"}
    assert "M0/eval" not in anew


def test_whether_the_baseline_is_trained_decides_what_judged(tmp_path: Path) -> None:
    run = done(ranked_run(tmp_path / "r"), "baseline/train", "baseline/judge")
    with pytest.raises(UserError, match=r"baseline/judge .*baseline\.train was true, is now false"):
        check_plan(changed(run, train="false"), 1)


def test_m1_reads_the_eft_that_was_built(tmp_path: Path) -> None:
    run = done(ranked_run(tmp_path / "r"), *names(ranked_run(tmp_path / "other")))
    aside = set_aside(run, "baseline/eft")
    assert (aside / "M1" / "model").exists()
    assert not run.eft.exists()
    assert run.eft == run.baseline.eft
    assert finished_run(tmp_path / "s").eft.name == "eft.jsonl"


# --- judging and choosing --------------------------------------------------------------------------------------------


def test_a_crash_loses_no_judgement_and_doubles_none(tmp_path: Path) -> None:
    class Crashing(ScriptedEngine):
        async def sample(self, messages: Messages, sampling: Any, seed: int) -> Any:
            if len(self.asked) == 10:
                raise ConnectionError
            return await super().sample(messages, sampling, seed)

    whole = judge(ranked_run(tmp_path / "whole", max_in_flight="3"), ScriptedEngine(reply))
    run = ranked_run(tmp_path / "cut", max_in_flight="3")
    with pytest.raises(BaseExceptionGroup):
        judge(run, Crashing(reply))
    before = list(read_rows(run.baseline.judgements, JudgeEval))
    second = ScriptedEngine(reply)
    after = judge(run, second)
    assert 7 <= len(before) <= 10
    assert after[: len(before)] == before
    assert len(second.asked) == 24 - len(before)
    assert sorted(map(repr, after)) == sorted(map(repr, whole))


def test_the_judge_sees_the_whole_conversation_and_so_does_training(tmp_path: Path) -> None:
    run, engine = ranked_run(tmp_path / "r"), ScriptedEngine(reply)
    judge(run, engine)
    turns = ["System: You are terse.", "User: Name a river.", "Assistant: The Rhine.", "User: And a longer one?"]
    assert len(engine.asked) == 24
    for messages, _, _ in engine.asked:
        assert "\n".join(turns) in messages[0]["content"]
    Iteration(run, 1, 0).select_eft({})
    built: list[EFTRow] = list(read_rows(run.eft, EFTRow))
    answer = {"role": "assistant", "content": "The Nile."}
    [ift, *eft] = sft_rows([IFTRow(id="ift-1", messages=[*TALK, answer])], built, run.templates)
    assert (ift["prompt"], ift["completion"]) == (TALK, [answer])
    judged = [messages for messages, _, _ in engine.asked]
    assert len(eft) == len(built) > 0
    assert all(row["prompt"] in judged for row in eft)  # M1 learns on the very prompts that the judge is asked
    assert first_user_turn(TALK) == "Name a river."  # what new instructions are modelled on


def test_what_agrees_becomes_eft_and_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = ranked_run(tmp_path / "r")
    judged = judge(run, ScriptedEngine(reply))
    iteration = Iteration(run, 1, 0)
    with iteration.recorded(iteration.stages["baseline/eft"]) as info:
        iteration.select_eft(info)
    assert info["judgements"] == 72
    assert info["kept"] == sum(1 for _ in read_rows(run.eft, EFTRow)) >= 16
    unparsed = sum(j.score is None for row in judged for j in row.judgements)
    assert info["dropped"]["its score cannot be parsed"] == unparsed > 0
    capsys.readouterr()
    inspect_run(Run(run.root), None, as_json=False)
    shown = capsys.readouterr().out
    assert "24 of 24 ranked responses judged" in shown
    assert re.search(rf"its score cannot be parsed +{unparsed}\b", shown)
    assert "The exact rule is in docs/seed-data.md" in shown
    assert max(map(len, shown.splitlines()[1:])) <= 100  # the first line names the folder


def test_a_base_that_writes_no_scores_is_named_before_anything_is_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(run: Run, score: float | None) -> str:
        def evaluated(*_: Any) -> dict[str, Any]:
            write_rows(run.at(0).eval, [JudgeEval(id="a", group="a", human=1.0, judgements=[judgement(score)])])
            return {}

        monkeypatch.setattr(Iteration, "generate_child", evaluated)
        Iteration(run, 0, 0).generate(0)
        return capsys.readouterr().err

    assert "M0: only 0% of its judgements have a score that can be read" in said(ranked_run(tmp_path / "r"), None)
    assert "only" not in said(ranked_run(tmp_path / "s"), 4.0)
    assert "only" not in said(bare_run(tmp_path / "t"), None)  # its EFT is there: M1 learns to judge from it


def test_too_little_stops_and_a_changed_setting_goes_on(tmp_path: Path) -> None:
    run = ranked_run(tmp_path / "r", prompts=3)
    judge(run, ScriptedEngine(reply))
    iteration = Iteration(run, 1, 0)
    stage = iteration.stages["baseline/eft"]
    with pytest.raises(StageError, match=r"baseline\.min_rows asks for 16"), iteration.recorded(stage) as info:
        iteration.select_eft(info)
    assert not run.eft.exists()
    assert Run(run.root).record.stages["baseline/eft"].info["kept"] < 16  # what was found is there to be looked at
    again = changed(run, min_rows="2")
    assert [change["key"] for change in check_plan(again, 1)] == ["baseline.min_rows"]
    Iteration(again, 1, 0).select_eft({})
    assert again.eft.exists()


def test_nothing_is_judged_twice(tmp_path: Path) -> None:
    run = ranked_run(tmp_path / "r")
    judge(run, ScriptedEngine(reply))
    again = ScriptedEngine(reply)
    judge(run, again)
    assert again.asked == []
