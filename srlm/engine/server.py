"""An engine behind HTTP: any server that speaks OpenAI's chat protocol (vLLM, SGLang, llama.cpp, hosted ones).

The official client does connections, time limits and retries with backoff (429, 5xx, lost connections; it honours
Retry-After). The key is read from OPENAI_API_KEY and is never written anywhere.
"""

import asyncio
import os
from typing import Any, Self

from openai import APIConnectionError, APIStatusError, APITimeoutError, AsyncOpenAI, OpenAIError, Timeout

from srlm.engine import Sample, Sampling, may_go_on
from srlm.engine.thoughts import said
from srlm.engine.walk import common_start, log_probabilities
from srlm.errors import UserError
from srlm.model.chat import COMMON_CONTROLS
from srlm.records import Messages

KEY = "OPENAI_API_KEY"
RETRIES = 5  # with the client's backoff about 15 seconds: outlasts a rate limit or a restart behind a balancer
CONNECT_SECONDS = 10.0
MOST_LIKELY = 20  # log-probabilities per position that servers give at most
NO_CHOICES = 'judge in mode "sampled", or use a vLLM server: mode "expected" needs /tokenize and log-probabilities'


class ServerEngine:
    """One model of one server, at most `concurrency` requests at once. Raises UserError for what the server refuses."""

    controls = COMMON_CONTROLS

    def __init__(self, url: str, model: str, concurrency: int, timeout: float) -> None:
        self.url, self.model = url.rstrip("/"), model
        self._slots = asyncio.Semaphore(concurrency)
        self._client = AsyncOpenAI(
            base_url=self.url,
            api_key=os.environ.get(KEY) or "none",  # servers of one's own ask for none, the client does
            max_retries=RETRIES,
            timeout=Timeout(timeout, connect=min(timeout, CONNECT_SECONDS)),
        )
        self._digits: list[int] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def sample(self, messages: Messages, sampling: Sampling, seed: int) -> list[Sample]:
        """See `Engine.sample`. A server that gives fewer than n samples at once is asked again for the others."""
        samples: list[Sample] = []
        while len(samples) < sampling.n:
            body = {
                "model": self.model,
                "messages": messages,
                "n": sampling.n - len(samples),
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "max_tokens": sampling.max_tokens,
                "seed": seed + len(samples),
            }
            found = await self._post("/chat/completions", body)
            if found is None:
                return [Sample("", 0, "overlong")] * sampling.n
            samples += self._samples(found)
        return samples[: sampling.n]

    def _samples(self, found: dict[str, Any]) -> list[Sample]:
        """The samples of one answer; the server counts tokens over all of them, so each is given its share."""
        choices = found.get("choices") or []
        if not choices:
            raise UserError(f"{self.url}: the server's reply has no choices", "is it an OpenAI-compatible chat server?")
        tokens = (found.get("usage") or {}).get("completion_tokens", 0) // len(choices)
        return [
            said((choice.get("message") or {}).get("content") or "", tokens, choice.get("finish_reason") or "stop")
            for choice in choices
        ]

    async def choices(self, messages: Messages, prefix: str, choices: list[str]) -> list[float] | None:
        """See `Engine.choices`. Needs vLLM's server; what is not among its 20 likeliest tokens counts as impossible."""
        bare, *paths = await asyncio.gather(*(self._tokens(messages, prefix + choice) for choice in ["", *choices]))
        if not self._digits:
            self._digits = [token for ids in await self._digit_tokens() for token in ids]
        start = common_start([bare, *paths])
        try:
            return await log_probabilities(paths, start, may_go_on(choices), self._digits, self._next_tokens)
        except _OverlongError:
            return None

    async def _tokens(self, messages: Messages, reply: str) -> list[int]:
        """Token ids of the chat with a reply that is not finished."""
        body: dict[str, Any] = {"model": self.model, "messages": messages, "add_generation_prompt": not reply}
        if reply:
            turns = [*messages, {"role": "assistant", "content": reply}]
            body |= {"messages": turns, "continue_final_message": True}
        return list((await self._tokenize(body))["tokens"])

    async def _digit_tokens(self) -> list[list[int]]:
        bodies = [{"model": self.model, "prompt": digit, "add_special_tokens": False} for digit in "0123456789"]
        return [list(found["tokens"])[-1:] for found in await asyncio.gather(*map(self._tokenize, bodies))]

    async def _tokenize(self, body: dict[str, Any]) -> dict[str, Any]:
        found = await self._post(f"{self.url.removesuffix('/v1')}/tokenize", body, missing=NO_CHOICES)
        if found is None or "tokens" not in found:
            raise UserError(f"{self.url}: the server's /tokenize gives no tokens", NO_CHOICES)
        return found

    async def _next_tokens(self, context: list[int], wanted: list[int]) -> dict[int, float]:
        body = {
            "model": self.model,
            "prompt": context,
            "max_tokens": 1,
            "temperature": 0,
            "logprobs": MOST_LIKELY,
            "return_tokens_as_token_ids": True,
        }
        found = await self._post("/completions", body, missing=NO_CHOICES)
        if found is None:
            raise _OverlongError
        choice = (found.get("choices") or [{}])[0]
        top = ((choice.get("logprobs") or {}).get("top_logprobs") or [None])[0]
        if not top or not all(name.startswith("token_id:") for name in top):
            raise UserError(f"{self.url}: the server gives no log-probabilities by token id", NO_CHOICES)
        known = {int(name.removeprefix("token_id:")): value for name, value in top.items()}
        return {token: known.get(token, float("-inf")) for token in wanted}

    async def _post(self, path: str, body: dict[str, Any], missing: str = "") -> dict[str, Any] | None:
        """The server's answer; None where the prompt does not fit its context. Raises UserError after the retries.

        `missing`: the way on where the server does not know such a request.
        """
        try:
            async with self._slots:
                return await self._client.post(path, body=body, cast_to=dict[str, Any])
        except APIStatusError as error:
            if _is_overlong(error):
                return None
            raise self._refused(error, missing) from None
        except APITimeoutError:
            raise UserError(
                f"{self.url}: no answer in time, {RETRIES + 1} times in a row",
                f"{AGAIN}; or raise --timeout",
            ) from None
        except APIConnectionError as error:
            reason = str(error.__cause__ or error)
            raise UserError(f"{self.url}: no connection ({reason})", f"start the server, then {AGAIN}") from None
        except (OpenAIError, ValueError) as error:
            raise UserError(
                f"{self.url}: the server's reply is not JSON ({error})", "is it an OpenAI-compatible server?"
            ) from None

    def _refused(self, error: APIStatusError, missing: str) -> UserError:
        code = error.status_code
        said = " ".join(_message(error).split())[:200]
        if code in (401, 403):
            return UserError(f"{self.url}: the server refused the key ({code})", f"set {KEY} in the environment")
        if missing and code in (400, 404, 405, 422, 501):
            return UserError(f"{self.url}: the server cannot do this ({code} {said})", missing)
        if code == 404:
            return UserError(
                f"{self.url}: not found ({said})",
                f"check the URL (it often ends in /v1) and the name {self.model}",
            )
        if code == 429 or code >= 500:
            problem = f"{self.url}: error {code}, {RETRIES + 1} times in a row ({said})"
            return UserError(problem, f"wait until the server works again, then {AGAIN}")
        return UserError(
            f"{self.url}: the server refused the request ({code} {said})", "change the settings that it names"
        )


AGAIN = "run the same command again to continue"


class _OverlongError(Exception):
    """The context of a choice does not fit."""


def _message(error: APIStatusError) -> str:
    """What the server says, without the key in case it repeats it."""
    body = error.body if isinstance(error.body, dict) else {}
    text = str(body.get("message") or error.message)
    key = os.environ.get(KEY)
    return text.replace(key, "***") if key else text


def _is_overlong(error: APIStatusError) -> bool:
    text = _message(error).lower()
    return error.status_code in (400, 413) and (
        "context length" in text or "context_length" in text or "context size" in text
    )
