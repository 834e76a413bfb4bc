"""Settings from TOML, with dotted overrides, and back with a comment on every key (`settings` says what they are)."""

import copy
import difflib
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from srlm.errors import UserError
from srlm.fields import SPEED_ARGUMENTS, Settings
from srlm.packaged import RECIPES
from srlm.settings import FORMAT, Config

_NEVER = object()  # equal to no value: of a field that was there from the beginning
# Keys that an earlier version called otherwise, old -> new: config.toml and run.json of runs made then, and whoever
# still says `--set` with the old name, are understood.
MOVED = {
    "eval.head_to_head": "versus.in_loop",
    "eval.judge": "versus.judge",
    "eval.judge_endpoint": "versus.endpoint",
    "eval.mode": "versus.mode",
    "eval.tie_margin": "versus.tie_margin",
    "gate.max_accuracy_drop": "gate.max_judge_drop",
    "gate.min_consistency": "gate.min_mean_consistency",
}


def recipe_names() -> list[str]:
    """The recipes that ship with srlm."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def load_recipe(name: str) -> dict[str, Any]:
    """A shipped recipe as a nested dict. Raises UserError for an unknown name."""
    if name not in recipe_names():
        known = ", ".join(recipe_names())
        raise UserError(f"there is no recipe {name!r}", f"known: {known}{_nearest(name, recipe_names())}")
    return tomllib.loads((RECIPES / f"{name}.toml").read_text(encoding="utf-8"))


def load_config(path: Path) -> Config:
    """Read a run's config.toml. Raises UserError naming the key (or the line) that is wrong.

    It holds all settings that there were when the run was made: what is missing came later (`settings.later`).
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid TOML ({error})", "fix that line") from None
    if isinstance(found := values.get("format"), int) and found > FORMAT:
        problem = f"{path}: the run folder has format {found}, but this srlm knows only formats up to {FORMAT}"
        raise UserError(problem, "upgrade srlm")
    return parse_config(_as_before(_moved(values, str(path))), str(path))


def _as_before(values: dict[str, Any]) -> dict[str, Any]:
    """Nested settings under the names of today, with the settings that came later as they were in effect before."""
    result = copy.deepcopy(values)
    for key, field in known_keys().items():
        if "before" not in _marks(field):
            continue
        *tables, name = key.split(".")
        table = result
        for inner in tables:
            table = table.setdefault(inner, {}) if isinstance(table, dict) else table
        if isinstance(table, dict):  # else it is refused when it is validated
            table.setdefault(name, _marks(field)["before"])
    return result


def parse_config(values: dict[str, Any], source: str) -> Config:
    """Validate nested settings from `source`. Raises UserError with key, allowed values and the nearest known key."""
    try:
        return Config.model_validate(_moved(values, source))
    except ValidationError as error:
        raise UserError(*_explain(error, source)) from None


def _moved(values: dict[str, Any], source: str) -> dict[str, Any]:
    """A copy of nested settings under the names of today. Raises UserError where a key is set by both of its names."""
    result = copy.deepcopy(values)
    for old, new in MOVED.items():
        (table, name), (new_table, new_name) = old.split("."), new.split(".")
        if not isinstance(result.get(table), dict) or name not in result[table]:
            continue
        value, target = result[table].pop(name), result.setdefault(new_table, {})
        if new_name in target:
            raise UserError(f"{source}: {old} is now called {new}, but both are set", f"remove {old}")
        target[new_name] = value
    return result


def renamed(settings: dict[str, Any]) -> dict[str, Any]:
    """Dotted settings under the names of today."""
    return {MOVED.get(key, key): value for key, value in settings.items()}


def renamed_override(override: str) -> str:
    """A "table.key=value" under the name of today."""
    key, equals, value = override.partition("=")
    return MOVED.get(key.strip(), key) + equals + value


def apply_overrides(values: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """A copy of `values` with each "table.key=value" applied; the value is TOML, or else a plain string."""
    result = copy.deepcopy(values)
    for override in overrides:
        key, equals, text = renamed_override(override).partition("=")
        if not equals or not key.strip():
            raise UserError(f"--set {override}: not of the form key=value", "e.g. --set judge.samples=5")
        table = result
        *tables, last = key.strip().split(".")
        for name in tables:
            table = table.setdefault(name, {})
            if not isinstance(table, dict):
                raise UserError(f"--set {override}: {name} is a value, not a table", "see `srlm config`")
        table[last] = _toml_value(text.strip())
    return result


def to_toml(config: Config) -> str:
    """The config as commented TOML; reading it back gives the same config."""
    import tomlkit  # only `init` and `config` write TOML: `inspect` shall start fast

    document = tomlkit.document()
    document.add(
        tomlkit.comment("Settings of this run. `srlm iterate --dry-run` shows what a change would make stale.")
    )
    _add_fields(document, config)
    return tomlkit.dumps(document)


def flat(settings: Settings, prefix: str = "", knobs: bool = True, unchanged: bool = True) -> dict[str, Any]:
    """Dotted key -> value; without the knobs (`knob`) when `knobs` is false.

    When `unchanged` is false, also without the settings that came later (`later`) and do what was done before them.
    """
    result: dict[str, Any] = {}
    for name, field, value in _fields(settings):
        if isinstance(value, Settings):
            result |= flat(value, f"{prefix}{name}.", knobs, unchanged)
        elif isinstance(value, dict):
            items = {f"{prefix}{name}.{key}": item for key, item in value.items()}
            result |= {key: item for key, item in items.items() if knobs or key not in SPEED_ARGUMENTS}
        elif (knobs or not is_knob(field)) and (unchanged or _marks(field).get("before", _NEVER) != value):
            result[prefix + name] = value
    return result


def is_knob(field: FieldInfo) -> bool:
    """Whether the field may change in the middle of a run."""
    return bool(_marks(field).get("knob"))


def _marks(field: FieldInfo) -> dict[str, Any]:
    """What `knob` and `later` say of the field."""
    return field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}


