"""Held-out splits, by prompt and never by row. Pure.

Which prompts are held out follows from a hash of the prompt and the run's seed: the order of the rows plays no part,
and rows added later move few prompts. No held-out prompt stays in the training rows, whichever file it came from.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from srlm.errors import UserError
from srlm.records import EFTRow, IFTRow, LeftOut, Messages, PromptRow, RatedRow
from srlm.seed.rated import rated
from srlm.seed.read import Dropped, drop
from srlm.settings import DataSettings
from srlm.store import digest, seed_of

MOST_OF_IFT = 5  # at most one in so many IFT prompts becomes an evaluation prompt
RULE = (
    "Held-out EFT: the rows of --held-out-eft, if given. Otherwise, the share data.held_out_eft of the prompt groups "
    "in EFT (or in the ranked responses, before any is judged): those with the lowest hash of (run.seed, group), with "
    "all their responses. Evaluation prompts: the first data.eval_prompts of --eval-prompts, if given. Otherwise, that "
    "many IFT prompts, at most a fifth: those that EFT does not have come first, then those with the lowest hash of "
    "(run.seed, prompt). Rows with a held-out prompt are removed from the training rows."
)


@dataclass
class Seeds:
    """The seed rows as they were read. Either `eft` or `ranked` has rows; what is None is split off the others."""

    ift: list[IFTRow]
    eft: list[EFTRow] = field(default_factory=list)
    ranked: list[RatedRow] = field(default_factory=list)
    held_out: list[RatedRow] | None = None
    prompts: list[PromptRow] | None = None
    longest: int = 0  # tokens of the longest row that is trained on


@dataclass
class Split:
    """The seed rows as the run uses them, what left the training rows, and what the user should know."""

    ift: list[IFTRow]
    eft: list[EFTRow]
    ranked: list[RatedRow]
    held_out_eft: list[RatedRow]
    eval_prompts: list[PromptRow]
    dropped: list[Dropped] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    source: dict[str, Any] = field(default_factory=dict)  # what the seed files were made from, when init made them
    source_dropped: list[LeftOut] = field(default_factory=list)
    longest: int = 0  # tokens of the longest row that is trained on: what memory the training takes follows from it

    @property
    def files(self) -> dict[str, list[Any]]:
        """Seed file -> its rows: EFT, or the ranked responses that it is to be built from."""
        judging = {"ranked": self.ranked} if self.ranked else {"eft": self.eft}
        return {"ift": self.ift, **judging, "held_out_eft": self.held_out_eft, "eval_prompts": self.eval_prompts}

    @property
    def counts(self) -> dict[str, int]:
        """Rows of each seed file, and the prompts of the held-out EFT."""
        counts = {name: len(rows) for name, rows in self.files.items()}
        return counts | {"held_out_eft_prompts": len({row.group for row in self.held_out_eft})}


def prompt_key(messages: Messages) -> str:
    """The same for prompts that differ only in case, spacing or system turn; `messages` end with the user's turn."""
    turns = [(m["role"], " ".join(m["content"].casefold().split())) for m in messages if m["role"] != "system"]
    return digest(turns)


def prompt_keys(messages: Messages) -> set[str]:
    """Keys of all prompts in a conversation: what stands before each of the assistant's turns, or after the last."""
    return {prompt_key(messages[: i + 1]) for i, turn in enumerate(messages) if turn["role"] == "user"}


def split(seeds: Seeds, fits: Callable[[Messages], bool], settings: DataSettings, seed: int) -> Split:
    """Split the seed rows; evaluation prompts that come from IFT are of those that `fits`.

    Raises UserError where nothing would be left to train on or to evaluate with.
    """
    result = Split(seeds.ift, seeds.eft, seeds.ranked, seeds.held_out or [], [])
    if seeds.held_out is None:
        _hold_out(result, settings.held_out_eft, seed)
    _warn_of_eft(result)
    _remove(result, {prompt_key(row.messages) for row in result.held_out_eft}, "its prompt is in the held-out EFT")
    if seeds.prompts is None:
        result.eval_prompts = _from_ift(result, fits, settings.eval_prompts, seed)
        reason = "its prompt became an evaluation prompt"
    else:
        result.eval_prompts = _distinct(seeds.prompts, result.dropped)[: settings.eval_prompts]
        reason = "its prompt is an evaluation prompt"
    if (found := len(result.eval_prompts)) < settings.eval_prompts and seeds.prompts != []:  # []: none are wanted
        result.warnings.append(
            f"only {found} evaluation prompts, fewer than data.eval_prompts = {settings.eval_prompts}"
        )
    _remove(result, {prompt_key(row.messages) for row in result.eval_prompts}, reason)
    for name, words in (("ift", "IFT row"), ("eft", "EFT row"), ("ranked", "ranked response")):
        if getattr(seeds, name) and not getattr(result, name):
            raise UserError(f"no {words} is left to train on", "add more rows, or hold out less (see [data])")
    return result


