"""Is this folder or Hugging Face id a usable base model? Looks at its config, weights' headers and tokenizer.

No weights are loaded. (`transformers` itself imports torch as soon as its AutoConfig is asked for.)
"""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srlm.errors import UserError
from srlm.model.adapter import adapter_of, base_of
from srlm.model.chat import CHAT_OPTIONS, end_of_turn_ids
from srlm.model.hub import files_of
from srlm.model.shape import UnknownShapeError
from srlm.model.tokenizer import has_default_template, load_tokenizer, notes_on
from srlm.records import Messages

PICKLED = (".bin", ".pt", ".pth", ".ckpt")
# Beginning of a model type -> what people take instead of a model that also sees or hears.
TEXT_ONLY = {
    "gemma": "Gemma 3 in its sizes 270m and 1b",
    "qwen": "Qwen3",
    "mistral": "Mistral 7B or Mistral Small of January 2025",
    "llama": "Llama 3.1, or Llama 3.2 in its sizes 1B and 3B",
    "mllama": "Llama 3.1, or Llama 3.2 in its sizes 1B and 3B",
    "phi": "Phi-4 or Phi-4-mini",
}


class TemplateRefusalError(UserError):
    """The model's chat template refuses a conversation; `reason` is what the template says."""

    def __init__(self, problem: str, fix: str, reason: str) -> None:
        super().__init__(problem, fix)
        self.reason = reason


@dataclass(frozen=True)
class CheckedModel:
    """A model that passed: its context in tokens (None: it does not say), its tokenizer with a chat template."""

    path: str
    context: int | None
    tokenizer: Any

    @property
    def default_template(self) -> bool:
        """Whether it has no chat template of its own."""
        return has_default_template(self.tokenizer)

    @property
    def notes(self) -> list[str]:
        """What the user should know of it, in words."""
        return notes_on(self.tokenizer)

    def tokens(self, messages: Messages, reply: str | None) -> int:
        """Length in tokens of the chat, with `reply` as its last turn, else with the reply's head alone.

        Raises TemplateRefusalError where the model's chat template refuses such a conversation.
        """
        turns = messages if reply is None else [*messages, {"role": "assistant", "content": reply}]
        try:
            ids = self.tokenizer.apply_chat_template(
                turns, add_generation_prompt=reply is None, return_dict=False, **CHAT_OPTIONS
            )
        except Exception as error:  # templates raise what they like, e.g. "system role not supported"
            roles, reason = ", ".join(turn["role"] for turn in turns), _first_line(error)
            problem = f"{self.path}: its chat template refuses a conversation of {roles} ({reason})"
            raise TemplateRefusalError(problem, "change those seed rows or the chat template", reason) from error
        return len(ids)


def check_base(model: str, revision: str | None = None) -> CheckedModel:
    """Check M0, which is to be trained: as `check_model`, and UserError for what can write but not be trained."""
    if adapter_of(model):
        raise UserError(f"{model} is a LoRA adapter, not a model", "merge it into its base first")
    config = _config(model, revision)
    if _sees_or_hears(config):
        raise _not_text_only(model, config)
    checked = check_model(model, revision)
    if quantised := getattr(config, "quantization_config", None):
        method = quantised.get("quant_method", "unknown") if isinstance(quantised, dict) else "unknown"
        problem = f"{model}: its weights are quantised ({method}), and such weights cannot be trained"
        raise UserError(problem, "take the model that it was made from, in bfloat16, float16 or float32")
    return checked


def check_model(model: str, revision: str | None = None) -> CheckedModel:
    """Check a model that is to write: a folder, or the id of a model on the Hugging Face hub or in its cache.

    Raises UserError for no model, no causal LM, weights that are no safetensors, or a tokenizer that is missing.
    """
    base, base_revision = base_of(model, revision)
    config, folder = _config(base, base_revision), Path(base)
    _check_architecture(base, config)
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else files_of(base, base_revision)
    _check_names(base, names)
    if folder.is_dir():
        _check_files(folder)
    tokenizer = _tokenizer(model, revision)
    context = getattr(config.get_text_config(), "max_position_embeddings", None)
    checked = CheckedModel(model, context, tokenizer)
    checked.tokens([{"role": "user", "content": "a"}], "b")  # raises where the chat template is broken
    end_of_turn_ids(tokenizer)  # raises where nothing can end a turn
    return checked


def read_config(model: str, revision: str | None = None, ask_hub: bool = False) -> dict[str, Any]:
    """The model's config.json as it is: of a folder, or of a hub id from the cache; with `ask_hub` else from the hub.

    Unlike AutoConfig this imports no torch. Raises UnknownShapeError where there is none that can be read.
    """
    path = Path(model) / "config.json"
    try:
        if not Path(model).is_dir():
            from huggingface_hub import hf_hub_download

            path = Path(hf_hub_download(model, "config.json", revision=revision, local_files_only=not ask_hub))
        found = json.loads(path.read_bytes())
    except Exception as error:  # no file, no such id, offline in one of many ways, foreign data
        why = _first_line(error) if ask_hub or path.is_file() else "it is no folder, and not in the hub's cache"
        raise UnknownShapeError(f"no config.json of {model} can be read ({why})") from None
    if not isinstance(found, dict):
        raise UnknownShapeError(f"the config.json of {model} holds no settings")
    return found


