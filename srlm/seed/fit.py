"""What fits the model: rows beyond its context, or that its chat template refuses, are dropped before the split."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from srlm.errors import UserError
from srlm.judge.prompts import Templates
from srlm.model.check import CheckedModel, TemplateRefusalError
from srlm.records import EFTRow, IFTRow, LeftOut, Messages, PromptRow, RatedRow
from srlm.seed.read import Dropped, R, Read, drop
from srlm.seed.split import Seeds
from srlm.settings import Config

OVERLONG = "does not fit the context"
REFUSED = "the chat template refuses it"


@dataclass
class Given:
    """The seed files as they were read, None for one that was not given; `source` says what they were made from."""

    ift: Read[IFTRow] | None = None
    eft: Read[EFTRow] | None = None
    ranked: Read[RatedRow] | None = None
    held_out: Read[RatedRow] | None = None
    prompts: Read[PromptRow] | None = None
    source: dict[str, Any] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)  # of the source, in words
    source_dropped: list[LeftOut] = field(default_factory=list)


def fitting(given: Given, config: Config, model: CheckedModel, templates: Templates) -> tuple[Seeds, list[Dropped]]:
    """What fits the model of each file, and all that is not used. Raises UserError where nothing of a file fits."""
    ift = given.ift and fitting_ift(given.ift, config, model)
    eft = given.eft and fitting_eft(given.eft, config, model, templates)
    ranked = given.ranked and fitting_rated(given.ranked, config, model, templates)
    held_out = given.held_out and fitting_rated(given.held_out, config, model, templates)
    prompts = given.prompts and fitting_prompts(given.prompts, config, model)
    seeds = Seeds(
        ift=ift.rows if ift else [],
        eft=eft.rows if eft else [],
        ranked=ranked.rows if ranked else [],
        held_out=held_out.rows if held_out else None,
        prompts=prompts.rows if prompts else None,
        longest=max(read.longest for read in (ift, eft, ranked) if read),
    )
    return seeds, [row for read in (ift, eft, ranked, held_out, prompts) if read for row in read.dropped]


def check_judge_fits(config: Config, model: CheckedModel, templates: Templates) -> None:
    """Raise UserError when not even an empty answer to an empty question can be judged within the context."""
    length, reply = config.model.max_length, config.judge.max_tokens
    bare = model.tokens(templates.judge([{"role": "user", "content": "?"}], ""), reply=None)
    if bare + reply >= length:
        problem = (
            f"a context of {length} tokens is too small for the judge: its prompt takes {bare} tokens without question "
            f"and answer, and judge.max_tokens = {reply} are reserved for its reply"
        )
        raise UserError(
            problem, "use a model with a longer context, lower judge.max_tokens or shorten prompts/judge.txt"
        )


def fitting_ift(read: Read[IFTRow], config: Config, model: CheckedModel) -> Read[IFTRow]:
    """Without the conversations that are longer than the context: training would cut off their answers."""
    length = config.model.max_length
    return _fitting(read, lambda row: model.tokens(row.messages[:-1], row.messages[-1]["content"]), length)


def fitting_eft(read: Read[EFTRow], config: Config, model: CheckedModel, templates: Templates) -> Read[EFTRow]:
    """Without the rows whose judge prompt leaves no room for the reply, or whose judgement does not fit behind it."""

    def needs(row: EFTRow) -> int:
        prompt = row.messages if row.filled else templates.judge(row.messages, row.response)
        return max(model.tokens(prompt, reply=None) + config.judge.max_tokens, model.tokens(prompt, row.judgement))

    return _fitting(read, needs, config.model.max_length)


def fitting_rated(read: Read[RatedRow], config: Config, model: CheckedModel, templates: Templates) -> Read[RatedRow]:
    """Without the responses whose judge prompt leaves no room for the reply."""

    def needs(row: RatedRow) -> int:
        return model.tokens(templates.judge(row.messages, row.response), reply=None) + config.judge.max_tokens

    return _fitting(read, needs, config.model.max_length)


def fitting_prompts(read: Read[PromptRow], config: Config, model: CheckedModel) -> Read[PromptRow]:
    """Without the prompts that leave no room for an answer of rollout.max_tokens."""
    room = config.rollout.max_tokens
    return _fitting(read, lambda row: model.tokens(row.messages, reply=None) + room, config.model.max_length)


def prompt_fits(messages: Messages, config: Config, model: CheckedModel) -> bool:
    """Whether an answer of rollout.max_tokens fits behind this prompt."""
    return model.tokens(messages, reply=None) + config.rollout.max_tokens <= config.model.max_length


def _fitting(read: Read[R], needs: Callable[[R], int], length: int) -> Read[R]:
    """The rows whose tokens, and those that their replies need, fit; the others among the dropped. Raises UserError
    where none fits.
    """
    result: Read[R] = Read(dropped=list(read.dropped))
    refusal: TemplateRefusalError | None = None
    for row in read.rows:
        try:
            tokens = needs(row)
        except TemplateRefusalError as error:  # as a rule of the system's turn, which some templates do not know
            result.dropped.append(drop(row, f"{REFUSED} ({error.reason})"))
            refusal = error
            continue
        if tokens <= length:
            result.rows.append(row)
            result.longest = max(result.longest, tokens)
        else:
            result.dropped.append(drop(row, OVERLONG))
    if not result.rows:
        if refusal and not any(row.reason == OVERLONG for row in result.dropped):
            raise refusal
        file = read.rows[0].id.partition("-")[0]
        problem = f"no row of {file} fits into model.max_length = {length} tokens together with its reply"
        fix = "lower rollout.max_tokens and judge.max_tokens, or use --recipe small or a model with a longer context"
        raise UserError(problem, fix)
    return result
