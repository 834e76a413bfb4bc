"""Write the two pages of docs/ that are made from the code, so that they cannot fall behind it.

    python docs/generate.py            # docs/command-line.md from the Typer app, docs/settings.md from srlm.settings
    python docs/generate.py --check    # writes nothing; exit code 1 where a page is out of date

Nothing here depends on the width of a terminal, on the machine or on the time: the same code gives the same pages.
"""

import argparse
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from srlm.cli import app
from srlm.config import is_knob, load_recipe, recipe_names
from srlm.errors import DONE, FINDING, INTERRUPTED, USER_ERROR
from srlm.fields import SPEED_ARGUMENTS
from srlm.settings import Config

DOCS = Path(__file__).parent
MADE = "<!-- Made by `make docs` (docs/generate.py). Do not edit: change the code instead. -->"
NOTHING = ""


# --- the command line ------------------------------------------------------------------------------------------------

PLACEHOLDERS = {"str": "TEXT", "path": "PATH", "int": "NUMBER", "float": "NUMBER"}  # type of an option -> what it takes


def command_line() -> str:
    """docs/command-line.md: every command with its arguments, options, defaults and examples."""
    root = typer.main.get_command(app)
    commands = list(walk(root, "srlm"))
    codes = (
        f"`{DONE}` done; `{FINDING}` a finding or a failed stage; `{USER_ERROR}` a mistake that you can fix (one line "
        f"says how); `{INTERRUPTED}` interrupted"
    )
    parts = [
        "# Command line",
        MADE,
        root.help or NOTHING,
        "`srlm COMMAND --help` shows the same in the terminal. Square brackets mark what you can leave out.",
        f"Exit codes: {codes}.",
        table(["command", "what it does"], [[_link(name), _first_sentence(found.help)] for name, found in commands]),
        *_examples(root.epilog),
        *_parameters(root),
    ]
    for name, found in commands:
        parts += [f"## {name}", inspect.cleandoc(found.help or NOTHING), block([usage(name, found)], "text")]
        parts += [*_parameters(found), *_examples(found.epilog)]
    return _page(parts)