def _config(model: str, revision: str | None) -> Any:
    from transformers import AutoConfig

    if Path(model).is_dir() and not (Path(model) / "config.json").is_file():
        raise UserError(f"{model}: no config.json", "name the folder of a whole model")
    for library in ("transformers", "huggingface_hub"):
        logging.getLogger(library).setLevel(logging.ERROR)  # the one line that srlm says is enough
    try:
        return AutoConfig.from_pretrained(model, revision=revision, trust_remote_code=False)
    except Exception as error:  # config.json is foreign data: anything may be wrong with it
        if Path(model).is_dir():
            fix = "restore it; a model that needs its own code cannot be used"
            raise UserError(f"{model}: config.json cannot be used ({_first_line(error)})", fix) from error
        problem = f"{model}: no such folder, and no such model on the Hugging Face hub or in its cache"
        raise UserError(
            f"{problem} ({_first_line(error)})", "check the name; offline, download the model first"
        ) from error


def _check_architecture(model: str, config: Any) -> None:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    made_for = config.architectures or []
    known = set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values())
    if config.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or (made_for and not known & set(made_for)):
        if _sees_or_hears(config):
            raise _not_text_only(model, config)
        problem = f"{model}: not a causal language model ({config.model_type}: {', '.join(made_for) or 'unknown'})"
        raise UserError(problem, "use a model whose architecture ends in ForCausalLM")


def _sees_or_hears(config: Any) -> bool:
    """Whether the model has parts for something else than text, as its config tells."""
    parts = (getattr(config, f"{part}_config", None) for part in ("vision", "audio"))
    return config.get_text_config() is not config or any(part is not None for part in parts)


def _not_text_only(model: str, config: Any) -> UserError:
    made_for = ", ".join(config.architectures or [config.model_type])
    near = next((name for start, name in TEXT_ONLY.items() if config.model_type.startswith(start)), "")
    problem = f"{model}: not a text-only model ({made_for}); what srlm saves after training would lack its other parts"
    return UserError(problem, f"take a text-only one{f', such as {near}' if near else ''}")


def _check_names(model: str, names: set[str]) -> None:
    """There are weights and a tokenizer among the files, in the form that transformers writes."""
    if "tekken.json" in names and not any(name.startswith(("tokenizer.json", "tokenizer.model")) for name in names):
        problem = f"{model}: its tokenizer is there in Mistral's own format only (tekken.json)"
        convert = 'convert_tekken_tokenizer("tekken.json").save_pretrained(".") of transformers.integrations.mistral'
        raise UserError(problem, f"take a repository that holds tokenizer.json, too, or write one: {convert}")
    if any(name.endswith(".safetensors") and not name.startswith("consolidated") for name in names):
        return
    pickled = sorted(name for name in names if name.endswith(PICKLED))
    if pickled:
        problem = f"{model}: has only pickled weights ({pickled[0]}), but srlm loads only safetensors"
        raise UserError(problem, "load it with transformers and call save_pretrained(): that writes safetensors")
    raise UserError(f"{model}: has no weights", "put model.safetensors next to config.json")


def _check_files(folder: Path) -> None:
    """Every shard is there and whole, as far as its header tells (a torn download, a Git LFS pointer)."""
    from safetensors import SafetensorError, safe_open

    index = folder / "model.safetensors.index.json"
    files = sorted(folder.glob("*.safetensors"))
    if index.is_file():
        try:
            files = sorted({folder / name for name in json.loads(index.read_bytes())["weight_map"].values()})
        except (ValueError, LookupError, TypeError, AttributeError) as error:  # foreign data, of any shape
            raise UserError(f"{index}: cannot be used ({_first_line(error)})", "download it again") from None
    for file in files:
        try:
            with safe_open(file, "np"):
                pass
        except (SafetensorError, OSError) as error:
            raise UserError(f"{file}: broken or missing weights ({_first_line(error)})", "download it again") from None


def _tokenizer(model: str, revision: str | None) -> Any:
    try:
        tokenizer = load_tokenizer(model, revision)
    except UserError:
        raise
    except Exception as error:  # as with the config
        problem = f"{model}: no usable tokenizer ({_first_line(error)})"
        raise UserError(problem, "add the model's tokenizer files (tokenizer.json, tokenizer_config.json)") from error
    if not tokenizer("a")["input_ids"]:
        raise UserError(f"{model}: its tokenizer cannot encode text", "add the model's tokenizer files")
    return tokenizer


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(": ")
