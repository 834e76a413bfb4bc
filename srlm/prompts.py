"""Prompt templates: load, check, fill in one pass (braces in the data are safe), hash."""

import re
from pathlib import Path

from srlm.errors import UserError
from srlm.records import Messages
from srlm.store import file_digest

# What each template must hold.
PLACEHOLDERS = {"judge": ("conversation", "response"), "instruction": ("examples",)}


class Templates:
    """The templates of one folder (a run's own copy, or the shipped ones)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._texts = {name: _load(folder / f"{name}.txt", needed) for name, needed in PLACEHOLDERS.items()}

    def judge(self, messages: Messages, response: str) -> Messages:
        """The judge's prompt for one response: a single user message."""
        return self._fill("judge", conversation=conversation_text(messages), response=response)

    def instruction(self, examples: list[str]) -> Messages:
        """The few-shot prompt for one new instruction: numbered examples, and the next number left open."""
        lines = [f"Task {number}: {text}" for number, text in enumerate(examples, 1)]
        return self._fill("instruction", examples="\n".join([*lines, f"Task {len(lines) + 1}:"]))

    def digests(self) -> dict[str, str]:
        """Template name -> digest of its file."""
        return {name: file_digest(self.folder / f"{name}.txt") for name in PLACEHOLDERS}

    def _fill(self, name: str, **values: str) -> Messages:
        text = re.sub(r"\{(\w+)\}", lambda m: values.get(m[1], m[0]), self._texts[name])
        return [{"role": "user", "content": text}]


def conversation_text(messages: Messages) -> str:
    """A conversation as the judge sees it: one "Role: content" line (or block) per message."""
    return "\n".join(f"{m['role'].capitalize()}: {m['content']}" for m in messages)


def _load(path: Path, needed: tuple[str, ...]) -> str:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        raise UserError(f"{path}: no such template", "copy it from srlm's prompts folder") from None
    found = set(re.findall(r"\{(\w+)\}", text))
    for name in needed:
        if name not in found:
            raise UserError(f"{path}: placeholder {{{name}}} is missing", "put it where the text shall go")
    return text
