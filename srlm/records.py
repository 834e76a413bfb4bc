"""What a JSONL row is: the records that stages hand to each other through the run folder.

Every record carries its `id`; rows are joined by id and never by position.
"""

import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Messages = list[dict[str, str]]
"""A conversation: `[{"role": "system" | "user" | "assistant", "content": str}, ...]`."""


class Record(BaseModel):
    """Base of all rows: unknown keys are errors, so that a torn or foreign file is noticed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class IFTRow(Record):
    """One instruction fine-tuning example: a conversation that ends with the assistant's turn."""

    id: str
    messages: Messages


class EFTRow(Record):
    """One evaluation fine-tuning example: a response, and the judgement that the model shall learn to write.

    `group` names the prompt it belongs to: splits and rankings go by it. `human` is the human score of the response
    (higher is better), where one exists; else `score` stands in. A `filled` row came with its judge prompt
    already filled: it can be trained on, but not ranked or held out.
    """

    id: str
    group: str
    messages: Messages
    response: str
    judgement: str
    score: float
    human: float | None = None
    filled: bool = False


class RankedResponse(Record):
    """One response that people ranked or rated; `human` is what they gave it: higher is better, within its row only."""

    text: str
    human: float


class RankedRow(Record):
    """One prompt (a conversation that ends with the user's turn) with two or more ranked or rated responses."""

    id: str
    messages: Messages
    responses: list[RankedResponse]


class LeftOut(Record):
    """One thing of a seed source that was left out: a row of dropped.jsonl."""

    where: str
    what: str  # row, prompt or answer
    reason: str


class RatedRow(Record):
    """One response and what people gave it: a row of seed/held_out_eft.jsonl and of seed/ranked.jsonl.

    `human` (higher is better) can be compared within its `group` only: the responses that people saw side by side.
    """

    id: str
    group: str
    messages: Messages
    response: str
    human: float


class PromptRow(Record):
    """One held-out evaluation prompt: a conversation that ends with the user's turn."""

    id: str
    messages: Messages


class Instruction(Record):
    """One request for a new instruction, kept or dropped: the rows of instructions.jsonl, in request order."""

    id: str
    round: int
    messages: Messages
    dropped: str | None = None  # the filter's reason, None when kept
    tokens: int = 0


class Judgement(Record):
    """One raw reply of the judge. `score` is None when the reply could not be parsed: missing, never 0 or -1.

    `flags` says what was odd: "conflict" (the reply introduces different scores), "outside" (mode `expected`: most of
    the probability lay on no score), "order" (mode `pairwise`: the two orders disagreed).
    """

    text: str
    score: float | None
    finish: str
    tokens: int
    flags: list[str] = []
    probabilities: list[float] | None = None  # mode `expected`: of each score from the lowest on, summing to 1
    outside: float | None = None  # mode `expected`: the probability of anything but a score
    again: float | None = None  # mode `expected`, without reasons, of some answers: the score by another phrasing
    against: int | None = None  # mode `pairwise`: which other candidate it was compared with
    swapped: str | None = None  # mode `pairwise`: the reply with this candidate in second place; `text`: in first


class Comparison(Record):
    """Two responses, a and b, compared in both orders. A disagreement is a tie; None: a reply gave no verdict."""

    winner: Literal["a", "b", "tie"] | None
    verdicts: tuple[str | None, str | None]  # "a", "b" or "tie", of the order (a, b) and of the order (b, a)
    texts: tuple[str, str]  # the two replies, in the same order
    finish: str  # "stop", or why a reply did not end
    tokens: tuple[int, int]
    flags: list[str] = []  # as of a judgement: "conflict", "order"


class Candidate(Record):
    """One answer to an instruction with its K judgements."""

    text: str
    finish: str
    tokens: int
    judgements: list[Judgement] = []

    @property
    def valid(self) -> list[float]:
        """The scores that could be parsed."""
        return [j.score for j in self.judgements if j.score is not None]

    @property
    def score(self) -> float | None:
        """Mean of the valid judgements, on the rubric's scale; None without any."""
        # fsum: the same scores in another order have the same mean, so that a tie stays one
        return math.fsum(self.valid) / len(self.valid) if self.valid else None


class Rollout(Record):
    """One instruction with its N candidates: a row of rollouts.jsonl, appended when it is complete."""

    id: str
    messages: Messages
    candidates: list[Candidate] = []
    dropped: str | None = None  # why the row was set aside, e.g. "overlong"


class AnswerEval(Record):
    """One held-out prompt answered N times and judged by the model itself; `truth` holds the grader's marks."""

    kind: Literal["answer"] = "answer"
    rollout: Rollout
    truth: list[dict[str, float] | None] | None = None  # one per candidate; None: no grader, or it does not know


class JudgeEval(Record):
    """One rated response, judged K times by the model; `human` is what people gave it."""

    kind: Literal["judge"] = "judge"
    id: str
    group: str
    human: float
    judgements: list[Judgement] = []
    dropped: str | None = None


class CanaryRow(Record):
    """One worthless answer to a held-out prompt (see generate/canaries.py), to be judged."""

    id: str
    prompt: str  # the held-out prompt's id
    name: str
    messages: Messages
    response: str


class CanaryEval(Record):
    """One canary, judged K times by the model."""

    kind: Literal["canary"] = "canary"
    id: str
    name: str
    response: str
    judgements: list[Judgement] = []


EvalRow = Annotated[AnswerEval | JudgeEval | CanaryEval, Field(discriminator="kind")]


class PreferencePair(Record):
    """One row of DPO training data, in TRL's conversational form, with what it was made from."""

    id: str
    prompt: Messages
    chosen: Messages
    rejected: Messages
    chosen_score: float
    rejected_score: float
    rejected_from: str | None = None  # "M0": an earlier model's answer (the past anchor); None: the model's own

    @property
    def margin(self) -> float:
        """Chosen minus rejected mean score, in units of the rubric's scale."""
        return self.chosen_score - self.rejected_score
