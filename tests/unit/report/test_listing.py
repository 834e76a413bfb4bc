"""`srlm inspect` for single rows, and the shapes that it draws of one model."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from srlm.errors import UserError
from srlm.report import inspect_rows, inspect_run
from srlm.report.bars import bar, histogram, sparkline
from srlm.report.survey import survey, thinned
from srlm.run.folder import Run
from srlm.store import write_rows
from tests.helpers.page_run import ROWS, page_run
from tests.helpers.run_folder import finished_run

Capture = pytest.CaptureFixture[str]
QUERY: dict[str, Any] = {"row": None, "sort": None, "grep": None, "limit": 20, "reverse": False, "as_json": True}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return page_run(tmp_path_factory.mktemp("run") / "x")


def found(run: Run, capsys: Capture, model: str | None = None, **query: Any) -> Any:
    inspect_rows(run, model, **QUERY | query)
    return json.loads(capsys.readouterr().out)


def shown(run: Run, capsys: Capture, model: str | None = None, **query: Any) -> str:
    inspect_rows(run, model, **QUERY | {"as_json": False} | query)
    return capsys.readouterr().out


class TestList:
    @pytest.mark.parametrize("name", ["margin", "score", "length", "disagreement"])
    def test_sorted_by(self, run: Run, capsys: Capture, name: str) -> None:
        down = [row[name] for row in found(run, capsys, sort=name, limit=ROWS + 6)]
        assert down == sorted(down, reverse=True)
        assert len(down) == ROWS + 6
        up = [row[name] for row in found(run, capsys, sort=name, limit=5, reverse=True)]
        assert up == down[::-1][:5]

    def test_disagreement_is_the_spread_of_one_answers_judgements(self, tmp_path: Path, capsys: Capture) -> None:
        run = finished_run(tmp_path)
        judged = [{"text": "", "score": score, "finish": "stop", "tokens": 1} for score in (1.0, 3.0)]
        answer = {"text": "a", "finish": "stop", "tokens": 1, "judgements": judged}
        write_rows(run.at(1).rollouts, [{"id": "x", "messages": [], "candidates": [answer]}])
        (row,) = found(run, capsys, row="x")
        assert (row["disagreement"], row["score"], row["margin"]) == (1.0, 2.0, None)

    def test_grep(self, run: Run, capsys: Capture) -> None:
        rows = found(run, capsys, grep=r"question 4[12]\?")
        assert [row["id"] for row in rows] == ["M1-000041", "M1-000042"]
        assert found(run, capsys, model="M2", grep=r"question 4[12]\?") == []
        inspect_rows(run, "M2", **QUERY | {"grep": "no such text", "as_json": False})
        said = capsys.readouterr()
        assert (said.out, said.err) == ("", "There is no such row\n")

    def test_as_a_table(self, run: Run, capsys: Capture) -> None:
        line = next(line for line in shown(run, capsys, grep="question 42").splitlines() if "M1-000042" in line)
        assert re.split(r"\s{2,}", line.strip()) == [
            "M1-000042", "M1", "2.00", "2.00", "12", "0.00", "pair", "Question 42?"
        ]  # fmt: skip

    def test_users_errors(self, run: Run) -> None:
        with pytest.raises(UserError, match="unknown order"):
            inspect_rows(run, None, **QUERY | {"sort": "beauty"})
        with pytest.raises(UserError, match="not a regular expression"):
            inspect_rows(run, None, **QUERY | {"grep": "("})
        with pytest.raises(UserError, match=r"M2 of .* has no such row"):
            inspect_rows(run, "M2", **QUERY | {"row": "M1-000042"})


class TestRow:
    def test_an_instruction_that_was_dropped_says_why(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"--row i2: this instruction was dropped \(too similar\)"):
            inspect_rows(finished_run(tmp_path), None, **QUERY | {"row": "i2"})

    def test_answers_judgements_and_pair(self, run: Run, capsys: Capture) -> None:
        text = shown(run, capsys, row="M1-000042")
        assert "instruction M1-000042: pair" in text
        assert "user: Question 42?" in text
        assert re.search(r"answer 1 \(stop\), score 1\.00  << rejected\nWorst of 42", text)
        assert re.search(r"answer 3 \(stop\), score 3\.00  << chosen\nBest of 42", text)
        assert text.count("judgement, not parsed:") == 3

    def test_a_held_out_prompt_of_all_models(self, run: Run, capsys: Capture) -> None:
        text = shown(run, capsys, row="p1")
        assert re.findall(r"^(M\d), held-out prompt p1", text, re.MULTILINE) == ["M0", "M1", "M2"]
        assert "truth score 3" in text

    def test_a_rejected_answer_from_elsewhere(self, tmp_path: Path, capsys: Capture) -> None:
        run = page_run(tmp_path)
        path = run.at(1).pairs
        path.write_text(path.read_text().replace("Worst of 42 ", "Worst of another model"))
        text = shown(run, capsys, row="M1-000042")
        assert "rejected, from another model, score 1.00\nWorst of another model" in text
        assert "<< rejected" not in text

    def test_both_orders_of_a_comparison(self, tmp_path: Path, capsys: Capture) -> None:
        run = finished_run(tmp_path)
        judged = {"text": "first reply", "score": 1.0, "finish": "stop", "tokens": 1, "against": 1}
        answer = {"text": "a", "finish": "stop", "tokens": 1, "judgements": [judged | {"swapped": "second reply"}]}
        write_rows(run.at(1).rollouts, [{"id": "x", "messages": [], "candidates": [answer]}])
        text = shown(run, capsys, row="x")
        assert re.search(r"first reply\n +in the other order:\n +second reply", text)
        assert len(found(run, capsys, grep="second reply")) == 1

    def test_no_control_characters(self, run: Run, capsys: Capture) -> None:
        text = "".join(shown(run, capsys, row=f"M1-{number:06d}") for number in range(1, 33))
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]", text)


class TestShapes:
    def test_model_view(self, run: Run, capsys: Capture) -> None:
        inspect_run(run, "M1", as_json=False)
        text = capsys.readouterr().out
        assert re.search(r"loss +0\.6 +0\.5 +█▁", text)
        assert re.search(r"Margins of the pairs \(lower edge\)\n1 +4 +20\.0%", text)
        assert re.search(r"Length of the held-out answers.*\nM0 .*\nM1 ", text)
        assert "against M1" not in text

    def test_tokens_are_those_of_all_rows(self, run: Run) -> None:
        tokens = survey(run, 1)["tokens"]
        assert tokens["eval"] == 2 * 2 * (4 + 5) + 4 * 5 + 5  # answers, held-out responses, a canary
        assert tokens["aift"] == ROWS * 3 * (9 + 7 + 3)

    def test_unparsed_are_counted_beside_the_scores(self, run: Run) -> None:
        counted = survey(run, 1)
        assert counted["unparsed"] == sum(counted["score_histogram"].values()) == ROWS * 3

    def test_sparkline(self) -> None:
        assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
        assert sparkline([5, 5]) == "▁▁"

    def test_bar(self) -> None:
        assert [bar(share, 4) for share in (0, 0.001, 0.5, 0.53125, 1)] == ["", "▏", "██", "██▏", "████"]

    def test_histogram(self) -> None:
        assert histogram({"1": 1, "2": 3}, 3) == [("1", "1", "25.0%", "█"), ("2", "3", "75.0%", "███")]
        assert histogram({}) == []
        assert [row[:2] for row in histogram({f"{n / 8:g}": 1 for n in range(24)})] == [
            ("0", "8"),
            ("1", "8"),
            ("2", "8"),
        ]

    def test_thinned_keeps_the_mean_and_forgets_what_is_no_number(self) -> None:
        assert thinned([1, 3, 5, 7], 2) == [2, 6]
        assert thinned([1, 2], 5) == [1, 2]
        assert thinned([1.0, float("nan"), 3.0], 3) == [1, 1, 3]