def walk(group: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """("srlm seed oasst", the command) for each command that can be run, in the order of `--help`."""
    for name, found in group.commands.items():
        if found.hidden:
            continue
        if hasattr(found, "commands"):
            yield from walk(found, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}", found


def usage(name: str, command: Any) -> str:
    """The form of a call: "srlm iterate N [OPTIONS]"."""
    arguments = [found for found in command.params if found.param_type_name == "argument"]
    needed = [f"{_flag(found)} {_placeholder(found)}" for found in _options(command) if found.required]
    shown = [_argument(found) for found in arguments]
    others = ["[OPTIONS]"] if len(_options(command)) > len(needed) else []
    return " ".join([name, *shown, *needed, *others])


def _argument(found: Any) -> str:
    word = str(found.metavar or found.name).strip("{}").upper() + ("..." if found.nargs == -1 else "")
    return word if found.required else f"[{word}]"


def _options(command: Any) -> list[Any]:
    """The options that are the command's own: what Typer puts there for shells is left out."""
    shells = {"--install-completion", "--show-completion"}
    return [p for p in command.params if p.param_type_name == "option" and not p.hidden and not shells & {*p.opts}]


def _parameters(command: Any) -> list[str]:
    arguments = [found for found in command.params if found.param_type_name == "argument"]
    rows = [[f"`{_argument(found)}`", _meaning(found)] for found in arguments]
    parts = [table(["argument", "meaning"], rows)] if rows else []
    options = [[f"`{_option(found)}`", _default(found), _meaning(found)] for found in _options(command)]
    return [*parts, table(["option", "default", "meaning"], options)] if options else parts


def _flag(found: Any) -> str:
    return str(next(name for name in found.opts if name.startswith("--")))


def _option(found: Any) -> str:
    names = ", ".join([*found.opts, *found.secondary_opts])
    return names if found.is_flag else f"{names} {_placeholder(found)}"


def _placeholder(found: Any) -> str:
    kind = found.bare_type().removeprefix("list[").removesuffix("]")
    return str(found.metavar or PLACEHOLDERS.get(kind, kind.upper()))


def _default(found: Any) -> str:
    """What holds where the option is not given; nothing for a flag, and for an option that is then simply not set."""
    if found.required:
        return "required"
    if isinstance(found.show_default, str):
        return found.show_default
    if found.default is None or found.is_flag:
        return NOTHING
    return f"`{found.default:g}`" if isinstance(found.default, float) else f"`{found.default}`"


def _meaning(found: Any) -> str:
    """The help text, and what the option's type adds to it."""
    text, bounds = found.help or NOTHING, {"at least": found.min, "at most": found.max}
    notes = [f"{word} {value:g}" for word, value in bounds.items() if value is not None]
    notes += ["may be repeated"] if found.multiple and "repeat" not in text else []
    return text + (f" ({', '.join(notes)})" if notes else NOTHING)


def _examples(epilog: str | None) -> list[str]:
    """An epilog holds commands that can be run: one, or several with " | " or " && " between them."""
    if not epilog:
        return []
    lead, found, rest = epilog.partition("srlm ")
    if not found:
        return [epilog]
    calls = [f"srlm {call.strip()}" for call in re.split(r"\s+(?:\||&&)\s+srlm\s+|\n+\s*srlm\s+", rest)]
    return [lead.strip() or ("Examples:" if len(calls) > 1 else "Example:"), block(calls)]


def _first_sentence(text: str | None) -> str:
    line = inspect.cleandoc(text or NOTHING).split("\n\n")[0].replace("\n", " ")
    return re.split(r"(?<=[.!?]) (?=[A-Z])", line)[0]


def _link(name: str) -> str:
    return f"[`{name}`](#{name.replace(' ', '-')})"


# --- the settings ----------------------------------------------------------------------------------------------------

BOUNDS = {"ge": "{} or more", "gt": "above {}", "le": "{} or less", "lt": "below {}"}  # constraint -> how it reads


def settings() -> str:
    """docs/settings.md: every key of config.toml, table by table."""
    parts = [
        "# Settings",
        MADE,
        "A run's settings are in its `config.toml`, in several tables. `srlm config` prints them all. "
        "`srlm init --set judge.samples=5` sets one at the start; later, edit the file.",
        "A setting with a **yes** in the last column is a knob. It changes speed or reporting, not what is computed. "
        "So it may change in the middle of a run. Any other setting may change until a stage that reads it has begun. "
        "After that, `srlm iterate` stops and says what differs and what to do.",
        f"Tables: {', '.join(f'[`{name}`](#{slug(name)})' for name, _ in tables(Config) if name)}. "
        "At the end: [what the recipes set](#what-the-recipes-set).",
    ]
    for name, kind in tables(Config):
        about = (
            inspect.cleandoc(kind.__doc__ or NOTHING) if name else "These come before all tables. Do not change them."
        )
        rows = [_row(name, key, field) for key, field in kind.model_fields.items() if not table_of(field)]
        parts += [f"## [{name}]" if name else "## At the top", about]
        parts += [table(["key", "default", "allowed", "meaning", "knob"], rows)] if rows else []
        if name == "engine":
            known = ", ".join(f"`{key}`" for key in sorted(SPEED_ARGUMENTS))
            parts.append(f"These of vLLM's arguments count as knobs, too: {known}.")
    return _page([*parts, "## What the recipes set", *_recipes()])


def tables(kind: type[BaseModel], name: str = NOTHING) -> Iterator[tuple[str, type[BaseModel]]]:
    """("", the top), ("run", ...), ("train", ...), ("train.lora", ...): every table of config.toml with its class."""
    yield name, kind
    for key, field in kind.model_fields.items():
        if inner := table_of(field):
            yield from tables(inner, f"{name}.{key}" if name else key)


def table_of(field: FieldInfo) -> type[BaseModel] | None:
    """The class of a field that is a table of its own; None for a plain setting."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _row(name: str, key: str, field: FieldInfo) -> list[str]:
    dotted = f"{name}.{key}" if name else key
    may, mark = allowed(field.annotation, field.metadata), "yes" if is_knob(field) else NOTHING
    return [f"`{dotted}`", _value_of(field), may, field.description or NOTHING, mark]


def _value_of(field: FieldInfo) -> str:
    if field.is_required():
        return "must be set"
    value = field.get_default(call_default_factory=True)
    return "not set" if value is None else f"`{_toml(value)}`"


def _toml(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def allowed(kind: Any, metadata: list[Any]) -> str:
    """The allowed values in words: "`"a"` or `"b"`", "a number, 0 or more and below 1", "a list of ...", "text"."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        bounds = [bound for one in inner[1:] for bound in (one.metadata if isinstance(one, FieldInfo) else [one])]
        return allowed(inner[0], [*bounds, *metadata])
    if origin is Literal:
        return " or ".join(f"`{_toml(value)}`" for value in inner)
    if origin in (Union, UnionType):
        return ", or ".join(allowed(one, metadata) for one in inner if one is not type(None))
    if origin is list:
        return f"a list of: {allowed(inner[0], [])}"
    word = {bool: "`true` or `false`", int: "a whole number", float: "a number", str: "text"}.get(kind, "a table")
    ends = {sign: f"{getattr(one, sign):g}" for sign in BOUNDS for one in metadata if hasattr(one, sign)}
    if ends.keys() == {"ge", "le"}:
        return f"{word} from {ends['ge']} to {ends['le']}"
    limits = " and ".join(BOUNDS[sign].format(end) for sign, end in ends.items())
    return f"{word}, {limits}" if limits else word


def _recipes() -> list[str]:
    """A table of all that the shipped recipes set, beside the defaults."""
    names = recipe_names()
    found = {name: dict(_leaves(load_recipe(name))) for name in names}
    fields = dict(_defaults(Config))
    keys = [key for key in fields if any(key in values for values in found.values())]
    keys += sorted({key for values in found.values() for key in values} - set(keys))  # of engine.args and the like
    cells = {
        key: [f"`{_toml(values[key])}`" if key in values else NOTHING for values in found.values()] for key in keys
    }
    rows = [[f"`{key}`", fields.get(key, NOTHING), *cells[key]] for key in keys]
    words = "A recipe is a set of settings to start from (`--recipe NAME`). An empty cell means that the default holds."
    return [words, table(["key", "default", *names], rows)]


def _leaves(values: dict[str, Any], prefix: str = NOTHING) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _defaults(kind: type[BaseModel]) -> Iterator[tuple[str, str]]:
    for name, found in tables(kind):
        for key, field in found.model_fields.items():
            if not table_of(field):
                yield f"{name}.{key}" if name else key, _value_of(field)


# --- Markdown --------------------------------------------------------------------------------------------------------


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    """One line, in which nothing ends the cell or begins HTML; code spans keep their signs, but for the bar."""
    line = " ".join(text.split()).replace("|", "\\|")
    pieces = line.split("`")
    pieces[::2] = [piece.replace("<", "&lt;") for piece in pieces[::2]]
    return "`".join(pieces)


def block(lines: list[str], language: str = "sh") -> str:
    """A code block, by default of shell commands."""
    return "\n".join([f"```{language}", *lines, "```"])


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def _page(parts: list[str]) -> str:
    return "\n\n".join(part for part in parts if part) + "\n"


PAGES: dict[str, Callable[[], str]] = {"command-line.md": command_line, "settings.md": settings}


def stale() -> list[Path]:
    """The pages that are missing, or say something else than the code does now."""
    paths = {DOCS / name: make for name, make in PAGES.items()}
    return [path for path, make in paths.items() if not path.is_file() or path.read_text(encoding="utf-8") != make()]


def main() -> int:
    """Write the pages, or with --check only say which are out of date. Returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or NOTHING).splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 where a page is out of date")
    check = parser.parse_args().check
    for path in (found := stale()):
        if check:
            print(f"{path} is out of date: make docs", file=sys.stderr)
        else:
            path.write_text(PAGES[path.name](), encoding="utf-8")
            print(path)
    return FINDING if check and found else DONE


if __name__ == "__main__":
    sys.exit(main())
