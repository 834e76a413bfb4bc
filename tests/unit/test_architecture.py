"""Who may import whom: rooms lie on floors, imports go down, and the ground truth is reached only where it measures."""

import ast
from pathlib import Path

import pytest

import srlm
from srlm.run.paths import ModelPaths, RunPaths

PACKAGE = Path(srlm.__file__).parent
# From the bottom up. What shares a line knows nothing of each other, but for the ground floor's own modules.
FLOORS = (
    {"errors", "packaged", "records", "fields", "settings", "store", "console", "config", "grader"},
    {"model", "process"},
    {"engine"},
    {"judge"},
    {"seed"},
    {"run"},
    {"generate", "train"},
    {"judge_file"},
    {"measure"},
    {"loop"},
    {"report"},
    {"iterate", "doctor"},
    {"seed_cli"},
    {"cli"},
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}


def imports(module: str) -> set[str]:
    """Every module that a module imports, at its top or inside its functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (names & set(MODULES)) or {node.module}
    return found


def ours(module: str) -> set[str]:
    return {name for name in imports(module) if name.split(".")[0] == "srlm"} - {"srlm"}


def room(module: str) -> str:
    """srlm.train.sft -> train."""
    return module.split(".")[1]


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"srlm"}))
def test_imports_go_down(module: str) -> None:
    mine = room(module)
    if mine == "demo":
        return
    for other in ours(module):
        same = room(other) == mine or FLOOR[room(other)] == FLOOR[mine] == 0
        assert same or FLOOR[room(other)] < FLOOR[mine], f"{module} imports {other}, which lies above it or beside it"


def test_no_module_imports_itself_in_a_circle() -> None:
    left = {module: ours(module) & set(MODULES) for module in MODULES}
    while left:
        free = {module for module, needs in left.items() if not needs & set(left)}
        assert free, f"a circle among {sorted(left)}"
        left = {module: needs for module, needs in left.items() if module not in free}


def test_the_root_shows_the_rooms() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= 14


@pytest.mark.parametrize("module", sorted(MODULES))
def test_only_the_evaluation_reaches_the_ground_truth(module: str) -> None:
    if module.startswith("srlm.demo"):
        return
    assert "demo" not in {room(other) for other in ours(module)}
    if "srlm.grader" in ours(module):
        assert module in {"srlm.generate.evaluator", "srlm.run.init"}  # init only looks whether there is one


@pytest.mark.parametrize("module", sorted(MODULES))
def test_heavy_libraries_stay_in_their_rooms(module: str) -> None:
    packages = {name.split(".")[0] for name in imports(module)}
    if module != "srlm.report.view":
        assert not packages & {"starlette", "uvicorn"}
    if module.split(".")[1:2] in (["report"], ["loop"], ["process"], ["run"]) or module == "srlm.iterate":
        assert not packages & {"torch", "vllm", "transformers", "trl"}


def test_remote_code_and_pickles_are_never_allowed() -> None:
    for module, path in MODULES.items():
        source = path.read_text(encoding="utf-8")
        assert "trust_remote_code=True" not in source, module
        assert "safe_serialization=False" not in source, module
        assert not imports(module) & {"pickle", "dill", "joblib"}, module


def test_each_file_name_of_a_run_folder_stands_once() -> None:
    """In run/paths.py: whoever renames one finds one place."""
    names = {path.name for path in vars(ModelPaths(Path("M1"))).values()} | {"eft.jsonl", "judgements.jsonl"}
    names |= {path.name for path in vars(RunPaths(Path("r"))).values() if isinstance(path, Path)}
    names = {name for name in names if "." in name}
    assert {"rollouts.jsonl", "metrics.json", "run.json", "config.toml", "report.html"} <= names
    elsewhere = {"srlm.run.paths", "srlm.run.folder", "srlm.run.init"}  # the latter name files that users give, too
    for module, path in MODULES.items():
        if module in elsewhere or module.startswith(("srlm.seed", "srlm.demo")):
            continue
        found = {
            node.value
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Constant) and node.value in names
        }
        assert not found, f"{module} names {found}"
