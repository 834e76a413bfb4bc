"""Who may import whom: one direction, and the ground truth only where it is measured."""

import ast
from pathlib import Path

import pytest

import srlm

PACKAGE = Path(srlm.__file__).parent
GENERATION = {
    "generate",
    "rollout",
    "instructions",
    "evaluate",
    "judge",
    "canaries",
    "pairs",
    "opinions",
    "gate",
    "engine",
}
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
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def part(module: str) -> str:
    """srlm.train.sft -> train."""
    return [*module.split("."), ""][1]


def imported_parts(module: str) -> set[str]:
    return {part(name) for name in imports(module) if name.split(".")[0] == "srlm"}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_go_one_way(module: str) -> None:
    mine, theirs = part(module), imported_parts(module)
    if mine not in {"cli", ""}:
        assert "cli" not in theirs
    if mine not in {"cli", "report"}:
        assert "report" not in theirs
    if mine not in {"cli", "iterate", "build_eft"}:  # `srlm seed eft` runs some of the loop's stages
        assert "iterate" not in theirs
    if mine not in {"seed_cli", "build_eft"}:
        assert "build_eft" not in theirs
    if mine == "train":
        assert not theirs & GENERATION
    if mine in GENERATION:
        assert not theirs & {"train", "init", "launch", "judging"}
    if mine == "judging":
        assert not theirs & {"train", "init", "generate", "evaluate", "pairs", "instructions"}
    if mine == "versus":
        assert not theirs & {"train", "init", "evaluate", "pairs", "rollout"}
    if mine == "harness":
        assert not theirs & {"train", "init", "generate", "evaluate", "pairs", "rollout", "judge"}
    if mine == "report":
        allowed = {"console", "errors", "metrics", "plan", "promote", "records", "report", "run", "stages", "store"}
        assert theirs <= allowed
        assert not {name.split(".")[0] for name in imports(module)} & {"torch", "vllm", "transformers", "trl"}
    if module not in {"srlm.report.view", "srlm"}:
        assert not {name.split(".")[0] for name in imports(module)} & {"starlette", "uvicorn"}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_only_the_evaluation_reaches_the_ground_truth(module: str) -> None:
    if part(module) != "demo":
        assert "demo" not in imported_parts(module)
    if part(module) not in {"evaluate", "demo"}:
        used = {
            node.attr for node in ast.walk(ast.parse(MODULES[module].read_text())) if isinstance(node, ast.Attribute)
        }
        assert "grader" not in used or part(module) == "init"  # init only looks whether there is one


def test_remote_code_and_pickles_are_never_allowed() -> None:
    for module, path in MODULES.items():
        source = path.read_text(encoding="utf-8")
        assert "trust_remote_code=True" not in source, module
        assert "safe_serialization=False" not in source, module
        assert not imports(module) & {"pickle", "dill", "joblib"}, module
