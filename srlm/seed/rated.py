"""Ranked prompts as one row a response, which is what is judged, and back. Pure."""

from collections import defaultdict
from collections.abc import Iterable

from srlm.records import EFTRow, RankedResponse, RankedRow, RatedRow
from srlm.seed.read import Read
from srlm.store import digest


def one_by_one(read: Read[RankedRow], file: str) -> Read[RatedRow]:
    """Each response of each prompt as a row of its own, with ids by `file`: "ranked-000012.2".

    A group is one row of the file, since people's marks can be compared within it only; it is named by its content, so
    that the split does not hang on the order of the rows.
    """
    result: Read[RatedRow] = Read(dropped=[row.model_copy(update={"file": file}) for row in read.dropped])
    for row in read.rows:
        number = row.id.rpartition("-")[2]
        group = digest(row.model_dump(exclude={"id"}))
        result.rows += [
            RatedRow(
                id=f"{file}-{number}.{k}", group=group, messages=row.messages, response=answer.text, human=answer.human
            )
            for k, answer in enumerate(row.responses, 1)
        ]
    return result


def side_by_side(rows: Iterable[RatedRow]) -> list[RankedRow]:
    """The responses of each group together again, in the order of the rows."""
    groups: dict[str, list[RatedRow]] = defaultdict(list)
    for row in rows:
        groups[row.group].append(row)
    return [
        RankedRow(
            id=group[0].id.rpartition(".")[0],
            messages=group[0].messages,
            responses=[RankedResponse(text=row.response, human=row.human) for row in group],
        )
        for group in groups.values()
    ]


def rated(row: EFTRow) -> RatedRow:
    """An EFT row without its judgement; where people gave no mark of their own, the judgement's score is theirs."""
    human = row.score if row.human is None else row.human
    return RatedRow(id=row.id, group=row.group, messages=row.messages, response=row.response, human=human)
