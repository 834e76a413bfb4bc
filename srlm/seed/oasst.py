"""OASST exports -> IFT and ranked prompts: trees, and the flat table of messages. (Paper: section 3.1.1.)

First turns only, as in the paper: a tree's prompt with the replies that people ranked. Trees are read one by one; the
messages of a flat table may stand in any order and are joined on disk (`spill`), so that memory does not grow with the
file in either form.
"""

import logging
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from srlm.errors import UserError
from srlm.records import RankedResponse
from srlm.seed.divide import ANSWERS, IFT_SHARE, PROMPTS, Conversation, Ledger, SeedReport, Source, divide
from srlm.seed.files import FORMATS, RawRow, stream_table
from srlm.seed.spill import Groups
from srlm.seed.values import checked_number, checked_string
from srlm.store import file_digest

KEEP = ("synthetic", "unreviewed")
MAX_CHARS = 32_000  # about 8,000 tokens: longer than the context that the recipes train with
FINISHED = "ready_for_export"
_FIELDS = (
    *("message_id", "parent_id", "message_tree_id", "tree_state", "text", "role", "lang"),
    *("deleted", "review_result", "synthetic", "rank"),
)
_FORMS = "a tree has message_tree_id and prompt, a message has message_id, parent_id and text"


@dataclass(frozen=True)
class OasstFilter:
    """Which messages are used: `langs` empty means any; `keep` names what would be left out otherwise (see KEEP)."""

    langs: tuple[str, ...] = ("en",)
    keep: tuple[str, ...] = ()
    max_chars: int = MAX_CHARS

    def why_not(self, message: dict[str, Any], role: str, raw: RawRow) -> str | None:
        """The first reason why a message cannot be used, None when it can."""
        review = _flag(message.get("review_result"))
        checks = {
            "deleted": bool(_flag(message.get("deleted"))),
            "rejected in review": review is False,
            "not reviewed": review is None and "unreviewed" not in self.keep,
            "synthetic (written by a model)": bool(_flag(message.get("synthetic"))) and "synthetic" not in self.keep,
            f"not by the {role}": message.get("role") != role,
            _language(message): bool(self.langs) and message.get("lang") not in self.langs,
        }
        found = next((reason for reason, hit in checks.items() if hit), None)
        if found:
            return found
        text = checked_string(raw, f"text of message {message.get('message_id')}", message.get("text"))
        if not text.strip():
            return "empty"
        return "longer than --max-chars" if len(text) > self.max_chars else None


def _flag(value: Any) -> Any:
    """A truth value; CSV has it as text, and nothing for unknown."""
    return {"true": True, "1": True, "false": False, "0": False, "": None}.get(str(value).lower(), value)


def _language(message: dict[str, Any]) -> str:
    return f"in language {message['lang']}" if message.get("lang") else "in an unknown language"


def from_oasst(
    sources: list[str], out: Path, choose: OasstFilter, ift_share: float = IFT_SHARE, seed: int = 0
) -> SeedReport:
    """Make the folder `out` from OASST files, dataset folders or dataset ids. Raises UserError with the place."""
    for value in choose.keep:
        if value not in KEEP:
            raise UserError(f"--keep {value}: not known", f"known: {', '.join(KEEP)}")
    files = {source: file_digest(Path(source)) if _is_file(source) else source for source in sources}
    options = {f"--{name.replace('_', '-')}": value for name, value in asdict(choose).items()}
    options["--lang"] = list(options.pop("--langs"))
    options["--keep"] = list(options["--keep"])
    made_from = {"command": "oasst", "files": files, "--ift-share": ift_share, "--seed": seed, **options}
    return divide(out, lambda ledger: _source(sources, choose, ledger), ift_share, seed, made_from)


def _source(sources: list[str], choose: OasstFilter, ledger: Ledger) -> Source:
    families = chain.from_iterable(_families(source, choose, ledger) for source in sources)
    return Source(families, good=0.0, not_good="and none has rank 0")


def _families(source: str, choose: OasstFilter, ledger: Ledger) -> Iterator[tuple[str, list[Conversation]]]:
    rows = stream_table(Path(source), watched=True) if _is_file(source) else _dataset(source)
    first = next(rows, None)
    if first is None:
        raise UserError(f"{source}: has no rows", "check the name")
    read = _trees if "prompt" in first.values else _messages
    for raw, root, replies in read(chain([first], rows), ledger):
        one = _conversation(raw, root, replies, choose, ledger)
        if one:
            yield one.id, [one]


def _trees(
    rows: Iterator[RawRow], ledger: Ledger
) -> Iterator[tuple[RawRow, dict[str, Any] | None, list[dict[str, Any]]]]:
    for raw in rows:
        if "prompt" not in raw.values:
            raise UserError(f"{raw.where}: not a tree, unlike the rows before it", _FORMS)
        prompt = raw.values["prompt"]
        if prompt is None:
            yield raw, None, []
            continue
        replies = _replies(raw, prompt)
        below = [reply for parent in replies for reply in _replies(raw, parent)]
        while below:
            ledger.later_turns += len(below)
            below = [reply for parent in below for reply in _replies(raw, parent)]
        state = {"message_tree_id": raw.values.get("message_tree_id"), "tree_state": raw.values.get("tree_state")}
        yield raw, {**prompt, **{name: value for name, value in state.items() if value is not None}}, replies


