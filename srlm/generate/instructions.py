"""New instructions from few-shot examples, filtered. (Paper: section 2.2 and its appendix on prompt generation.)

Requests come in fixed rounds. The examples of a request are drawn from IFT and from what earlier rounds kept, and the
replies are filtered in request order, so that a rerun makes the same requests whatever finished first.
"""

import asyncio
import random
import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from srlm.engine import Engine, Sample, Sampling
from srlm.judge.prompts import Templates
from srlm.records import Instruction, Messages
from srlm.seed.read import read_prompts
from srlm.seed.similarity import Pool, words
from srlm.settings import InstructionSettings
from srlm.store import Appender, seed_of

SIMILAR = "similar"  # why most are dropped when a model has said what it has to say
EXHAUSTED = 0.95  # a model is asked no more where so many of its last requests gave what was there already
LEAST_REQUESTS = 100  # of which that is said, at least


class InstructionFilter:
    """Says why an instruction is not wanted; remembers what was kept."""

    def __init__(self, settings: InstructionSettings, seeds: Iterable[str], held_out: Iterable[str]) -> None:
        self._settings = settings
        self._keywords = {keyword.lower() for keyword in settings.keywords}
        self._kept, self._held_out = Pool(settings.rouge_l), Pool(settings.rouge_l)
        for text in seeds:
            self._kept.add(text)
        for text in held_out:
            self._held_out.add(text)

    def reason(self, text: str) -> str | None:
        """Why to drop this instruction, or None."""
        found = words(text)
        if len(found) < self._settings.min_words:
            return "too short"
        if len(found) > self._settings.max_words:
            return "too long"
        if self._keywords & set(found):
            return "keyword"
        if self._held_out.has_similar(text):
            return "held out"
        if self._kept.has_similar(text):
            return SIMILAR
        return None

    def remember(self, text: str) -> None:
        """Count this instruction as kept: later ones must differ from it."""
        self._kept.add(text)


def clean(reply: str) -> str:
    """The instruction in a model's reply: models number it, go on to a next task, or start to answer."""
    text = reply.strip()
    if head := re.match(r"(?:task\s*)?(\d{1,3})\s*[:.)]\s+|task\s*[:.)]\s*", text, re.IGNORECASE):
        text = text[head.end() :]
        if head[1]:  # "9. ..." may be followed by "10. ..."; a list inside the instruction begins with 1
            text = re.split(rf"\n\s*{int(head[1]) + 1}\s*[:.)]\s", text)[0]
    return re.split(r"\n\s*(?:task\s*\d+|answer|response|output|assistant)\s*:", text, flags=re.IGNORECASE)[0].strip()


