"""What people thought of the responses, as columns of the user's file, and how far the judge agrees with them."""

import json
import math
import random
from collections import defaultdict
from typing import Any

from srlm.errors import UserError
from srlm.judge.agreement import judge_metrics
from srlm.judge.parse import Scale
from srlm.judge_file.columns import PAIR, Columns, Item, is_several
from srlm.judge_file.job import Judged
from srlm.records import JudgeEval
from srlm.seed.files import RawRow
from srlm.seed.values import checked_number, preferred
from srlm.store import digest

MOST = 2000  # responses at most of one group: pairs grow by the square
_MARKS = {"A": (1.0, 0.0), "B": (0.0, 1.0), "tie": (0.5, 0.5)}


def human_marks(columns: Columns, row: RawRow, responses: int) -> list[float | None]:
    """What people gave each response, higher is better; None where they said nothing. Raises UserError with place."""
    if columns.are_verdicts:
        chosen = row.values[PAIR[0]]
        better = len(chosen) if is_several(chosen) else 1
        return [float(index < better) for index in range(responses)]
    if columns.human_label:
        return list(_preferred(row, columns.human_label, responses))
    name = columns.human_score or columns.human_rank
    if name is None:
        return [None] * responses
    sign = 1.0 if columns.human_score else -1.0
    value = _value(row.values.get(name))
    if responses == 1:
        given = [_mean(row, name, value)]
    elif isinstance(value, list) and len(value) == responses:
        given = [_mean(row, name, one) for one in value]
    elif value is None:
        given = [None] * responses
    else:
        raise UserError(
            f"{row.where}: {name} must be a list of {responses} numbers", "give one number for each response"
        )
    return [None if number is None else sign * number for number in given]


def _preferred(row: RawRow, name: str, responses: int) -> tuple[float | None, ...]:
    """What the label in this column says of both."""
    if responses != 2:
        raise UserError(f"{row.where}: {name} compares two responses, but there are {responses}", "give two responses")
    value = row.values.get(name)
    if value is None or value == "":
        return (None, None)
    found = preferred(value)
    if found is None:
        raise UserError(f"{row.where}: {name} = {value!r} is not a preference", "accepted: 1 or 2, A or B, A>B, tie")
    return _MARKS[found]


def _value(value: Any) -> Any:
    """CSV has numbers and lists as text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value) if value.strip() else None
    except ValueError:
        return value


def _mean(row: RawRow, name: str, value: Any) -> float | None:
    """One mark, or the mean of several people's."""
    values = value if isinstance(value, list) else [value]
    if any(isinstance(one, bool) or not isinstance(one, int | float | None) for one in values):
        raise UserError(f"{row.where}: {name} must be a number, found {value!r}", "give a number or a list of numbers")
    known = [number for one in values if (number := checked_number(row, name, one)) is not None]
    return math.fsum(known) / len(known) if known else None


class People:
    """Collects what people and judge said of each response: what the figures need, without the texts."""

    def __init__(self, columns: Columns, scale: Scale) -> None:
        self._columns, self._scale = columns, scale
        self.rows: list[JudgeEval] = []
        self._chars: dict[str, int] = {}

    def add(self, row: RawRow, item: Item, judged: Judged) -> None:
        """Take notice of one row."""
        given = human_marks(self._columns, row, len(item.responses))
        group = str(row.values.get(self._columns.group)) if self._columns.group else digest(item.messages)
        if self._columns.human_label or self._columns.are_verdicts:
            group = f"{row.number} {group}"  # a preference is about the row's own
        for index, (human, judgements) in enumerate(zip(given, judged.judgements, strict=True)):
            if human is not None:
                slim = [found.model_copy(update={"text": "", "swapped": None}) for found in judgements]
                row_id = f"{row.number}-{index}"
                if not self._columns.judge_prompt:
                    self._chars[row_id] = len(item.responses[index])
                self.rows.append(JudgeEval(id=row_id, group=group, human=human, judgements=slim))

    def agreement(self) -> dict[str, Any]:
        """`judge_metrics` by prompt; where no prompt has two responses, over all rows as one group, and that is said.

        One group's interval is a bootstrap over responses. Of a group with more than `MOST` responses a sample counts.
        """
        if not self.rows:
            return {}
        groups: dict[str, list[JudgeEval]] = defaultdict(list)
        for row in self.rows:
            groups[row.group].append(row)
        alone = len(groups) == len(self.rows)
        if alone:
            groups = {"": self.rows}
        kept = [row for rows in groups.values() for row in _at_most(rows)]
        over = f"{len(kept)} responses to different prompts" if alone else "responses to one prompt"
        if alone:
            kept = [row.model_copy(update={"group": ""}) for row in kept]
        found = judge_metrics(kept, float(self._scale.high), self._chars) | {"over": over}
        return found | ({"pairwise_interval": _interval(kept)} if len(groups) == 1 else {})


def _at_most(rows: list[JudgeEval]) -> list[JudgeEval]:
    return random.Random(0).sample(rows, MOST) if len(rows) > MOST else rows


def _interval(rows: list[JudgeEval], resamples: int = 1000) -> list[float] | None:
    """95% bootstrap interval of the pairwise accuracy over responses of one group: resampled responses as weights.

    Pairs (n, n) are weighted by both members' counts; a response drawn twice makes no pair with itself.
    """
    import numpy as np

    scored = [(row.human, [j.score for j in row.judgements if j.score is not None]) for row in rows]
    human = np.array([human for human, scores in scored if scores])
    model = np.array([math.fsum(scores) / len(scores) for _, scores in scored if scores])
    if len(human) < 2:
        return None
    told = np.sign(human[:, None] - human[None])  # (n, n)
    points = np.where(told != 0, (1 + told * np.sign(model[:, None] - model[None])) / 2, 0.0)
    weights = np.random.default_rng(0).multinomial(len(human), [1 / len(human)] * len(human), resamples).astype(float)
    pairs = ((weights @ np.abs(told)) * weights).sum(1)
    if not pairs.all():
        return None
    low, high = np.quantile(((weights @ points) * weights).sum(1) / pairs, [0.025, 0.975])
    return [float(low), float(high)]
