"""What a server is asked for, to have the probabilities of scores."""

import asyncio
import math
from typing import Any

import pytest

from srlm.engine.server import ServerEngine


class Spelling(ServerEngine):
    """A server whose tokens are characters, and that remembers what it is asked."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:9/v1", "m", 4, 1.0)
        self.contexts: list[str] = []

    async def _post(self, path: str, body: dict[str, Any], missing: str = "") -> dict[str, Any] | None:
        if path.endswith("/tokenize"):
            turns = body.get("messages", [{"content": body.get("prompt", "")}])
            return {"tokens": [ord(sign) for turn in turns for sign in turn["content"]]}
        self.contexts.append("".join(map(chr, body["prompt"])))
        top = {f"token_id:{ord(sign)}": math.log(0.1) for sign in " 0123456789"}
        return {"choices": [{"logprobs": {"top_logprobs": [top]}}]}


@pytest.mark.parametrize(("scale", "ends"), [(range(6), []), (range(1, 11), ["1"])])
def test_a_server_is_asked_for_the_end_of_a_number_only_where_another_goes_on(scale: range, ends: list[str]) -> None:
    server = Spelling()
    choices = [f" {number}" for number in scale]
    logs = asyncio.run(server.choices([{"role": "user", "content": "Q"}], "Score:", choices))
    assert logs is not None
    assert server.contexts == ["QScore:", "QScore: ", *(f"QScore: {number}" for number in ends)]
