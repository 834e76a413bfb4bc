"""The rows that SFT trains on: IFT answers and EFT judgements, in TRL's conversational prompt/completion form. Pure."""

from collections.abc import Iterable, Iterator
from typing import Any

from srlm.judge.prompts import Templates
from srlm.records import EFTRow, IFTRow


def sft_rows(ift: Iterable[IFTRow], eft: Iterable[EFTRow], templates: Templates) -> Iterator[dict[str, Any]]:
    """IFT rows (all turns but the last are the prompt), then EFT rows under the same judge template as in rollout."""
    for row in ift:
        yield {"id": row.id, "prompt": row.messages[:-1], "completion": row.messages[-1:]}
    for eft_row in eft:
        prompt = eft_row.messages if eft_row.filled else templates.judge(eft_row.messages, eft_row.response)
        yield {
            "id": eft_row.id,
            "prompt": prompt,
            "completion": [{"role": "assistant", "content": eft_row.judgement}],
        }
