"""Is this folder or Hugging Face id a usable base model? Looks at its config, weights' headers and tokenizer.

No weights are loaded. (`transformers` itself imports torch as soon as its AutoConfig is asked for.)
"""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srlm.errors import UserError
from srlm.model.chat import CHAT_OPTIONS, end_of_turn_ids, ensure_chat_template
from srlm.records import Messages

PICKLED = (".bin", ".pt", ".pth", ".ckpt")


@dataclass(frozen=True)
class CheckedModel:
    """A model that passed: its context in tokens (None: it does not say), its tokenizer with a chat template."""

    path: str
    context: int | None
    tokenizer: Any
    default_template: bool  # it had no chat template of its own

    def tokens(self, messages: Messages, reply: str | None) -> int:
        """Length in tokens of the chat, with `reply` as its last turn, else with the reply's head alone.

        Raises UserError where the model's chat template refuses such a conversation.
        """
        turns = messages if reply is None else [*messages, {"role": "assistant", "content": reply}]
        try:
            ids = self.tokenizer.apply_chat_template(
                turns, add_generation_prompt=reply is None, return_dict=False, **CHAT_OPTIONS
            )
        except Exception as error:  # templates raise what they like, e.g. "system role not supported"
            roles = ", ".join(turn["role"] for turn in turns)
            problem = f"{self.path}: its chat template refuses a conversation of {roles} ({_first_line(error)})"
            raise UserError(problem, "change those seed rows or the chat template") from error
        return len(ids)


def check_model(model: str, revision: str | None = None) -> CheckedModel:
    """Check M0: a folder, or the id of a model on the Hugging Face hub or in its cache.

    Raises UserError for no model, no causal LM, weights that are no safetensors, or a tokenizer that is missing.
    """
    folder = Path(model)
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise UserError(
            f"{model}: no config.json", "name the folder of a complete model (merge an adapter into its base first)"
        )
    config = _config(model, revision)
    _check_architecture(model, config)
    if folder.is_dir():
        _check_weights(model, {path.name for path in folder.iterdir()})
        _check_files(folder)
    else:
        _check_weights(model, _hub_files(model, revision))
    tokenizer = _tokenizer(model, revision)
    default_template = ensure_chat_template(tokenizer)
    context = getattr(config.get_text_config(), "max_position_embeddings", None)
    checked = CheckedModel(model, context, tokenizer, default_template)
    checked.tokens([{"role": "user", "content": "a"}], "b")  # raises where the chat template is broken
    end_of_turn_ids(tokenizer)  # raises where nothing can end a turn
    return checked


def _config(model: str, revision: str | None) -> Any:
    from transformers import AutoConfig

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
        problem = f"{model}: not a causal language model ({config.model_type}: {', '.join(made_for) or 'unknown'})"
        raise UserError(problem, "use a model whose architecture ends in ForCausalLM")


def _check_weights(model: str, names: set[str]) -> None:
    if any(name.endswith(".safetensors") for name in names):
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


def _hub_files(model: str, revision: str | None) -> set[str]:
    """Names of the model's files on the hub, or in the local cache where the hub cannot be reached."""
    from huggingface_hub import HfApi, snapshot_download

    try:
        return set(HfApi().list_repo_files(model, revision=revision))
    except Exception:  # offline in one of many ways
        return {
            path.name for path in Path(snapshot_download(model, revision=revision, local_files_only=True)).iterdir()
        }


def _tokenizer(model: str, revision: str | None) -> Any:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(model, revision=revision, trust_remote_code=False)
    except Exception as error:  # as with the config
        problem = f"{model}: no usable tokenizer ({_first_line(error)})"
        raise UserError(problem, "add the model's tokenizer files (tokenizer.json, tokenizer_config.json)") from error
    if not tokenizer("a")["input_ids"]:
        raise UserError(f"{model}: its tokenizer cannot encode text", "add the model's tokenizer files")
    return tokenizer


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(": ")
