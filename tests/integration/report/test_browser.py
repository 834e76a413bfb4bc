"""The page in a real browser (headless Chromium): it draws, it is usable by hand and by keys, and text stays text."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from srlm.engine.scripted import ScriptedEngine
from srlm.iterate import Iteration
from srlm.loop.stages import stages
from srlm.report.html import write_page
from srlm.run.folder import Run
from srlm.store import read_json, write_json
from tests.helpers.page_run import ATTACKS, HOSTILE_ID, ROWS, page_run
from tests.helpers.ranked_run import judge, ranked_run, reply
from tests.helpers.run_folder import bare_run

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs chromium (apt-get install chromium)")
PAGE_SIZE = 25


@dataclass
class Watched:
    """An open page, and all that it did which it should not."""

    page: Any
    complaints: list[str] = field(default_factory=list)  # errors, warnings and dialogs
    requests: list[str] = field(default_factory=list)

    def rows(self) -> list[str]:
        """The prompts in the list."""
        return list(self.page.locator(".list .prompt").all_inner_texts())

    def count(self) -> str:
        """What stands above the list."""
        return str(self.page.locator(".count").inner_text())

    def wait_for_count(self, text: str) -> None:
        """Wait until the list has been made anew."""
        playwright.expect(self.page.locator(".count")).to_have_text(text)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as play:
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        found = play.chromium.launch(executable_path=CHROMIUM, args=sandbox)
        yield found
        found.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return page_run(tmp_path_factory.mktemp("run") / "attacked")


@pytest.fixture(scope="module")
def file_url(run: Run) -> str:
    return write_page(run).as_uri()


@pytest.fixture(scope="module")
def served_url(run: Run) -> Iterator[str]:
    call = [sys.executable, "-m", "srlm.cli", "view", str(run.root), "--port", "0"]
    with subprocess.Popen(call, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


@pytest.fixture(params=["file", "served"])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def opened(browser: Any) -> Iterator[Any]:
    """Opens an address; at the end of the test there must have been no complaint and no request but to its origin."""
    made: list[tuple[Watched, str]] = []

    def open_page(address: str, width: int = 1280, **settings: Any) -> Watched:
        page = browser.new_page(viewport={"width": width, "height": 900}, **settings)
        watched = Watched(page)
        page.on("console", lambda message: watched.complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: watched.complaints.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (watched.complaints.append("dialog"), dialog.dismiss()))
        page.on("request", lambda request: watched.requests.append(request.url))
        page.goto(address)
        made.append((watched, address))
        return watched

    yield open_page
    for watched, address in made:
        url = address.partition("#")[0]
        assert watched.complaints == []
        own = [url, "data:,"] if url.startswith("file:") else [url]
        for asked in (one.partition("#")[0] for one in watched.requests):
            assert asked in own or (url.startswith("http") and asked.startswith(f"{url}rows?")), asked
        watched.page.close()


def judged_run(root: Path) -> Run:
    """A run whose M1 passed the health gate by hand, with a hostile finding, and whose M2 does not clearly win."""
    run = page_run(root)
    findings = [
        {"check": "ties", "saw": f"ties {ATTACKS[0]}", "limit": "gate.max_tie_rate", "means": "all alike"},
        {"check": "longer", "saw": "loud", "limit": "gate.max_length_ratio", "means": "long", "waived": True},
    ]
    gate = {"accepted": True, "unmeasured": ["canaries"], "findings": [{"waived": False} | one for one in findings]}
    against = {"M1": {"win_rate": 0.55, "interval": [0.45, 0.65], "controlled_interval": [0.4, 0.6]}}
    write_json(run.at(1).gate, gate)
    write_json(run.at(2).versus, {"against": against})
    figures = read_json(run.at(2).metrics)
    del figures["canaries"]  # as with eval.canaries = 0
    write_json(run.at(2).metrics, figures)
    return run


class TestOverview:
    @pytest.mark.parametrize("width", [1280, 400])
    def test_charts_are_drawn_within_the_page(self, opened: Any, url: str, width: int) -> None:
        page = opened(url, width).page
        playwright.expect(page.locator("svg.chart").first).to_be_visible()
        names = [chart.get_attribute("aria-label") for chart in page.locator("svg.chart").all()]
        assert len(names) == page.locator("figure.card").count() == 9
        assert page.locator("svg.chart .line, svg.chart rect").count() > 20
        for chart in page.locator("svg.chart").all():
            assert "NaN" not in chart.inner_html()
        assert page.evaluate("document.documentElement.scrollWidth") <= width

    def test_figures_that_later_versions_add_are_shown(self, opened: Any, tmp_path: Path) -> None:
        run = page_run(tmp_path / "run")
        path = run.at(2).metrics
        text = path.read_text().rstrip().removesuffix("}")
        path.write_text(text + ', "gate": {"verdict": "<b>held</b>", "win_rate": 0.5125, "interval": [0.4, 0.6]}}')
        page = opened(write_page(run).as_uri()).page
        page.locator(".figures summary").click()
        playwright.expect(page.get_by_role("row", name="gate › win rate")).to_contain_text("0.5125")
        playwright.expect(page.get_by_role("row", name="gate › verdict")).to_contain_text("<b>held</b>")

    @pytest.mark.parametrize("width", [1280, 400])
    def test_what_the_gates_say_of_each_model(self, opened: Any, tmp_path: Path, width: int) -> None:
        page = opened(write_page(judged_run(tmp_path / "run")).as_uri(), width).page
        card = page.locator(".gates")
        playwright.expect(card.get_by_role("heading")).to_have_text("Best so far: M1")
        playwright.expect(card.locator(".best")).to_contain_text("Not M2: win rate against M1: 55.0%")
        judge, model = card.locator("dd.health").all_inner_texts(), card.locator("dd.promotion").all_inner_texts()
        assert len(judge) == len(model) == 1  # nothing is trained on M2 yet, and M1 follows nobody
        assert "As a judge: accepted with --accept-judge" in judge[0]
        assert f"ties {ATTACKS[0]} (gate.max_tie_rate): all alike" in judge[0]
        assert "loud (gate.max_length_ratio): long [waived]" in judge[0]
        assert "not measured, so not checked: canaries" in judge[0]
        assert "As the next model: in doubt" in model[0]
        assert "win rate against M1: 55.0%, 95% interval 45.0% to 65.0% (promote.min_win_rate)" in model[0]
        assert "how this judge scores worthless answers: not known (eval.canaries)" in model[0]
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("window.hacked") is None

    def test_how_eft_was_built(self, opened: Any, tmp_path: Path) -> None:
        run = ranked_run(tmp_path / "run")
        with ThreadPoolExecutor() as elsewhere:  # Playwright has an event loop in this thread
            elsewhere.submit(judge, run, ScriptedEngine(reply)).result()
        begun = opened(write_page(Run(run.root)).as_uri()).page
        playwright.expect(begun.locator(".baseline")).to_contain_text("24 of 24 ranked responses have been judged")
        playwright.expect(begun.locator("#overview .note")).to_contain_text("baseline eft is owed")
        iteration = Iteration(run, 1, 0)
        with iteration.recorded(iteration.stages["baseline/eft"]) as info:
            iteration.select_eft(info)
        card = opened(write_page(Run(run.root)).as_uri()).page.locator(".baseline")
        playwright.expect(card).to_contain_text(f"{info['kept']} of {info['responses']} responses have a judgement")
        playwright.expect(card).to_contain_text("Rule: A judgement agrees with people if")
        kept = card.get_by_role("row", name="kept").get_by_role("cell").all_inner_texts()
        assert sum(map(int, kept)) == info["kept"]

    def test_run_that_has_only_begun(self, opened: Any, tmp_path: Path) -> None:
        run = bare_run(tmp_path / "run")
        run.begin(stages(run, 0)[0])
        watched = opened(write_page(run).as_uri())
        playwright.expect(watched.page.locator("#overview .note")).to_contain_text("M0 eval is partial")
        watched.page.keyboard.press("2")
        watched.wait_for_count("0 rows")
        playwright.expect(watched.page.locator(".detail")).to_contain_text("No row matches")

    def test_themes(self, opened: Any, file_url: str) -> None:
        page = opened(file_url, color_scheme="dark").page
        ground = "getComputedStyle(document.body).backgroundColor"
        dark = page.evaluate(ground)
        page.get_by_role("button", name="Theme").click()
        light = page.evaluate(ground)
        page.keyboard.press("t")
        assert page.evaluate(ground) == dark != light
        assert opened(file_url, color_scheme="light").page.evaluate(ground) == light


class TestRows:
    def test_filter(self, opened: Any, url: str) -> None:
        watched = opened(url)
        watched.page.get_by_role("button", name="Rows").click()
        watched.wait_for_count(f"{ROWS + 6} rows")
        watched.page.get_by_label("Outcome", exact=True).select_option("pair")
        watched.wait_for_count(f"{ROWS // 3} of {ROWS + 6} rows")
        watched.page.get_by_label("Model", exact=True).select_option("M2")
        watched.wait_for_count(f"0 of {ROWS + 6} rows")

    def test_search(self, opened: Any, url: str) -> None:
        watched = opened(f"{url}#/rows")
        watched.page.get_by_label("Search", exact=True).fill("BEST of 41")
        watched.wait_for_count(f"1 of {ROWS + 6} rows")
        assert watched.rows() == ["Question 41?"]
        assert watched.page.locator(".detail h2").inner_text() == "M1-000041"

    def test_paging_shows_each_row_once(self, opened: Any, url: str) -> None:
        watched = opened(url)
        watched.page.keyboard.press("2")
        watched.page.get_by_label("Kind", exact=True).select_option("rollout")
        watched.wait_for_count(f"{ROWS} of {ROWS + 6} rows")
        seen = watched.rows()
        for first in (26, 51):
            watched.page.get_by_role("button", name="Next ›").click()
            playwright.expect(watched.page.locator(".pager")).to_contain_text(f"{first} –")
            seen += watched.rows()
        numbers = [int(found[1]) for text in seen if (found := re.match(r"Question (\d+)\?", text))]
        assert sorted(numbers) == list(range(ROWS))
        assert watched.page.get_by_role("button", name="Next ›").is_disabled()

    def test_sorting(self, opened: Any, url: str) -> None:
        watched = opened(url)
        watched.page.keyboard.press("2")
        watched.page.get_by_label("Sort by", exact=True).select_option("margin")
        playwright.expect(watched.page.locator(".list .facts").first).to_contain_text("margin 3.00")
        watched.page.get_by_title("Lowest first").click()
        playwright.expect(watched.page.locator(".list .facts").first).to_contain_text("margin 1.00")

    def test_keys(self, opened: Any, url: str) -> None:
        watched = opened(url)
        page = watched.page
        page.keyboard.press("2")
        playwright.expect(page.locator("[aria-selected=true]")).to_have_id("row-0")
        page.keyboard.press("j")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("k")
        playwright.expect(page.locator("[aria-selected=true]")).to_have_id("row-1")
        page.keyboard.press("n")
        playwright.expect(page.locator(".pager")).to_contain_text("26 –")
        page.keyboard.press("p")
        playwright.expect(page.locator(".pager")).to_contain_text("1 –")
        page.keyboard.press("/")
        page.keyboard.type("nj2")  # typed, not obeyed
        assert page.get_by_label("Search", exact=True).input_value() == "nj2"
        page.keyboard.press("Escape")
        page.keyboard.press("?")
        playwright.expect(page.get_by_role("dialog")).to_be_visible()
        page.keyboard.press("Escape")
        playwright.expect(page.get_by_role("dialog")).to_be_hidden()
        page.keyboard.press("1")
        playwright.expect(page.locator("#overview")).to_be_visible()

    def test_chosen_and_rejected_stand_beside_the_others(self, opened: Any, file_url: str) -> None:
        watched = opened(file_url)
        watched.page.keyboard.press("2")
        watched.page.get_by_label("Search", exact=True).fill("question 42?")
        watched.wait_for_count(f"1 of {ROWS + 6} rows")
        bands = watched.page.locator(".answer .band").all_inner_texts()
        assert bands == ["answer 1 · rejected", "answer 2", "answer 3 · chosen"]
        tops = {box["y"] for one in watched.page.locator(".answer").all() if (box := one.bounding_box())}
        assert len(tops) == 1
        assert watched.page.locator(".answer details[open]").count() == 6
        watched.page.keyboard.press("Escape")  # out of the search field
        watched.page.keyboard.press("v")
        assert watched.page.locator(".answer details").count() == 6
        assert watched.page.locator(".answer details[open]").count() == 0

    def test_small_screen_opens_and_closes_a_row(self, opened: Any, file_url: str) -> None:
        page = opened(file_url, 400).page
        page.keyboard.press("2")
        playwright.expect(page.locator(".detail")).to_be_hidden()
        page.locator(".list li").nth(3).click()
        playwright.expect(page.locator(".detail")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
        page.get_by_role("button", name="‹ List").click()
        playwright.expect(page.locator(".list")).to_be_visible()

    def test_address_remembers(self, opened: Any, file_url: str) -> None:
        watched = opened(file_url)
        watched.page.keyboard.press("2")
        watched.page.get_by_label("Outcome", exact=True).select_option("tie")
        watched.wait_for_count(f"{ROWS - ROWS // 3} of {ROWS + 6} rows")
        watched.page.keyboard.press("n")
        playwright.expect(watched.page.locator(".pager")).to_contain_text("26 –")
        watched.page.keyboard.press("j")
        before = watched.page.locator(".detail h2").inner_text()
        watched.page.reload()
        playwright.expect(watched.page.locator(".detail h2")).to_have_text(before)
        assert watched.count() == f"{ROWS - ROWS // 3} of {ROWS + 6} rows"


def test_attacks_in_prompts_answers_and_judgements_stay_text(opened: Any, url: str) -> None:
    assert len(ATTACKS) >= 30
    watched = opened(url)
    page = watched.page
    page.keyboard.press("2")
    watched.page.get_by_label("Kind", exact=True).select_option("rollout")
    watched.wait_for_count(f"{ROWS} of {ROWS + 6} rows")
    seen = []
    for _ in range(ROWS):
        seen.append(page.locator(".detail").inner_text())
        title = page.locator(".detail h2").inner_text()
        page.keyboard.press("j")
        if len(seen) < ROWS:
            playwright.expect(page.locator(".detail h2")).not_to_have_text(title)
    page.wait_for_timeout(200)
    by_number = {int(found[1]): text for text in seen if (found := re.search(r"Question (\d+)\?", text))}
    assert HOSTILE_ID in by_number[0]
    for number, attack in enumerate(ATTACKS):
        if not re.search("[\x00-\x1f\u2028\u2029]", attack):  # these are written out
            assert by_number[number].count(attack) >= 10, attack  # prompt, three answers, two judgements of each
    assert any(r"\u202e<script>" in text for text in seen)
    assert page.evaluate("window.hacked") is None
    assert page.locator("main :is(img, iframe, object, embed, video, math, script, style, link, base)").count() == 0
    assert page.locator("script").count() == 2


def test_policy_refuses_scripts_that_are_not_the_pages_own(browser: Any, url: str) -> None:
    page = browser.new_page()
    page.goto(url)
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.hacked=1\">')")
    page.evaluate(
        "const s = document.createElement('script'); s.textContent = 'window.hacked=2'; document.body.append(s)"
    )
    refused = page.evaluate("fetch('http://127.0.0.1:9/').then(() => 'sent', (error) => String(error))")
    page.wait_for_timeout(200)
    assert page.evaluate("window.hacked") is None
    assert "Failed to fetch" in refused
    page.close()


STRAY = """() => {
    const found = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) found.push(walk.currentNode.data.trim());
    return found.filter((text) => ["false", "null", "undefined", "NaN"].includes(text));
}"""


def test_what_is_not_there_leaves_no_word_on_the_page(opened: Any, url: str) -> None:
    page = opened(url).page
    page.keyboard.press("2")  # the rows: here none are left out, so that nothing is said of a sample
    playwright.expect(page.locator(".list .prompt").first).to_be_visible()
    assert page.evaluate(STRAY) == []
