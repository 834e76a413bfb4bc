"""vLLM, driven from asyncio: follow-up requests (the judgements of a finished candidate) join the running batch.

On a CPU the engine runs in this process, which measured faster there; on a GPU in a process of vLLM's own. The variable
VLLM_ENABLE_V1_MULTIPROCESSING, which vLLM reads too, says otherwise: 1 takes the GPU's path on a CPU.
"""

import asyncio
import difflib
import itertools
import os
from dataclasses import fields
from functools import cached_property
from typing import Any, get_args

from jinja2 import TemplateError
from pydantic import ValidationError

from srlm.engine import DIED, Sample, Sampling, may_go_on
from srlm.engine.thoughts import TAGS, said
from srlm.engine.walk import common_start, log_probabilities
from srlm.errors import StageError, UserError
from srlm.model.adapter import adapter_of, base_of
from srlm.model.chat import CHAT_OPTIONS, control_strings, end_of_turn_ids
from srlm.model.tokenizer import load_tokenizer
from srlm.records import Messages

CPU_KV_CACHE_BYTES = 2 * 2**30
CPU_BATCHED_TOKENS = 8192
DIGITS = tuple("0123456789")


def engine_arguments(model: str, revision: str | None, max_length: int, extra: dict[str, Any]) -> dict[str, Any]:
    """vLLM's EngineArgs for this machine; the user's own (`engine.args`) win. Sets the CPU's environment."""
    from vllm.config.lora import MaxLoRARanks

    # asked of vLLM: torch.cuda, once asked, is initialised, and what vLLM starts by a fork cannot use the GPU any more
    from vllm.platforms import current_platform

    # No dtype on a GPU: vLLM's "auto" takes that of config.json, but for float32, as our models are saved, the first
    # that the platform and the architecture can (0.32, config/model.py, _resolve_auto_dtype): bfloat16, or float16 on
    # cards before Ampere, which have none. To say bfloat16 here would only break those.
    base, base_revision = base_of(model, revision)
    arguments: dict[str, Any] = {
        "model": base,
        "revision": base_revision,
        "max_model_len": max_length,
        "enable_prefix_caching": True,  # judge prompts share the rubric
        "disable_log_stats": True,
        "trust_remote_code": False,
        "load_format": "safetensors",
        # of repositories that hold Mistral's own format, too, the files that srlm trains: transformers'
        "config_format": "hf",
        "tokenizer_mode": "hf",
    }
    if current_platform.is_cpu():
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
        # vLLM takes one thread unless told, and a machine's cores are few enough to use all
        os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))
        arguments |= {
            "dtype": "float32",
            "enforce_eager": True,
            "kv_cache_memory_bytes": CPU_KV_CACHE_BYTES,
            # a request with a seed whose prompt is prefilled in chunks crashes vLLM on a CPU: its random generator
            # cannot be wound back (vLLM 0.32, "CPU Generator does not use offset")
            "enable_chunked_prefill": False,
            "max_num_batched_tokens": max(max_length, CPU_BATCHED_TOKENS),
        }
    if adapter := adapter_of(model):
        rank = next(size for size in get_args(MaxLoRARanks) if size >= adapter.rank)
        arguments |= {"tokenizer": model, "enable_lora": True, "max_lora_rank": rank}
        # unless it is told that no adapter changes the head, the log-probabilities of prompts fail (on a CPU) or are
        # wrong (vLLM issue 51594)
        arguments["lora_target_modules"] = adapter.modules or None
    return arguments | extra


def check_names(extra: dict[str, Any], known: set[str]) -> None:
    """Raise UserError for an engine argument that vLLM does not have, naming the nearest, or that srlm itself sets."""
    for name in extra:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            raise UserError(f"engine.args: unknown key {name}", f"did you mean {close[0]}?" if close else "remove it")
        if name in ("model", "trust_remote_code", "load_format", "max_model_len"):
            raise UserError(
                f"engine.args: {name} cannot be set", "srlm sets it itself; for the context, set model.max_length"
            )
    if extra.get("data_parallel_size", 1) != 1:  # vLLM would reserve that many GPUs, and only one of them would work
        raise UserError("engine.args: data_parallel_size cannot be set", "set engine.replicas instead")


