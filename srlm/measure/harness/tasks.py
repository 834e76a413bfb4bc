"""Which tasks are meant by what the user named, and what tells one content of a task from another.

An item is a task, group or tag of the harness by its name, or a path: a YAML file (one task), or a folder, which stands
for all tasks and groups in it. Paths have a slash or end in .yaml, as `./quiz` and `quiz.yaml`. A task file may run
Python that lies beside it, its paths count from the current folder, and of a folder only *.yaml is read: all three are
the harness's own rules.
"""

import difflib
import hashlib
import json
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from srlm.errors import UserError
from srlm.store import digest, file_digest


def is_path(item: str) -> bool:
    """Whether an item names a file or folder, and no task of the harness."""
    return "/" in item or item.endswith(".yaml")


def top_level(path: Path) -> dict[str, yaml.Node]:
    """Key -> value in a task file, read without running what it refers to.

    Raises UserError for what is no YAML or cannot be read.
    """
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise UserError(f"{where}: not valid YAML ({getattr(error, 'problem', error)})", "fix the task file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})", "check the path") from None
    return {str(key.value): value for key, value in node.value} if isinstance(node, yaml.MappingNode) else {}


def task_manager(asked: list[str]) -> Any:
    """The harness's TaskManager for these items. Raises UserError for paths that lead to no task file.

    Its own 14,000 tasks are read only where something may refer to them: that takes 14 CPU seconds.
    """
    from lm_eval.tasks import TaskManager

    paths = [Path(item) for item in asked if is_path(item)]
    keys = [top_level(file) for path in paths for file in _task_files(path)]
    whole = len(paths) < len(asked) or any("group" in found for found in keys)
    return TaskManager(include_path=[path.resolve() for path in paths if path.is_dir()], include_defaults=whole)


def _task_files(path: Path) -> list[Path]:
    if not path.exists():
        raise UserError(f"{path}: no such file or folder", "name a task of the harness without a slash")
    return sorted(file for file in path.glob("**/*.yaml") if file.is_file()) if path.is_dir() else [path]


def task_names(asked: list[str], manager: Any) -> list[str]:
    """What to load for each item, a folder spread out, each once. Raises UserError for a name that nobody knows."""
    found = [name for item in asked for name in _names(item, manager)]
    return list(dict.fromkeys(found))


def _names(item: str, manager: Any) -> list[str]:
    if is_path(item):
        path = Path(item).resolve()
        return _in_folder(path, manager) if path.is_dir() else [str(path)]
    if item not in manager.task_index:
        close = ", ".join(difflib.get_close_matches(item, manager.all_tasks, 3))
        near = f"did you mean {close}?" if close else "`lm_eval ls tasks` lists what it has"
        raise UserError(f"{item}: the harness has no such task", f"{near} (your own: ./{item}, or {item}.yaml)")
    return [item]


def _in_folder(folder: Path, manager: Any) -> list[str]:
    """The folder's groups and its tasks, but for what is part of one of these groups anyway."""
    files = {name: Path(entry.yaml_path).resolve() for name, entry in manager.task_index.items() if entry.yaml_path}
    names = [name for name, file in files.items() if folder in file.parents]
    for file in _task_files(folder):  # the harness passes over what it cannot read
        if {"task", "group"} & top_level(file).keys() and file not in files.values():
            load(str(file), manager)
            raise UserError(f"{file}: another file has a task of the same name", "rename one of them")
    if not names:
        raise UserError(
            f"{folder}: there is no task in its *.yaml files", 'a task file names its task in the key "task"'
        )
    groups = [load(name, manager) for name in names if name in manager.all_groups]
    inside = {part for group in groups for member in group["groups"].values() for part in member.child_names}
    return [name for name in names if name not in inside]


def load(name: str, manager: Any) -> dict[str, Any]:
    """The task or group with its data. Raises UserError, in one line, for whatever goes wrong in it."""
    entry = manager.task_index.get(name)
    with _in_one_line(name):  # the refusal comes before anything of the task is run or fetched
        _refuse_unsafe(name, (entry.cfg or {}).get("unsafe_code") if entry else _says_unsafe(Path(name)))
        loaded: dict[str, Any] = manager.load([name])
    for task in loaded["tasks"].values():
        _refuse_unsafe(task.task_name, getattr(task, "UNSAFE_CODE", False))
    return loaded


