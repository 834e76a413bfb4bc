"""The page as a file: its size, its sample, and that no text can leave the place it is put in."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from srlm.report.html import write_page
from srlm.report.page import embedded
from srlm.run.folder import Run
from srlm.store import write_rows
from tests.helpers.page_run import ATTACKS, ROWS, page_run


def data_of(path: Path) -> Any:
    block = re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text(), re.DOTALL)
    assert block
    return json.loads(block[1])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return page_run(tmp_path_factory.mktemp("run") / "x")


@pytest.mark.parametrize("text", [*ATTACKS, "&lt;", "\u2028", "</script", "<!--"])
def test_embedded_text_holds_nothing_that_html_knows(text: str) -> None:
    found = embedded({"a": text})
    assert not re.search("[<>&\u2028\u2029\x00-\x1f]", found)
    assert json.loads(found) == {"a": text}


class TestFile:
    def test_all_rows_of_a_small_run(self, run: Run) -> None:
        data = data_of(write_page(run))
        assert len(data["rows"]) == ROWS + 6
        assert all(source["shown"] == source["total"] for source in data["sources"])
        assert len({(row["model"], row["kind"], row["id"]) for row in data["rows"]}) == ROWS + 6

    def test_it_stands_alone(self, run: Run) -> None:
        head = write_page(run).read_text().partition("<script")[0]
        assert re.findall(r"(?:src|href)=[\"']?([^\"' >]+)", head) == ["data:,"]
        assert "url(" not in head
        assert "@import" not in head
        policy = re.search(r'Content-Security-Policy" content="([^"]*)"', head)
        assert policy
        assert "default-src 'none'" in policy[1]
        assert "unsafe" not in policy[1]
        assert "connect-src" not in policy[1]

    def test_a_large_run_is_sampled_evenly_and_said_to_be(self, run: Run) -> None:
        limit = write_page(run).stat().st_size - 30_000
        path = write_page(run, limit)
        assert path.stat().st_size <= limit
        data = data_of(path)
        shown = {(one["model"], one["kind"]): one["shown"] for one in data["sources"]}
        assert 5 < shown["M1", "rollout"] < ROWS
        assert shown["M0", "answer"] == shown["M1", "answer"] == shown["M2", "answer"] == 2
        assert sum(shown.values()) == len(data["rows"])
        assert [row["id"] for row in data_of(write_page(run, limit))["rows"]] == [row["id"] for row in data["rows"]]

    def test_text_that_grows_when_it_is_escaped_stays_within_the_limit(self, tmp_path: Path) -> None:
        run = page_run(tmp_path / "x")
        rows = [
            {"id": f"M1-{number}", "messages": [{"role": "user", "content": "<&>" * 3000}]} for number in range(300)
        ]
        write_rows(run.at(1).rollouts, rows)
        path = write_page(run, 2_000_000)
        assert path.stat().st_size <= 2_000_000
        assert 10 < len(data_of(path)["rows"]) < 300

    def test_one_giant_row_does_not_take_the_room_of_the_others(self, tmp_path: Path) -> None:
        run = page_run(tmp_path / "x")
        giant: dict[str, Any] = {"id": "giant", "messages": [{"role": "user", "content": "x" * 1_000_000}]}
        small: list[dict[str, Any]] = [
            {"id": f"M1-{number}", "messages": [{"role": "user", "content": "x"}]} for number in range(50)
        ]
        write_rows(run.at(1).rollouts, [giant, *small])
        shown = {row["id"] for row in data_of(write_page(run, 2_000_000))["rows"]}
        assert "giant" not in shown
        assert {row["id"] for row in small} <= shown

    def test_the_run_is_named_without_its_path(self, run: Run) -> None:
        assert str(run.root.parent) not in write_page(run).read_text()