def _hold_out(result: Split, share: float, seed: int) -> None:
    """Hold out whole prompt groups: at least one, and one is left, where there are two."""
    rows = result.ranked or [rated(row) for row in result.eft if not row.filled]
    groups = sorted({row.group for row in rows}, key=lambda g: (seed_of(seed, "held_out_eft", g), g))
    count = min(max(1, round(share * len(groups))), len(groups) - 1)
    chosen = set(groups[: max(0, count)])
    result.held_out_eft = [row for row in rows if row.group in chosen]
    ids = {row.id for row in result.held_out_eft}
    result.eft = [row for row in result.eft if row.id not in ids]
    result.ranked = [row for row in result.ranked if row.id not in ids]


def _warn_of_eft(result: Split) -> None:
    filled = sum(row.filled for row in result.eft)
    if filled:
        result.warnings.append(
            f"{filled} EFT rows with complete judge prompts are used only for training; their template may differ from "
            "prompts/judge.txt, and they cannot be compared with the held-out prompts"
        )
    if not result.held_out_eft:
        result.warnings.append("no EFT prompt could be held out: the judge will not be measured against people")
        return
    marks = defaultdict(set)
    for row in result.held_out_eft:
        marks[row.group].add(row.human)
    if all(len(found) < 2 for found in marks.values()):
        result.warnings.append(
            "no held-out EFT prompt has two responses with different human scores: the judge's ranking is not measured"
        )


def _distinct(prompts: list[PromptRow], dropped: list[Dropped]) -> list[PromptRow]:
    """One row a prompt, in their order."""
    found: dict[str, PromptRow] = {}
    dropped += [drop(row, "duplicate") for row in prompts if found.setdefault(prompt_key(row.messages), row) is not row]
    return list(found.values())


def _from_ift(result: Split, fits: Callable[[Messages], bool], count: int, seed: int) -> list[PromptRow]:
    """Prompts of IFT rows, one a prompt; those that are no EFT prompt come first, since that costs EFT no rows."""
    in_eft = {prompt_key(row.messages) for row in result.ranked}
    in_eft |= {prompt_key(row.messages) for row in result.eft if not row.filled}
    found: dict[str, IFTRow] = {}
    for row in result.ift:
        found.setdefault(prompt_key(row.messages[:-1]), row)
    count = min(count, len(found) // MOST_OF_IFT)
    order = sorted(found, key=lambda key: (key in in_eft, seed_of(seed, "eval_prompts", key), key))
    if not count:
        raise UserError(
            "IFT has too few prompts to hold some out for evaluation", "add more, or use --eval-prompts FILE"
        )
    chosen = [found[key] for key in order if fits(found[key].messages[:-1])][:count]
    if not chosen:
        problem = "no IFT prompt leaves room for an answer of rollout.max_tokens within model.max_length"
        raise UserError(problem, "lower rollout.max_tokens, or use a recipe for smaller models (--recipe small)")
    return [PromptRow(id=row.id.replace("ift", "eval"), messages=row.messages[:-1]) for row in chosen]


def _remove(result: Split, keys: set[str], reason: str) -> None:
    """Take the rows with one of these prompts out of the training rows."""
    for name in ("ift", "eft", "ranked"):
        setattr(result, name, _without(getattr(result, name), keys, reason, result.dropped))


def _without(rows: list[Any], keys: set[str], reason: str, dropped: list[Dropped]) -> list[Any]:
    hit = {row.id for row in rows if keys & prompt_keys(row.messages)}
    dropped += [drop(row, reason) for row in rows if row.id in hit]
    return [row for row in rows if row.id not in hit]