@dataclass
class InstructionWriter:
    """Makes the instructions of iteration `t`: replays the rows on disk, then asks for those that are missing."""

    t: int
    run_seed: int
    settings: InstructionSettings
    templates: Templates
    ift: list[str]  # first user turns of IFT
    filter: InstructionFilter
    window: int  # requests under way at once, and so what a crash can make us ask again

    async def write(self, engine: Engine, rows: list[Instruction], file: Appender) -> AsyncIterator[Instruction]:
        """Yield every kept instruction, those of `rows` first; each new row is on disk before it is yielded.

        Ends when `count` are kept, after `max_attempts` requests per instruction wanted, or at the end of a round when
        nearly all that the last requests gave was there already (EXHAUSTED).
        """
        kept = [row for row in rows if row.dropped is None]
        for row in kept:
            self.filter.remember(first_user_turn(row.messages))
        for row in kept:
            yield row
        index = len(rows)
        limit = int(self.settings.count * self.settings.max_attempts)
        recent = deque((row.dropped for row in rows), maxlen=max(self.settings.round_size, LEAST_REQUESTS))
        while len(kept) < self.settings.count and index < limit:
            if index % self.settings.round_size == 0 and recent.count(SIMILAR) >= EXHAUSTED * (recent.maxlen or 0):
                return
            number = index // self.settings.round_size
            earlier = [first_user_turn(k.messages) for k in kept if k.round < number]
            last = min((number + 1) * self.settings.round_size, limit)
            async with aclosing(self._round(engine, range(index, last), earlier)) as samples:
                async for sample in samples:
                    row = self._row(index, number, sample)
                    index += 1
                    file.append(row)
                    recent.append(row.dropped)
                    if row.dropped is None:
                        self.filter.remember(first_user_turn(row.messages))
                        kept.append(row)
                        yield row
                    if len(kept) == self.settings.count:
                        return

    async def _round(self, engine: Engine, indices: range, earlier: list[str]) -> AsyncGenerator[Sample]:
        """Samples in request order, at most `window` requests ahead of the last one taken."""
        sampling = Sampling(1, self.settings.temperature, self.settings.top_p, self.settings.max_tokens)
        tasks: deque[asyncio.Task[list[Sample]]] = deque()
        try:
            for index in indices:
                if len(tasks) == self.window:
                    yield (await tasks.popleft())[0]
                seed = seed_of(self.run_seed, self.t, "instruction", index)
                prompt = self.templates.instruction(self._examples(index, earlier), engine.controls)
                tasks.append(asyncio.create_task(engine.sample(prompt, sampling, seed)))
            while tasks:
                yield (await tasks.popleft())[0]
        finally:
            for task in tasks:
                task.cancel()

    def _examples(self, index: int, earlier: list[str]) -> list[str]:
        """The few-shot examples of one request; before there are generated ones, all come from IFT."""
        choose = random.Random(seed_of(self.run_seed, self.t, "examples", index))
        generated = choose.sample(earlier, min(self.settings.few_shot_generated, len(earlier)))
        wanted = self.settings.few_shot_ift + self.settings.few_shot_generated - len(generated)
        examples = choose.sample(self.ift, min(wanted, len(self.ift))) + generated
        choose.shuffle(examples)
        return examples

    def _row(self, index: int, number: int, sample: Sample) -> Instruction:
        text = clean(sample.text)
        reason = self.filter.reason(text) if sample.finish == "stop" else f"finish: {sample.finish}"
        return Instruction(
            id=f"M{self.t}-{index:06d}",
            round=number,
            messages=[{"role": "user", "content": text}],
            dropped=reason,
            tokens=sample.tokens,
        )


def what_helps(settings: InstructionSettings, dropped: Mapping[str, int]) -> str:
    """Where too few were kept: what to change, by why most of the others were `dropped` (reason -> count)."""
    if settings.source == "file":
        return f"add prompts to {settings.path}"
    reason = max(dropped, key=lambda reason: dropped[reason], default="")
    return {
        SIMILAR: (
            f"raise instructions.temperature ({settings.temperature}) or instructions.rouge_l ({settings.rouge_l}), "
            "give IFT more kinds of tasks, or lower instructions.count"
        ),
        "finish: length": f"raise instructions.max_tokens ({settings.max_tokens})",
        "too long": f"raise instructions.max_words ({settings.max_words})",
        "too short": f"lower instructions.min_words ({settings.min_words})",
        "keyword": "take words out of instructions.keywords",
    }.get(reason, f"raise instructions.max_attempts ({settings.max_attempts})")


def first_user_turn(messages: Messages) -> str:
    """The content of a conversation's first user message."""
    return next(m["content"] for m in messages if m["role"] == "user")


def instructions_from_file(t: int, settings: InstructionSettings, unwanted: InstructionFilter) -> list[Instruction]:
    """The first `count` wanted prompts of the user's JSONL file `settings.path`, and those dropped on the way.

    Prompts that earlier iterations used are known to the filter as similar, so each iteration takes fresh ones.
    """
    rows: list[Instruction] = []
    kept = 0
    for prompt in read_prompts(Path(settings.path)).rows:
        text = first_user_turn(prompt.messages)
        reason = unwanted.reason(text)
        if reason is None:
            unwanted.remember(text)
            kept += 1
        rows.append(Instruction(id=f"M{t}-{len(rows):06d}", round=0, messages=prompt.messages, dropped=reason))
        if kept == settings.count:
            break
    return rows
