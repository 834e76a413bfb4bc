"""A model that is a LoRA adapter over another: a folder with peft's two files and a tokenizer. Imports no torch.

Under LoRA each M_t is M0 and such a folder. What loads a model asks here first: weights and config come from the base,
tokenizer and chat template from the folder.
"""

from dataclasses import dataclass
from pathlib import Path

from srlm.errors import UserError
from srlm.store import read_json

CONFIG = "adapter_config.json"


@dataclass(frozen=True)
class Adapter:
    """An adapter of `rank` over `base`: a folder, or a hub's id at `revision`.

    `modules` are the last parts of the names of the modules that it changes; empty where peft was given a pattern.
    """

    folder: Path
    base: str
    revision: str | None
    rank: int
    modules: list[str]


def adapter_of(model: str) -> Adapter | None:
    """The adapter that lies in a folder; None for any other model. Raises UserError for one that names no base."""
    path = Path(model) / CONFIG
    if not path.is_file():
        return None
    found = read_json(path)
    base, rank = found.get("base_model_name_or_path"), found.get("r")
    if not base or not rank:
        raise UserError(f"{path}: not a LoRA adapter that names its base model", "merge it into its base first")
    named = found.get("target_modules")
    modules = sorted({name.rpartition(".")[2] for name in named}) if isinstance(named, list) else []
    return Adapter(Path(model), base, found.get("revision"), rank, modules)


def base_of(model: str, revision: str | None) -> tuple[str, str | None]:
    """The model that holds the weights and the config, with its revision: the adapter's base, or the model itself."""
    adapter = adapter_of(model)
    return (adapter.base, adapter.revision) if adapter else (model, revision)