class VllmEngine:
    """A model loaded in vLLM. Raises UserError when vLLM refuses the arguments or cannot load the model."""

    def __init__(self, model: str, revision: str | None, max_length: int, extra: dict[str, Any], seed: int) -> None:
        arguments = engine_arguments(model, revision, max_length, extra) | {"seed": seed}
        from vllm import EngineArgs, envs
        from vllm.lora.request import LoRARequest

        self._tokenizer = load_tokenizer(model, revision)
        self._stop_ids = end_of_turn_ids(self._tokenizer)
        self.controls = control_strings(self._tokenizer)
        self._max_length = max_length
        check_names(extra, {field.name for field in fields(EngineArgs)})
        kind = _OwnProcess if envs.VLLM_ENABLE_V1_MULTIPROCESSING else _InProcess
        try:
            self.core = kind(arguments, LoRARequest("adapter", 1, model) if adapter_of(model) else None)
        except ValueError as error:  # pydantic's, too: its first line only counts the errors
            first = error.errors()[0] if isinstance(error, ValidationError) else None
            reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}" if first else str(error).splitlines()[0]
            raise UserError(f"vLLM cannot load {model} ({reason})", "see [engine.args] in config.toml") from error

    def close(self) -> None:
        """End the engine, and the process that it may have. What is asked afterwards fails."""
        self.core.close()

    async def sample(self, messages: Messages, sampling: Sampling, seed: int) -> list[Sample]:
        """See `Engine.sample`; a prompt is overlong when it and `max_tokens` together exceed the context."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        try:
            prompt: Any = self._tokenizer.apply_chat_template(
                messages, add_generation_prompt=True, return_dict=False, **CHAT_OPTIONS
            )
        except TemplateError:  # as a rule there is a turn of the system's, which some templates do not know
            return [Sample("", 0, "refused")] * sampling.n
        if len(prompt) + sampling.max_tokens > self._max_length:
            return [Sample("", 0, "overlong")] * sampling.n
        parameters = SamplingParams(
            n=sampling.n,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_tokens,
            seed=seed,
            stop_token_ids=self._stop_ids,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        output = await self.core.request(prompt, parameters)
        return [self._sample(output) for output in output.outputs]

    def _sample(self, output: Any) -> Sample:
        """One of vLLM's outputs. Its text lacks special tokens: where tags of thoughts are some, it is made anew."""
        text, hidden = output.text, self._hidden
        if hidden:
            text = self._tokenizer.decode([token for token in output.token_ids if token not in hidden])
        return said(text, len(output.token_ids), output.finish_reason or "stop")

    async def choices(self, messages: Messages, prefix: str, choices: list[str]) -> list[float] | None:
        """See `Engine.choices`. One request of one token for each inner node of the choices' token tree.

        Prompt, prefix and choice are tokenized as one text, as they are in training. Where the prefix's last token
        differs from that of the prefix alone, it is counted as part of the choice.
        """
        head: Any = self._tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=False, **CHAT_OPTIONS
        )
        texts = [head + prefix + choice for choice in ["", *choices]]
        bare, *paths = self._tokenizer(texts, add_special_tokens=False)["input_ids"]
        if max(map(len, paths)) >= self._max_length:
            return None
        start = common_start([bare, *paths])
        return await log_probabilities(paths, start, may_go_on(choices), self._digits, self._next_tokens)

    @cached_property
    def _hidden(self) -> set[int]:
        """Where tags of thoughts are special tokens: the others and the ends, which no text shows. Else empty."""
        special = {token: str(t) for token, t in self._tokenizer.added_tokens_decoder.items() if t.special}
        tags = {token for token in special if special[token] in TAGS}
        return ({*special, *self._stop_ids} - tags) if tags else set()

    @cached_property
    def _digits(self) -> list[int]:
        """The tokens that would go on with a number, the shortest first."""
        starting = {text: token for text, token in self._tokenizer.get_vocab().items() if text[:1] in DIGITS}
        return [starting[text] for text in sorted(starting, key=len)]

    async def _next_tokens(self, context: list[int], wanted: list[int]) -> dict[int, float]:
        """Log-probabilities of the wanted tokens, of as many as vLLM gives: the rest would be long runs of digits."""
        from vllm import SamplingParams
        from vllm.sampling_params import MAX_LOGPROB_TOKEN_IDS

        tokens = wanted[:MAX_LOGPROB_TOKEN_IDS]
        parameters = SamplingParams(max_tokens=1, temperature=0.0, logprob_token_ids=tokens, detokenize=False)
        output = await self.core.request(context, parameters)
        found = output.outputs[0].logprobs[0]
        return {token: found[token].logprob for token in tokens}