def _replies(raw: RawRow, message: Any) -> list[dict[str, Any]]:
    replies = message.get("replies") or [] if isinstance(message, dict) else None
    if not isinstance(replies, list) or not all(isinstance(reply, dict) for reply in replies):
        raise UserError(f"{raw.where}: prompt and replies are not messages", _FORMS)
    return replies


def _messages(
    rows: Iterator[RawRow], ledger: Ledger
) -> Iterator[tuple[RawRow, dict[str, Any] | None, list[dict[str, Any]]]]:
    """Join a flat table: each message under its parent, prompts under themselves."""
    groups = Groups()
    for raw in rows:
        if "prompt" in raw.values or not {"message_id", "parent_id", "text"} <= set(raw.values):
            raise UserError(f"{raw.where}: neither a tree nor a message", _FORMS)
        message = {name: raw.values.get(name) for name in _FIELDS}
        parent = message["parent_id"] or message["message_id"]
        groups.add(checked_string(raw, "parent_id or message_id", parent), [raw.number, raw.where, message])
    for group in groups:
        yield from _group(group, ledger)


def _group(group: list[Any], ledger: Ledger) -> Iterator[tuple[RawRow, dict[str, Any] | None, list[dict[str, Any]]]]:
    """One parent's messages as a tree of one turn, where that parent is a prompt."""
    prompts = [item for item in group if not item[2]["parent_id"]]
    replies = [item for item in group if item[2]["parent_id"]]
    if prompts:
        number, where, root = prompts[0]
        yield RawRow(number, where, {}), root, [{**reply, "where": place} for _, place, reply in replies]
        for _, where, _ in prompts[1:]:
            ledger.read[PROMPTS] += 1
            ledger.drop(PROMPTS, where, "its message_id repeats an earlier one")
        return
    orphans = [item for item in replies if item[2]["parent_id"] == item[2]["message_tree_id"]]
    ledger.later_turns += len(replies) - len(orphans)
    ledger.read[ANSWERS] += len(orphans)
    for _, where, _ in orphans:
        ledger.drop(ANSWERS, where, "its prompt is not in the file")


def _conversation(
    raw: RawRow, root: dict[str, Any] | None, replies: list[dict[str, Any]], choose: OasstFilter, ledger: Ledger
) -> Conversation | None:
    """The first turn of one tree with its usable ranked replies; None, and an entry in the ledger, without any."""
    ledger.read[ANSWERS] += len(replies)
    reason = _why_no_prompt(root, choose, raw)
    answers = [] if reason else _answers(raw, replies, choose, ledger)
    if root is None or not answers:
        ledger.read[PROMPTS] += 1
        ledger.drop_prompt(raw.where, reason or "no usable ranked reply", len(replies) if reason else 0)
        return None
    tree_id = checked_string(raw, "message_tree_id", root.get("message_tree_id") or root.get("message_id"))
    if not tree_id:
        raise UserError(f"{raw.where}: no message_tree_id", _FORMS)
    return Conversation(raw.where, tree_id, [{"role": "user", "content": root["text"]}], answers)


def _why_no_prompt(root: dict[str, Any] | None, choose: OasstFilter, raw: RawRow) -> str | None:
    if root is None:
        return "an empty tree"
    if root.get("tree_state") not in (None, FINISHED):
        return f"tree {root['tree_state']}"
    return choose.why_not(root, "prompter", raw)


def _answers(raw: RawRow, replies: list[dict[str, Any]], choose: OasstFilter, ledger: Ledger) -> list[RankedResponse]:
    answers, seen = [], set()
    for number, reply in enumerate(replies, 1):
        where = reply.get("where") or f"{raw.where}, reply {number}"
        rank = _rank(RawRow(number, where, {}), reply.get("rank"))
        reason = choose.why_not(reply, "assistant", RawRow(number, where, {})) or ("no rank" if rank is None else None)
        name = checked_string(RawRow(number, where, {}), "message_id", reply.get("message_id"))
        if name and name in seen:
            reason = "its message_id repeats an earlier one"
        seen.add(name)
        if reason or rank is None:
            ledger.drop(ANSWERS, where, reason or "")
        else:
            answers.append(RankedResponse(text=reply["text"], human=0.0 - rank))  # not -0.0
    return answers


def _rank(raw: RawRow, value: Any) -> float | None:
    """A rank, 0 being the best; CSV has it as text."""
    try:
        return checked_number(raw, "rank", float(value or math.nan) if isinstance(value, str) else value)
    except ValueError:
        return checked_number(raw, "rank", value)  # refuses the text


def _is_file(source: str) -> bool:
    """Whether `source` is a file (one that is missing, too); else it is a dataset's folder or id."""
    path = Path(source)
    looks_like_id = source.count("/") == 1 and path.suffix.lower() not in (*FORMATS, ".gz")
    return path.is_file() or not (path.is_dir() or looks_like_id)


def _dataset(source: str) -> Iterator[RawRow]:
    """The rows of a dataset on the hub, or of one that was downloaded to a folder: its split `train`."""
    from datasets import load_dataset

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # the one line that srlm says is enough
    number = 0
    try:
        for number, row in enumerate(load_dataset(source, split="train", streaming=True), 1):
            yield RawRow(number, f"{source}: row {number}", row)
    except Exception as error:  # whatever the hub, the network or the file's reader raises
        reason = " ".join(str(error).split())[:200]
        problem = f"{source}: not a file, and reading it as a dataset failed after row {number} ({reason})"
        raise UserError(problem, "check the name and the network, or download the file") from error
