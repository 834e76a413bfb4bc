"""How every stage loads a model's tokenizer: one form of it, with a chat template, and its beginning token once."""

from typing import Any

from srlm.model.adapter import base_of
from srlm.model.chat import CHAT_OPTIONS, DEFAULT_CHAT_TEMPLATE, begins_texts, ensure_chat_template

# Families whose models write nonsense unless a text begins with their beginning token (Gemma's <bos>). A tokenizer that
# was made from other files, a GGUF for one, may have the token and no longer add it.
NEED_BEGINNING = ("gemma",)


def load_tokenizer(model: str, revision: str | None = None) -> Any:
    """The tokenizer of a folder or a hub's model, with a chat template: its own, or the default one.

    Raises UserError where it can have none, and whatever transformers raises where there is no usable tokenizer.
    """
    from transformers import AutoTokenizer, PreTrainedConfig

    # not in Mistral's own format (tekken.json), which has no chat template and is no file of a trained model
    tokenizer = AutoTokenizer.from_pretrained(model, revision=revision, trust_remote_code=False, mistral_format=False)
    base, base_revision = base_of(model, revision)
    config = PreTrainedConfig.get_config_dict(base, revision=base_revision)[0]
    family, begin = config.get("model_type") or "", config.get("bos_token_id")
    needed = family.startswith(NEED_BEGINNING)
    if needed and tokenizer.bos_token is None and isinstance(begin, int):
        tokenizer.bos_token = tokenizer.convert_ids_to_tokens(begin)
    ensure_chat_template(tokenizer, needed)
    return tokenizer


def has_default_template(tokenizer: Any) -> bool:
    """Whether the chat template is srlm's: now given, or saved with a model that srlm trained."""
    return DEFAULT_CHAT_TEMPLATE in tokenizer.chat_template


def notes_on(tokenizer: Any) -> list[str]:
    """What the user should know of a tokenizer: the default template, and what becomes of the beginning token."""
    begin = tokenizer.bos_token
    text = tokenizer.apply_chat_template([{"role": "user", "content": "a"}], tokenize=False, **CHAT_OPTIONS)
    written, added = bool(begin) and text.startswith(begin), begins_texts(tokenizer)
    if not has_default_template(tokenizer):
        missing = (
            f"the chat template does not write {begin}, with which the tokenizer begins plain texts: left as it is"
        )
        return [missing] if added and not written else []
    note = "the model has no chat template: the default one is used, and saved with M1"
    if written and not added:
        note += f"; it writes {begin}, which these models need and this tokenizer leaves out"
    elif begin and begin != tokenizer.eos_token and not written:
        note += f"; it leaves out {begin}, as the tokenizer does: if the model was trained behind it, "
        note += "give the model a chat template that begins with {{ bos_token }}"
    return [note]