def _says_unsafe(file: Path) -> Any:
    """The `unsafe_code` of a task file; where it has none, of what it includes."""
    found = top_level(file)
    if "unsafe_code" in found:
        return yaml.safe_load(str(found["unsafe_code"].value))
    included = found["include"] if "include" in found else yaml.SequenceNode("", [])
    nodes = included.value if isinstance(included, yaml.SequenceNode) else [included]
    return any(_says_unsafe(file.parent / str(node.value)) for node in nodes)


def _refuse_unsafe(name: str, unsafe: Any) -> None:
    if unsafe:
        raise UserError(f"{name} runs code that the model wrote", "srlm runs no such code: leave this task out")


@contextmanager
def _in_one_line(name: str) -> Iterator[None]:
    """Turn whatever goes wrong in a task into a UserError: it is a program of its own, with files and downloads."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        traceback.print_exc()  # into the log
        reason = " ".join(str(error).split()) or "no reason given"
        problem = f"{name}: the task cannot be loaded ({type(error).__name__}: {reason[:300]})"
        raise UserError(problem, _advice(error)) from None


def _advice(error: BaseException) -> str:
    """What to do about a task that could not be loaded."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"pip install {error.name.partition('.')[0]}"
    if isinstance(error, FileNotFoundError):
        return "check its paths: they start from the current folder (metrics from a hub are programs, and are not run)"
    if isinstance(error, OSError):
        return "its data set must be downloaded once: connect to the hub, or use a task with local files"
    if isinstance(error, KeyError):
        return f"fix the task file: it names {error}, which its settings or its data lack"
    return "fix the task file"


def check_length(loaded: dict[str, Any], max_length: int) -> None:
    """Raise UserError for a task whose replies may take the whole context of `max_length` tokens.

    The harness keeps that much free and cuts the prompt to what is left.
    """
    from lm_eval.models.utils import normalize_gen_kwargs

    for name, task in loaded["tasks"].items():
        if task.OUTPUT_TYPE == "generate_until":
            with _in_one_line(name):
                longest = normalize_gen_kwargs(task.get_config("generation_kwargs") or {})["max_gen_toks"]
            if longest >= max_length:
                problem = f"{name}: replies of up to {longest} tokens leave no room for the prompt"
                raise UserError(problem, f"raise model.max_length ({max_length}), or lower max_gen_toks in the task")


def task_digests(
    name: str, loaded: dict[str, Any], manager: Any, limit: int | None, few_shot: int | None
) -> dict[str, str]:
    """For each group and task of what was loaded, what tells its content from others.

    That is its settings, the code beside it, the questions that are asked, and examples. Raises UserError where there
    are no questions.
    """
    with _in_one_line(name):
        settings = {part: group.config for part, group in loaded["groups"].items()}
        settings |= {part: task.config.to_dict(keep_callable=True) for part, task in loaded["tasks"].items()}
        asked = {part: _asked(task, limit, few_shot) for part, task in loaded["tasks"].items()}
        return {
            part: digest(json.dumps(found, default=_named), _code(_file(part, found, name, manager)), asked.get(part))
            for part, found in settings.items()
        }


def _file(part: str, settings: dict[str, Any], name: str, manager: Any) -> Path:
    """The YAML file of a task or group that came with the item `name`."""
    if source := (settings.get("metadata") or {}).get("config_source"):
        return Path(source)
    entry = manager.task_index.get(part)  # a task that is a class may have no settings
    return Path(entry.yaml_path if entry and entry.yaml_path else name)


def _code(file: Path) -> list[str]:
    """Digests of a task file and of the Python beside it; the harness's own are known by its version."""
    import lm_eval

    if Path(lm_eval.__file__).parent in file.parents or not file.is_file():
        return []
    return [file_digest(path) for path in (file, *sorted(file.parent.glob("*.py"))) if path.is_file()]


def _named(value: Any) -> Any:
    """A function by its name, as its address is another in each process; what else JSON lacks (dates) as text."""
    if isinstance(value, partial):
        return [value.func, value.args, value.keywords]
    if callable(value):
        known = value if hasattr(value, "__qualname__") else type(value)
        return f"{known.__module__}.{known.__qualname__}"
    return str(value)


def _asked(task: Any, limit: int | None, few_shot: int | None) -> str:
    examples = task.fewshot_docs() if few_shot or task.get_config("num_fewshot") else None
    content = hashlib.sha256()
    for doc in [*islice(task.eval_docs, limit), *(examples or ())]:
        content.update(repr(doc).encode())
    return content.hexdigest()
