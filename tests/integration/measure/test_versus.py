"""Head to head as a whole: a run folder, the real judging child, and a small server on loopback as the judge."""

import json
from pathlib import Path

import pytest

from srlm.errors import UserError
from srlm.measure.figures import read_figures
from srlm.measure.versus.command import eval_run
from srlm.measure.versus.verdicts import RunJudge
from srlm.store import read_json
from tests.helpers.chat_server import ChatServer, serve
from tests.helpers.run_folder import finished_run
from tests.helpers.versus_run import run_with_answers, scored


def compared(prompt: str) -> str:
    """More exclamation marks win; a judge who always takes the first where both have as many."""
    first, second = prompt.split(" answer A\n")[1].split(" end\n")[0].split(" answer B\n")
    return f"Words.\nVerdict: {'A' if first.count('!') >= second.count('!') else 'B'}"


def test_scores_of_one_judge_compare_all_models_and_nothing_is_judged_twice(tmp_path: Path) -> None:
    with serve(ChatServer(scored)) as server:
        run = run_with_answers(tmp_path / "r", server)
        eval_run(run, None, None, True)
        asked = len(server.prompts)
        eval_run(run, None, None, True)
        assert len(server.prompts) == asked == 3 * 3 - 1  # samples come at once; M1 and M2 answer q1 alike
    found = read_json(run.at(2).versus)
    assert found["judge"]["model"] == "the-judge"
    assert found["judge"]["mode"] == "sampled"
    against = found["against"]["M1"]
    assert (against["win"], against["tie"], against["loss"]) == (2 / 3, 1 / 3, 0)
    assert against["swap_consistency"] is None
    assert read_figures(run, 2)["versus"] == found
    assert read_json(run.at(1).versus)["against"]["M0"]["win"] == 1


def test_what_decides_a_verdict_is_recorded_as_by_earlier_versions(tmp_path: Path) -> None:
    """Else what a run's judge said so far would be another judge's, and all of it judged again."""
    run = finished_run(tmp_path / "r")
    run.record.stages["M1/train"].digest = "of its weights"
    assert RunJudge(run).record == {
        "model": "M1", "endpoint": None, "weights": "of its weights", "temperature": 0.7, "top_p": 0.9,
        "max_tokens": 512, "mode": "sampled", "samples": 3, "justify": True, "rubric": "judge.txt",
        "rubric_digest": run.templates.rubric.digest, "seed": 1,
    }  # fmt: skip


def test_pairwise_in_both_orders_where_a_disagreement_is_a_tie(tmp_path: Path) -> None:
    with serve(ChatServer(compared)) as server:
        run = run_with_answers(tmp_path / "r", server, mode='"pairwise"')
        eval_run(run, None, None, True)
    first = read_json(run.at(1).versus)["against"]["M0"]
    assert first["win"] == 1
    assert first["swap_consistency"] == 1
    second = read_json(run.at(2).versus)["against"]["M1"]
    assert (second["win"], second["tie"], second["prompts"]) == (2 / 3, 1 / 3, 3)


def test_a_biased_judge_is_seen_in_the_swap_consistency(tmp_path: Path) -> None:
    with serve(ChatServer(lambda prompt: "Verdict: A")) as server:
        run = run_with_answers(tmp_path / "r", server, mode='"pairwise"')
        eval_run(run, None, None, True)
    found = read_json(run.at(1).versus)["against"]["M0"]
    assert (found["tie"], found["win_rate"], found["swap_consistency"]) == (1, 0.5, 0)


def test_what_was_judged_before_a_failure_is_kept(tmp_path: Path) -> None:
    with serve(ChatServer(scored, status=lambda n: 200 if n <= 4 else 400)) as server:
        run = run_with_answers(tmp_path / "r", server)
        with pytest.raises(UserError):
            eval_run(run, None, None, True)
        answered = len(server.prompts)
        [folder] = (run.root / "versus").iterdir()
        kept = len((folder / "judged.jsonl").read_text().splitlines())
        assert 0 < kept <= answered
        server.status = lambda n: 200
        eval_run(run, None, None, True)
        assert len(server.prompts) - answered == 8 - kept


def test_against_a_file_of_answers_in_alpaca_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"instruction": f"Question {n}?", "output": "!!", "generator": "other"} for n in range(3)]
    (tmp_path / "other.json").write_text(json.dumps(rows))
    with serve(ChatServer(scored)) as server:
        run = run_with_answers(tmp_path / "r", server)
        eval_run(run, str(tmp_path / "other.json"), None, True)
    found = json.loads(capsys.readouterr().out)
    against = {model: figures["against"][str(tmp_path / "other.json")] for model, figures in found.items()}
    assert [against[f"M{t}"]["win"] for t in (0, 1, 2)] == [0, 0, 2 / 3]
    assert [against[f"M{t}"]["tie"] for t in (0, 1, 2)] == [0, 1 / 3, 1 / 3]


def test_the_table_says_of_how_many_prompts_there_is_a_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serve(ChatServer(lambda prompt: "Who knows" if "Question 0" in prompt else scored(prompt))) as server:
        eval_run(run_with_answers(tmp_path / "r", server), "M1", None, False)
    shown = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert any(line.startswith("M2 against M1 2 of 3 75.0%") for line in shown)


def test_a_model_that_the_run_does_not_have(tmp_path: Path) -> None:
    with serve(ChatServer(scored)) as server:
        run = run_with_answers(tmp_path / "r", server)
        with pytest.raises(UserError, match="choose one of M0, M1, M2"):
            eval_run(run, "M7", None, False)