def known_keys(model: type[BaseModel] = Config, prefix: str = "") -> dict[str, FieldInfo]:
    """Every dotted key that a config may hold."""
    result: dict[str, FieldInfo] = {}
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            result |= known_keys(kind, f"{prefix}{name}.")
        else:
            result[prefix + name] = field
    return result


def in_effect(model: type[BaseModel] = Config) -> dict[str, Any]:
    """Dotted key -> what was in effect where nothing is known of the key: what `later` says of it, or its default."""
    return {
        key: _marks(field).get("before", field.default)
        for key, field in known_keys(model).items()
        if not field.is_required() and not isinstance(field.default, dict)  # of a dict, `flat` has a key for each item
    }


KNOBS = {key for key, field in known_keys().items() if is_knob(field)}  # an earlier version may have had them covered
DEFAULTS = in_effect()  # for what a run knew nothing of when it was made


def _fields(settings: Settings) -> Iterator[tuple[str, FieldInfo, Any]]:
    for name, field in type(settings).model_fields.items():
        yield name, field, getattr(settings, name)


def _add_fields(container: Any, settings: Settings) -> None:
    import tomlkit

    tables = []
    for name, field, value in _fields(settings):
        if isinstance(value, Settings):
            tables.append((name, value))
            continue
        container.add(tomlkit.comment(f"{field.description}{_allowed_note(field)}"))
        if value is None:  # TOML has no null: an unset key is shown, commented out
            container.add(tomlkit.comment(f"{name} ="))
        else:
            container.add(name, value)
    for name, value in tables:
        table = tomlkit.table()
        _add_fields(table, value)
        container.add(tomlkit.nl())
        container.add(name, table)


def _allowed_note(field: FieldInfo) -> str:
    allowed = _allowed(field)
    return f" ({allowed})" if allowed else ""


def _allowed(field: FieldInfo) -> str:
    """The allowed values in words: "one of a, b" or ">= 0, < 1"; of several kinds each in turn."""
    if get_origin(field.annotation) is Literal:
        return "one of " + _values(field.annotation)
    kinds = [kind for kind in get_args(field.annotation) if kind is not NoneType]
    if get_origin(field.annotation) in (Union, UnionType) and len(kinds) > 1:
        return ", or ".join(_values(kind) if get_origin(kind) is Literal else _kind(kind) for kind in kinds)
    return _bounds(field.metadata)


def _kind(kind: Any) -> str:
    """One of the kinds of a union, whose bounds are its own: "a whole number, >= 1"."""
    plain, *marks = get_args(kind) if get_origin(kind) is Annotated else (kind,)
    bounds = [_bounds(mark.metadata) for mark in marks if isinstance(mark, FieldInfo)]
    return ", ".join(filter(None, [_KINDS.get(plain, "a list"), *bounds]))


def _bounds(metadata: list[Any]) -> str:
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    return ", ".join(f"{sign} {getattr(m, name)}" for m in metadata for name, sign in signs.items() if hasattr(m, name))


def _values(kind: Any) -> str:
    return ", ".join(f'"{value}"' for value in get_args(kind))


_KINDS: dict[Any, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def _explain(error: ValidationError, source: str) -> tuple[str, str]:
    """(problem, fix) for the first thing that is wrong."""
    first = error.errors(include_url=False)[0]
    keys, parts = known_keys(), [str(part) for part in first["loc"]]
    paths = [".".join(parts[:end]) for end in range(len(parts), 0, -1)]
    key = next((path for path in paths if path in keys), ".".join(parts))  # what follows it names a kind of a union
    if first["type"] == "extra_forbidden":
        return f"{source}: unknown key {key}", f"see `srlm config`{_nearest(key, list(keys))}"
    if first["type"] == "missing":
        return f"{source}: {key} is not set", "set it"
    field = keys.get(key)
    kind = _KINDS.get(field.annotation) if field else None
    allowed = ", ".join(filter(None, (kind, _allowed(field) if field else "")))
    if allowed and first["type"] != "value_error":
        return f"{source}: {key} = {first['input']!r} is not allowed", f"give {allowed}"
    return f"{source}: {key} = {first['input']!r} ({first['msg']})", "give an allowed value"


def _nearest(word: str, known: list[str]) -> str:
    tails = {key.rsplit(".", 1)[-1]: key for key in known}
    close = difflib.get_close_matches(word, known, 1) or [
        tails[tail] for tail in difflib.get_close_matches(word.rsplit(".", 1)[-1], list(tails), 1)
    ]
    return f"; did you mean {close[0]}?" if close else ""


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