class _InProcess:
    """vLLM's engine in this process: one task steps it while requests are open, and resolves a future for each."""

    def __init__(self, arguments: dict[str, Any], adapter: Any) -> None:
        from vllm import EngineArgs, LLMEngine
        from vllm.usage.usage_lib import UsageContext

        # the context decides how many sequences and tokens a batch may have: that of a server is smaller
        self.engine = LLMEngine.from_engine_args(EngineArgs(**arguments), usage_context=UsageContext.LLM_CLASS)
        self._adapter = adapter
        self._futures: dict[str, asyncio.Future[Any]] = {}
        self._stepper: asyncio.Task[None] | None = None
        self._numbers = itertools.count()

    async def request(self, prompt: list[int], parameters: Any) -> Any:
        """What the engine says to one request, which joins the running batch."""
        number = str(next(self._numbers))
        future = self._futures[number] = asyncio.get_running_loop().create_future()
        self.engine.add_request(number, {"prompt_token_ids": prompt}, parameters, lora_request=self._adapter)
        if self._stepper is None or self._stepper.done():
            self._stepper = asyncio.create_task(self._step_until_idle())
        try:
            return await future
        except asyncio.CancelledError:
            self._futures.pop(number, None)
            self.engine.abort_request([number])
            raise

    async def _step_until_idle(self) -> None:
        """Step while requests are open. Between steps the waiting coroutines run and may add more."""
        try:
            while self._futures:
                for output in self.engine.step():
                    future = self._futures.pop(output.request_id, None)
                    if future is not None and not future.done():  # done: cancelled, and not yet aborted
                        future.set_result(output)
                await asyncio.sleep(0)
        except Exception as error:
            for future in self._futures.values():
                if not future.done():
                    future.set_exception(error)
            self._futures.clear()

    def close(self) -> None:
        """Nothing is left behind that the end of this process does not take along."""


class _OwnProcess:
    """vLLM's engine in a process of its own, whose death is heard of (a synchronous client would wait forever)."""

    def __init__(self, arguments: dict[str, Any], adapter: Any) -> None:
        from vllm import AsyncEngineArgs
        from vllm.usage.usage_lib import UsageContext
        from vllm.v1.engine.async_llm import AsyncLLM

        engine_args = AsyncEngineArgs(**arguments, enable_log_requests=False)
        self.engine = AsyncLLM.from_engine_args(engine_args, usage_context=UsageContext.LLM_CLASS)
        self._adapter = adapter
        self._numbers = itertools.count()

    async def request(self, prompt: list[int], parameters: Any) -> Any:
        """What the engine says to one request. Raises StageError when its process has ended."""
        from vllm.v1.engine.exceptions import EngineDeadError

        found: Any = None
        number = str(next(self._numbers))
        try:
            stream = self.engine.generate({"prompt_token_ids": prompt}, parameters, number, lora_request=self._adapter)
            async for output in stream:
                found = output  # the only one: parameters ask for the finished text alone
        except EngineDeadError:
            raise StageError(DIED) from None
        return found

    def close(self) -> None:
        """End the engine's process."""
        self.engine.shutdown()
