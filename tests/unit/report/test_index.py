"""The rows that `srlm view` serves: index, paging, search."""

from pathlib import Path
from typing import Any

import pytest

from srlm.report.index import HELD_OUT, Index, Query
from srlm.run.folder import Run
from srlm.store import Appender
from tests.helpers.page_run import ROWS, page_run

EVALS = 6  # two held-out prompts of three models


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return page_run(tmp_path_factory.mktemp("run") / "large")


def ids(index: Index, query: Query, start: int = 0, count: int = 100) -> list[str]:
    return [item["id"] for item in index.page(query, start, count)["items"]]


class TestIndex:
    def test_pages_together_hold_each_row_once(self, run: Run) -> None:
        index = Index(run)
        found = [key for start in range(0, 70, 7) for key in ids(index, Query(kind="rollout"), start, 7)]
        assert len(found) == len(set(found)) == ROWS

    def test_filters_count(self, run: Run) -> None:
        index = Index(run)
        assert index.page(Query(), 0, 1)["total"] == ROWS + EVALS
        assert index.page(Query(outcome="pair"), 0, 1)["matching"] == ROWS // 3
        assert index.page(Query(outcome=HELD_OUT), 0, 1)["matching"] == EVALS
        assert index.page(Query(model="M2"), 0, 1)["matching"] == 2
        assert index.page(Query(unparsed=True), 0, 1)["matching"] == ROWS
        assert index.page(Query(), 0, 1)["outcomes"] == [HELD_OUT, "pair", "tie"]

    @pytest.mark.parametrize("name", ["margin", "score", "length"])
    def test_sorting(self, run: Run, name: str) -> None:
        index = Index(run)
        down = [item[name] for item in index.page(Query(sort=name), 0, 100)["items"]]
        assert down == sorted(down, reverse=True)
        up = [item[name] for item in index.page(Query(sort=name, ascending=True), 0, 100)["items"]]
        assert up == sorted(up)

    def test_search_finds_prompt_answer_judgement_and_id_without_case(self, run: Run) -> None:
        index = Index(run)
        assert ids(index, Query(text="QUESTION 41?")) == ["M1-000041"]
        assert ids(index, Query(text="best of 42 ")) == ["M1-000042"]
        assert ids(index, Query(text="m1-000043")) == ["M1-000043"]
        assert index.page(Query(text="because."), 0, 1)["matching"] == ROWS
        assert ids(index, Query(text="not in any row")) == []

    def test_search_over_several_blocks_is_search_over_one(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = ids(Index(run), Query(text="of 4"))
        monkeypatch.setattr("srlm.report.index.BLOCK", 700)
        assert ids(Index(run), Query(text="of 4")) == whole
        assert len(whole) == 11

    def test_chosen_and_rejected_are_marked(self, run: Run) -> None:
        (item,) = Index(run).page(Query(text="question 42?"), 0, 5)["items"]
        assert (item["pair"]["chosen"], item["pair"]["rejected"], item["margin"]) == (2, 0, 2.0)
        assert item["outcome"] == "pair"

    def test_rows_that_are_added_later_are_found(self, tmp_path: Path) -> None:
        run = page_run(tmp_path / "run")
        index = Index(run)
        before = index.page(Query(), 0, 1)["total"]
        row: dict[str, Any] = {"id": "M1-000999", "messages": [{"role": "user", "content": "Fresh?"}]}
        with Appender(run.at(1).rollouts) as file:
            file.append(row)
        assert ids(index, Query(text="fresh?")) == ["M1-000999"]
        assert index.page(Query(), 0, 1)["total"] == before + 1

    def test_rows_that_are_replaced_are_read_anew(self, tmp_path: Path) -> None:
        run = page_run(tmp_path / "run")
        index = Index(run)
        (run.at(1).pairs).unlink()
        (run.at(1).dropped).unlink()
        assert index.page(Query(outcome="not paired yet"), 0, 1)["matching"] == ROWS

    def test_unfinished_run(self, tmp_path: Path) -> None:
        run = page_run(tmp_path / "run")
        rows = (run.at(1).rollouts).read_bytes()
        (run.at(1).rollouts).write_bytes(rows[:-30])  # the last row is torn
        assert Index(run).page(Query(kind="rollout"), 0, 1)["total"] == ROWS - 1 + EVALS
