"""`srlm inspect` on run folders written by hand; and the console that it prints through."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from srlm.console import out, progress, safe
from srlm.errors import UserError
from srlm.loop.stages import stages
from srlm.report import inspect_run
from srlm.run.folder import Run
from srlm.store import write_json
from tests.helpers.run_folder import HOSTILE, bare_run, eval_answers, finished_run

Capture = pytest.CaptureFixture[str]


def row_of(text: str, label: str) -> list[str]:
    """The cells of the table line that begins with `label`."""
    line = next(line.strip() for line in text.splitlines() if line.strip().startswith(label))
    return re.split(r"\s{2,}", line)[1:]


def shown(run: Run, capsys: Capture, model: str | None = None) -> str:
    inspect_run(run, model, as_json=False)
    return capsys.readouterr().out


def data(run: Run, capsys: Capture, model: str | None = None) -> Any:
    inspect_run(run, model, as_json=True)
    return json.loads(capsys.readouterr().out)


class TestOverview:
    def test_one_column_per_model(self, tmp_path: Path, capsys: Capture) -> None:
        text = shown(finished_run(tmp_path), capsys)
        assert row_of(text, "ground truth: score") == ["0.50", "1.50", "2.50"]
        assert row_of(text, "ground truth: fully correct") == ["50.0%", "50.0%", "50.0%"]
        assert row_of(text, "self-score") == ["3.00", "3.00", "3.00"]
        assert row_of(text, "judge: pairwise accuracy") == ["50.0%", "100.0%", "100.0%"]
        assert row_of(text, "AIFT: instructions kept / asked") == ["-", "2 / 3", "-"]
        assert row_of(text, "AIFT: preference pairs") == ["-", "1", "-"]
        assert row_of(text, "training (s)") == ["-", "11", "12"]
        assert "unfinished" not in text

    def test_without_a_grader_no_line_about_ground_truth(self, tmp_path: Path, capsys: Capture) -> None:
        run = finished_run(tmp_path)
        for t in range(3):
            path = run.at(t).metrics
            found = json.loads(path.read_text())
            found["answers"] = {k: v for k, v in found["answers"].items() if not k.startswith("truth")}
            found.pop("truth", None)
            path.write_text(json.dumps(found))
        assert "ground truth" not in shown(run, capsys)

    def test_seconds_of_evaluation_and_rollout_are_added(self, tmp_path: Path, capsys: Capture) -> None:
        assert row_of(shown(finished_run(tmp_path), capsys), "generation (s)")[1] == "22"

    def test_fresh_run(self, tmp_path: Path, capsys: Capture) -> None:
        text = shown(bare_run(tmp_path), capsys)
        assert row_of(text, "unfinished") == ["eval owed"]

    def test_interrupted_run_shows_what_is_safe(self, tmp_path: Path, capsys: Capture) -> None:
        run = bare_run(tmp_path)
        run.begin(stages(run, 0)[0])
        (tmp_path / "M0").mkdir()
        rows = [row.model_dump_json() for row in eval_answers(0)]
        (tmp_path / "M0" / "eval.jsonl").write_text(rows[0] + "\n" + rows[1][:40])  # the second row is torn
        assert row_of(shown(run, capsys), "unfinished") == ["eval partial (1 rows)"]
        assert "Question p1?" in shown(run, capsys, "M0")

    def test_json_holds_the_same_figures(self, tmp_path: Path, capsys: Capture) -> None:
        found = data(finished_run(tmp_path), capsys)
        assert [model["model"] for model in found["models"]] == ["M0", "M1", "M2"]
        assert found["models"][2]["metrics"]["answers"]["truth_score"] == 2.5
        assert found["models"][1]["aift"]["instructions"]["dropped"] == {"too similar": 1}
        assert found["models"][1]["stages"]["pairs"]["state"] == "done"


def test_a_model_beside_the_earlier_ones(tmp_path: Path, capsys: Capture) -> None:
    run = finished_run(tmp_path)
    path = run.at(2).metrics
    won = {"win_rate": 0.5, "interval": [0.25, 0.75], "controlled": 0.4, "controlled_interval": None}
    truth = {"M0": {"score": 1.0, "interval": [0.5, 1.5]}, "M1": {"score": -0.25, "interval": None}}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"truth": {"against": truth}}))
    write_json(run.at(2).versus, {"against": {"M1": won}})
    text = shown(run, capsys, "M2").partition("Its answers against those of")[2]
    assert row_of(text, "M0") == ["-", "-", "-", "-", "+1.00", "+0.50 to +1.50"]
    assert row_of(text, "M1") == ["50.0%", "25.0% to 75.0%", "40.0%", "-", "-0.25", "-"]
    assert "against those of" not in shown(run, capsys, "M0")


@pytest.mark.parametrize(
    ("stored", "says"), [(0.25, "25.0% as stored / 12.5%"), (1.0, "100.0% as stored"), (None, "- as stored")]
)
def test_what_survives_of_a_training_and_a_warning_below_one_half(
    tmp_path: Path, capsys: Capture, stored: float | None, says: str
) -> None:
    run = finished_run(tmp_path)
    assert "survives" not in shown(run, capsys, "M2")  # an earlier version did not measure it
    run.record.stages["M2/train"].info["survives"] = {"stored": stored, "bfloat16": 0.125, "rows": 64}
    text = shown(run, capsys, "M2")
    assert f"update that survives: {says}" in text
    assert ('set train.save_dtype = "float32"' in text) == (stored == 0.25)


def test_memory_that_a_training_took(tmp_path: Path, capsys: Capture) -> None:
    run = finished_run(tmp_path)
    assert "fullest moment" not in shown(run, capsys, "M2")  # an earlier version did not measure it
    run.record.stages["M2/train"].info |= {"peak_memory": 3 * 2**30, "device": "cuda:0"}
    assert "memory at the fullest moment: 3.0 GiB on cuda:0" in shown(run, capsys, "M2")


class TestGate:
    def shown(self, tmp_path: Path, capsys: Capture, model: str | None, **gate: Any) -> str:
        run = finished_run(tmp_path)
        path = run.at(1).metrics
        canaries = {"median": 4.0, "scores": {"empty": 0.25, "score": 4.5}, "passed": {"score": 4.5}}
        path.write_text(
            json.dumps(json.loads(path.read_text()) | {"canaries": canaries, "aift": {"score_entropy": 1.25}})
        )
        write_json(run.at(1).gate, gate)
        return shown(run, capsys, model)

    FOUND = {"check": "ties", "saw": "ties: 90%", "limit": "gate.max_tie_rate", "means": "no use", "waived": True}

    def test_overview(self, tmp_path: Path, capsys: Capture) -> None:
        text = self.shown(tmp_path, capsys, None, accepted=False, findings=[self.FOUND])
        assert row_of(text, "health gate") == ["-", "ties (waived)", "-"]
        assert row_of(text, "canaries that pass as answers") == ["0 of 1", "1 of 2", "0 of 1"]
        other = self.shown(tmp_path / "b", capsys, None, accepted=False, findings=[])
        assert row_of(other, "health gate") == ["-", "passed", "-"]
        part = self.shown(tmp_path / "d", capsys, None, accepted=False, findings=[], unmeasured=["canaries"])
        assert row_of(part, "health gate") == ["-", "passed", "-"]
        assert row_of(part, "checks without a figure") == ["-", "1", "-"]
        third = self.shown(tmp_path / "c", capsys, None, accepted=True, findings=[self.FOUND | {"waived": False}])
        assert row_of(third, "health gate") == ["-", "ties (accepted)", "-"]
        found = [self.FOUND | {"waived": False, "check": "people"}, self.FOUND]
        fourth = self.shown(tmp_path / "e", capsys, None, accepted=False, findings=found)
        assert row_of(fourth, "health gate") == ["-", "stopped: people, ties (waived)", "-"]

    @pytest.mark.parametrize(("scores", "median"), [({"empty": None, "score": None}, 3.0), ({"empty": 1.0}, None)])
    def test_canaries_that_nobody_could_score_have_not_failed(
        self, tmp_path: Path, capsys: Capture, scores: dict[str, float | None], median: float | None
    ) -> None:
        run = finished_run(tmp_path)
        path = run.at(1).metrics
        canaries = {"median": median, "scores": scores, "passed": {}}
        write_json(path, json.loads(path.read_text()) | {"canaries": canaries})
        assert row_of(shown(run, capsys), "canaries that pass as answers") == ["0 of 1", "-", "0 of 1"]

    def test_one_model_with_figures(self, tmp_path: Path, capsys: Capture) -> None:
        text = self.shown(tmp_path, capsys, "M1", accepted=False, findings=[self.FOUND], unmeasured=["canaries"])
        assert "not measured, so not checked: canaries" in text
        assert "ties: 90% (gate.max_tie_rate): no use [waived]" in text
        assert row_of(text, "score entropy") == ["1.25"]
        canaries = text.partition("Canaries")[2]
        assert row_of(canaries, "median") == ["4"]
        assert row_of(canaries, "empty") == ["0.25"]


class TestOneModel:
    def test_numbers_reasons_and_whole_examples(self, tmp_path: Path, capsys: Capture) -> None:
        text = shown(finished_run(tmp_path), capsys, "m1")
        assert row_of(text, "too similar") == ["1"]
        assert row_of(text.partition("Preference pairs")[2], "tie") == ["1"]
        assert row_of(text, "logps_chosen") == ["-6", "-7", "█▁"]
        assert "Question p1?" in text
        assert "self-score 4.00 (4); truth score 2, correct 1" in text
        assert "judgement: It is so." in text
        assert "--- chosen, self-score 4.00" in text
        assert "--- rejected, self-score 2.00\nNo." in text

    def test_json(self, tmp_path: Path, capsys: Capture) -> None:
        found = data(finished_run(tmp_path), capsys, "M1")
        assert found["examples"]["answers"][0]["rollout"]["candidates"][1]["judgements"][0]["score"] == 4.0
        assert found["examples"]["pairs"][0]["margin"] == 2.0
        assert found["training"]["last"]["loss"] == pytest.approx(0.5)

    @pytest.mark.parametrize("name", ["M3", "model", "M-1", "3"])
    def test_unknown_model_is_the_users_error(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(UserError, match="choose one of M0, M1, M2"):
            inspect_run(finished_run(tmp_path), name, as_json=False)

    def test_broken_row_is_named(self, tmp_path: Path) -> None:
        run = finished_run(tmp_path)
        (run.at(1).eval).write_text('{"kind": "answer"}\n')
        with pytest.raises(UserError, match=r"eval\.jsonl:1"):
            inspect_run(run, "M1", as_json=False)


class TestSafe:
    @pytest.mark.parametrize("model", ["M1", None])
    @pytest.mark.parametrize("as_json", [True, False])
    def test_what_a_model_wrote_cannot_steer_the_terminal(
        self, tmp_path: Path, capsys: Capture, model: str | None, as_json: bool
    ) -> None:
        inspect_run(finished_run(tmp_path), model, as_json)
        text = capsys.readouterr().out
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text)
        if model:
            assert "[bold]red[/bold]" in text  # markup is shown, not obeyed

    def test_control_characters_are_written_out(self) -> None:
        assert safe(HOSTILE) == r"\x1b[31m[bold]red[/bold]\x1b[0m \u202etxt\x07"
        assert safe("a\rb\x9bc\u2066d\ufeff\ud800") == r"a\rb\x9bc\u2066d\ufeff\ud800"

    def test_text_in_any_language_stays(self) -> None:
        text = "Zürich 東京 👩\u200d🔬 می\u200cخواهم\n\ttab"
        assert safe(text) == text


class TestProgress:
    def test_plain_lines_at_the_start_now_and_then_and_at_the_end(self, capsys: Capture) -> None:
        time = [0.0]
        with progress("Rolling", 100, clock=lambda: time[0]) as bar:
            for done in range(101):
                bar.update(done, 100)
                time[0] += 0.5
        lines = capsys.readouterr().err.splitlines()
        assert lines[0] == "Rolling: started, 100 to do"
        assert lines[3] == "Rolling: 30/100, 2.0/s, 0:35 left"
        assert lines[-1] == "Rolling: finished, 100/100 in 50.0 s, 2.0/s"
        assert len(lines) == 11

    def test_a_slow_step_still_speaks(self, capsys: Capture) -> None:
        time = [0.0]
        with progress("Slow", 1000, clock=lambda: time[0]) as bar:
            for done in range(3):
                time[0] += 31
                bar.update(done, 1000)
        lines = capsys.readouterr().err.splitlines()
        assert lines[1] == "Slow: 0/1000, starting"  # a model loads
        assert "Slow: 2/1000, 0.03/s" in lines[3]

    def test_what_was_there_before_is_no_part_of_the_rate(self, capsys: Capture) -> None:
        time = [0.0]
        with progress("Again", 100, clock=lambda: time[0]) as bar:
            bar.update(50, 100)
            time[0] += 10
            bar.update(100, 100)
        assert "finished, 100/100 (50 done earlier) in 10.0 s, 5.0/s" in capsys.readouterr().err

    def test_a_finished_step_is_silent_while_others_go_on(self, capsys: Capture) -> None:
        time = [0.0]
        with progress("Quick", 68, clock=lambda: time[0]) as bar:
            for _ in range(20):
                bar.update(min(68, int(time[0])), 68)
                time[0] += 34
        assert capsys.readouterr().err.splitlines()[1:] == [
            "Quick: 34/68, 1.0/s, 0:34 left",
            "Quick: finished, 68/68 in 68.0 s, 1.0/s",
        ]

    def test_more_work_than_was_thought_is_shown(self, capsys: Capture) -> None:
        time = [0.0]
        with progress("More", 10, clock=lambda: time[0]) as bar:
            for done, total in ((0, 10), (10, 10), (10, 20), (20, 20)):
                bar.update(done, total)
                time[0] += 31
        lines = capsys.readouterr().err.splitlines()
        assert [line.split(", ")[:2] for line in lines[1:]] == [
            ["More: finished", "10/10 in 31.0 s"], ["More: 10/20", "0.16/s"], ["More: finished", "20/20 in 93.0 s"]
        ]  # fmt: skip

    def test_the_rate_is_that_of_the_last_minute(self, capsys: Capture) -> None:
        time = [0.0]
        with progress("Slower", 10_000, clock=lambda: time[0]) as bar:
            bar.update(0, 10_000)
            for done in range(1000, 1101):
                time[0] += 10
                bar.update(done, 10_000)
        assert "Slower: 1099/10000, 0.10/s, 24:43:30 left" in capsys.readouterr().err

    def test_unfinished_step_says_so(self, capsys: Capture) -> None:
        def interrupted() -> None:
            with progress("Cut", 100) as bar:
                bar.update(7, 100)
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert "Cut: stopped, 7/100" in capsys.readouterr().err


def test_plain_output_is_wide_enough_for_tables() -> None:
    assert out().is_terminal or out().width >= 200


def test_the_overview_of_four_models_fits_100_columns(tmp_path: Path, capsys: Capture) -> None:
    run = finished_run(tmp_path)
    run.begin(stages(run, 3)[-2])
    met = {"win_rate": 0.5712, "interval": [0.5212, 1.0]}
    found = [TestGate.FOUND, TestGate.FOUND | {"check": "agreement", "waived": False}]
    for t in (1, 2):
        write_json(run.at(t).versus, {"against": {f"M{t - 1}": met}})
        write_json(run.at(t).gate, {"accepted": True, "findings": found, "unmeasured": ["canaries"]})
    text = shown(run, capsys)
    table = text.partition("\n")[2].partition("Best so far")[0]
    assert max(map(len, table.splitlines())) <= 100
    assert row_of(table, "win rate against the model before") == ["-", "57.1%", "57.1%", "-"]
