"""README and docs/: links lead somewhere, what people are told to type is accepted, made pages are up to date."""

import importlib.util
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, get_origin

import pytest
import typer

from srlm.cli import app
from srlm.config import known_keys
from srlm.generate.canaries import NAMES
from srlm.judge.agreement import judge_metrics
from srlm.measure.metrics import answer_metrics, instruction_counts, judging_metrics, pair_counts
from srlm.settings import Config, PairSettings
from tests.helpers.places import ROOT

ARCHITECTURE = ROOT / "docs" / "architecture.md"  # what it has between backticks is names of the code
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MOST_WORDS = 1200  # of README.md, as len(text.split()) counts them
FILE_ENDINGS = {"csv", "html", "json", "jsonl", "lock", "log", "md", "py", "toml", "txt"}  # "judge.txt" is no setting


def each(found: dict[str, Any]) -> pytest.MarkDecorator:
    """One test for each thing found, named by its place ("docs/judge.md:12 srlm judge ...")."""
    return pytest.mark.parametrize("found", found.values(), ids=found.keys())


# --- reading Markdown ------------------------------------------------------------------------------------------------


@dataclass
class Page:
    """A page taken apart: its prose without code blocks, and its code blocks, all with their line numbers."""

    path: Path
    prose: list[tuple[int, str]] = field(default_factory=list)
    blocks: list[list[tuple[int, str]]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """For the user: "docs/judge.md"."""
        return str(self.path.relative_to(ROOT))

    @property
    def spans(self) -> Iterator[tuple[int, str]]:
        """The code inside of lines, between backticks."""
        for number, line in self.prose:
            yield from ((number, code) for code in re.findall(r"`([^`]+)`", line))


@cache
def read(path: Path) -> Page:
    """Code blocks are fenced, or indented by four spaces after an empty line; those fenced as "text" hold no code."""
    page, before = Page(path), ""
    block: list[tuple[int, str]] = []
    fence: str | None = None
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        indented = line.startswith("    ") and (block or not before.strip())
        if mark := re.match(r"\s*```(\w*)", line):
            page.blocks += [block] if fence != "text" else []
            fence, block = (mark[1] if fence is None else None), []
        elif fence is not None or indented:
            block.append((number, line.strip()))
        elif line.strip() or not block:
            page.blocks += [block]
            block = []
            page.prose.append((number, line))
        before = line
    page.blocks += [block]
    return page


@cache
def anchors(path: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    found: dict[str, int] = {}
    result = set()
    for _, line in read(path).prose:
        if heading := re.match(r"#{1,6}\s+(.*)", line):
            name = re.sub(r"[^\w\- ]", "", heading[1].lower()).strip().replace(" ", "-")
            result.add(f"{name}-{found[name]}" if name in found else name)
            found[name] = found.get(name, 0) + 1
    return result


# --- what the pages hold ---------------------------------------------------------------------------------------------

Link = tuple[Path, str]
Command = list[str]


def links() -> dict[str, Link]:
    """Every link and picture that does not lead to the web."""
    result = {}
    for page in map(read, PAGES):
        for number, line in page.prose:
            for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", line)):
                if not re.match(r"[a-z]+:", target):
                    result[f"{page.name}:{number} {target}"] = (page.path, target)
    return result


def commands() -> dict[str, Command]:
    """Every `srlm ...` line of the code blocks, as arguments; "..." in them stands for more that is not shown."""
    result = {}
    for page in map(read, PAGES):
        for block in page.blocks:
            for number, line in block:
                for call in calls(line):
                    result[f"{page.name}:{number} {shlex.join(call)}"] = [word for word in call[1:] if word != "..."]
    return result


def mentions() -> dict[str, Command]:
    """Every `srlm ...` between backticks, as arguments; they may be parts of a command only."""
    spans = [(page, number, code) for page in map(read, PAGES) for number, code in page.spans]
    return {f"{page.name}:{n} {code}": code.split()[1:] for page, n, code in spans if code.startswith("srlm ")}


def calls(line: str) -> Iterator[list[str]]:
    """The calls of srlm in a shell line, without what they are piped to or written to."""
    if not re.search(r"(?:^|[|&;]\s*|\s)srlm\s", line):
        return
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split, lexer.commenters = True, "#"
    try:
        words = list(lexer)
    except ValueError:  # an apostrophe in what a program printed
        return
    call: list[str] = []
    for word in [*words, ";"]:
        if set(word) <= set("|&;<>"):
            if call and Path(call[0]).name == "srlm":
                yield call
            call = []
        elif call or not re.fullmatch(r"[A-Z_]+=.*", word):  # a variable of the environment before the command
            call.append(word)


def settings() -> dict[str, str]:
    """Every setting that a page names: in code blocks as TOML or with --set, and as dotted names between backticks."""
    result: dict[str, str] = {}
    for page in map(read, PAGES):
        found = [(number, key) for block in page.blocks for number, key in settings_of_block(block)]
        spans = page.spans if page.path != ARCHITECTURE else ()
        found += [(number, key) for number, code in spans if (key := dotted(code))]
        result |= {f"{page.name}:{number} {key}": key for number, key in found}
    return result


def settings_of_block(block: list[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """`key = value` below a `[table]`, dotted keys, and what `--set` sets."""
    table = ""
    for number, line in block:
        yield from ((number, key) for key in re.findall(r"--set[ =][\"']?([a-z_.]+)=", line))
        if heading := re.fullmatch(r"\[([a-z_.]+)\]\s*(?:#.*)?", line):
            table = heading[1]
        elif (key := re.match(r"([a-z_]+)\s*=\s", line)) and table:
            yield number, f"{table}.{key[1]}"
        elif (key := re.match(r"[a-z_]+(?:\.[a-z_]+)+(?=\s*=\s)", line)) and key[0].split(".")[
            0
        ] in Config.model_fields:
            yield number, key[0]


def dotted(code: str) -> str | None:
    """The setting that a piece of code names ("judge.samples", "gate.waive = []"), if it is one and no file."""
    match = re.fullmatch(r"([a-z_]+(?:\.[a-z_]+)+)(?:\s*=.*)?", code)
    if match is None or match[1].rpartition(".")[2] in FILE_ENDINGS:
        return None
    return match[1] if match[1].split(".")[0] in Config.model_fields else None


def is_known(key: str) -> bool:
    """Whether config.toml may hold the key: one of its own, a table, or one inside a table that is passed on."""
    known = known_keys()
    free = [name for name, field in known.items() if get_origin(field.annotation) is dict]
    return (
        key in known
        or any(name.startswith(f"{key}.") for name in known)
        or key.startswith(tuple(f"{n}." for n in free))
    )


def make_targets() -> dict[str, str]:
    """Every target of make that a page names."""
    result = {}
    for page in map(read, PAGES):
        lines = [line for block in page.blocks for line in block] + list(page.spans)
        for number, line in lines:
            if match := re.match(r"make ([a-z][a-z-]*)", line.strip()):
                result[f"{page.name}:{number} make {match[1]}"] = match[1]
    return result


def scripts() -> dict[str, str]:
    """Every script of benchmarks/ or docs/ that a page names."""
    text = {page.name: page.path.read_text(encoding="utf-8") for page in map(read, PAGES)}
    return {
        f"{name} {script}": script
        for name in text
        for script in re.findall(r"\b(?:benchmarks|docs)/\w+\.py", text[name])
    }


# --- the tests -------------------------------------------------------------------------------------------------------


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= MOST_WORDS


def test_readme_says_on_its_first_screen_what_has_been_run_on_a_gpu() -> None:
    assert "GPU" in "\n".join((ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:20])


@each(links())
def test_links_lead_somewhere(found: Link) -> None:
    page, target = found
    file, _, anchor = target.partition("#")
    path = (page.parent / file).resolve() if file else page
    assert path.exists()
    if anchor:
        assert anchor in anchors(path)


def test_every_page_can_be_reached_from_the_readme() -> None:
    linked = {(page.parent / target.partition("#")[0]).resolve() for page, target in links().values()}
    assert not {path for path in PAGES if path not in linked} - {ROOT / "README.md", ROOT / "docs" / "README.md"}


@each(commands())
def test_commands_are_accepted(found: Command) -> None:
    """Typer parses the whole line: names of commands and options, values by their type, what must be given."""
    command, rest = command_of(found)
    assert not hasattr(command, "commands")
    assert not command.make_context("srlm", rest).args


@each(mentions())
def test_commands_that_are_mentioned_exist(found: Command) -> None:
    command, rest = command_of([word for word in found if not re.fullmatch(r"[A-Z.]+", word)])
    known = {name for option in command.params for name in option.opts} | {"--help"}
    assert {word for word in rest if word.startswith("--")} <= known


def command_of(words: Command) -> tuple[Any, Command]:
    """The command that the words name, and its arguments. Raises KeyError for a name that there is not."""
    command: Any = typer.main.get_command(app)
    rest = list(words)
    while rest and hasattr(command, "commands") and not rest[0].startswith("-"):
        command = command.commands[rest.pop(0)]
    return command, rest


@each(settings())
def test_settings_exist(found: str) -> None:
    assert is_known(found)


@each(make_targets())
def test_make_knows_the_target(found: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{found}:", makefile, re.MULTILINE)


@each(scripts())
def test_scripts_exist(found: str) -> None:
    assert (ROOT / found).is_file()


@cache
def generator() -> ModuleType:
    """docs/generate.py as a module; docs/ is no package."""
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["command-line.md", "settings.md"])
def test_made_pages_are_up_to_date(name: str) -> None:
    made = generator().PAGES[name]()
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == made, "run: make docs"


def test_made_pages_do_not_depend_on_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    before = [make() for make in generator().PAGES.values()]
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert [make() for make in generator().PAGES.values()] == before


def test_made_pages_hold_every_command_and_every_setting() -> None:
    text = generator().settings()
    assert all(f"| `{key}` |" in text for key in known_keys())
    names = [name for name, _ in generator().walk(typer.main.get_command(app), "srlm")]
    assert len(names) > 10
    assert all(f"\n## {name}\n" in generator().command_line() for name in names)


# --- figures ---------------------------------------------------------------------------------------------------------


def test_every_figure_of_a_model_is_explained() -> None:
    """By the name that `srlm inspect RUN M2` shows; and each canary by its own."""
    figures = {**judge_metrics([]), **answer_metrics([], PairSettings()), **judging_metrics([]), **pair_counts([], [])}
    text = (ROOT / "docs" / "reading-a-run.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]+) \|", text.partition("## One model")[2].partition("## Single rows")[0], re.MULTILINE)
    explained = {name for row in rows for name in row.split(", ")}
    shown = {name.replace("_", " ") for name in {*figures, *instruction_counts([])} - {"score_histogram"}}
    assert shown - explained == set()
    judge = (ROOT / "docs" / "judge.md").read_text(encoding="utf-8")
    assert [name for name in NAMES if f"| `{name}` |" not in judge] == []
