"""The tests themselves: what they share lies in tests/helpers, and each lies where its kind and its room say."""

import ast
from pathlib import Path

from tests.helpers.places import ROOT

TESTS = ROOT / "tests"
FILES = sorted(TESTS.rglob("*.py"))


def imports(path: Path) -> set[str]:
    """The modules that a file imports, with the names that it takes from them."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names}
    return found


def test_a_test_imports_no_other_test_and_no_benchmark() -> None:
    for path in FILES:
        ours = {name for name in imports(path) if name.split(".")[0] in {"", "tests", "benchmarks"}}
        assert not {name for name in ours if not name.startswith("tests.helpers.")}, path
        assert not {name for name in imports(path) if name.startswith("test_")}, path


def test_each_test_lies_in_the_folder_of_its_kind_and_in_a_room_of_the_package() -> None:
    rooms = {path.name for path in (ROOT / "srlm").iterdir() if path.is_dir()}
    kinds = {"unit": rooms, "integration": rooms, "slow": set(), "gpu": set()}
    for path in FILES:
        if path.name.startswith("test_"):
            kind, room, *deeper = [*path.relative_to(TESTS).parent.parts, "", ""]
            assert kind in kinds, path
            assert room in {"", *kinds[kind]}, path
            assert set(deeper) <= {""}, path
