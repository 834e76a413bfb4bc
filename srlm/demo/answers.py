"""Answers in the closed world: how they are written, well or badly, and how they are read back.

An answer is made of claims ("the capital of Peru is Lima"), joined into one sentence, perhaps with filler
around it. Writing and reading share one grammar, so that what an answer states is never a matter of opinion.
"""

import random
import re
from dataclasses import dataclass, field

from srlm.demo.world import ATTRIBUTES, COUNTRIES, TABLE, VALUES, Question, holders, truth, with_article

FILLERS_BEFORE = (
    "That is a very good question.",
    "I am happy to help you with this.",
    "Let me think about it for a moment.",
)
FILLERS_AFTER = (
    "I hope that this helps you.",
    "Feel free to ask me anything else.",
    "Many people like to know this.",
)
FILLERS = frozenset(FILLERS_BEFORE + FILLERS_AFTER)
NOT_KNOWN = "not known"  # the value of a claim that says "I do not know the ... of ..."


@dataclass(frozen=True)
class Claim:
    """One statement: this attribute of this country has this value (NOT_KNOWN: the answer does not know)."""

    attribute: str
    country: str
    value: str

    @property
    def text(self) -> str:
        """The claim as a clause, without a capital letter or a full stop."""
        if self.value == NOT_KNOWN:
            return f"I do not know the {self.attribute} of {self.country}"
        return f"the {self.attribute} of {self.country} is {with_article(self.attribute, self.value)}"


@dataclass
class Reading:
    """What an answer says, read with the grammar. `fragments` are bare values outside any sentence."""

    claims: list[Claim] = field(default_factory=list)
    fragments: list[str] = field(default_factory=list)
    verdict: str = ""  # "yes" or "no", of a comparison
    fillers: int = 0
    garbled: int = 0  # parts that are none of the above
    broken: bool = False  # a sentence without its capital letter or its full stop


def sentence(clauses: list[str]) -> str:
    """Join clauses into one sentence: "A, b and c."."""
    joined = " and ".join([", ".join(clauses[:-1]), clauses[-1]] if len(clauses) > 1 else clauses)
    return f"{joined[0].upper()}{joined[1:]}."


def true_claim(attribute: str, country: str) -> Claim:
    """The claim that is right about this fact."""
    return Claim(attribute, country, truth(attribute, country) or NOT_KNOWN)


def verdict(question: Question) -> str:
    """The right yes or no of a comparison."""
    first, second = (truth(*pair) for pair in question.asked)
    return "yes" if first == second else "no"


def right_claims(question: Question, rng: random.Random) -> list[Claim]:
    """The claims that a right answer makes; a list question draws its countries."""
    if question.kind == "list":
        attribute = question.asked[0][0]
        named = rng.sample(holders(attribute, question.value), question.count)
        return [Claim(attribute, country, question.value) for country in named]
    return [true_claim(*pair) for pair in question.asked]


def write(question: Question, claims: list[Claim], said: str = "") -> str:
    """One whole sentence with these claims; `said` is the yes or no that a comparison ends with."""
    text = sentence([claim.text for claim in claims])
    return f"{text[:-1]}, so {said}." if said else text


def good_answer(question: Question, rng: random.Random) -> str:
    """An answer that deserves all five points."""
    said = verdict(question) if question.kind == "same" else ""
    return write(question, right_claims(question, rng), said)


@dataclass(frozen=True)
class Habits:
    """How often each fault is made. `wrong` is per fact; the others are per answer."""

    wrong: float = 0.0
    missing: float = 0.0
    fragment: float = 0.0
    filler: float = 0.0
    extra: float = 0.0
    off_topic: float = 0.0


def answer(question: Question, habits: Habits, rng: random.Random) -> str:
    """An answer with faults drawn by `habits`."""
    if rng.random() < habits.off_topic:
        return sentence([_other_claim(question, rng).text])
    claims = [_mistaken(c, question, rng) if rng.random() < habits.wrong else c
              for c in right_claims(question, rng)]  # fmt: skip
    said = _said(question, claims, habits, rng)
    if len(claims) > 1 and rng.random() < habits.missing:
        claims, said = _leave_out(claims, said, rng)
    if rng.random() < habits.fragment:
        return _fragment(question, claims, said)
    if rng.random() < habits.extra and question.kind in ("one", "two"):
        claims.append(_other_claim(question, rng, same_country=True))
    text = write(question, claims, said)
    if rng.random() < habits.filler:
        before = rng.random() < 0.5
        text = f"{rng.choice(FILLERS_BEFORE)} {text}" if before else f"{text} {rng.choice(FILLERS_AFTER)}"
    return text


def _said(question: Question, claims: list[Claim], habits: Habits, rng: random.Random) -> str:
    """A comparison's yes or no: what follows from the claims, now and then the opposite."""
    if question.kind != "same":
        return ""
    said = "yes" if claims[0].value == claims[1].value else "no"
    return {"yes": "no", "no": "yes"}[said] if rng.random() < habits.wrong / 3 else said


def _leave_out(claims: list[Claim], said: str, rng: random.Random) -> tuple[list[Claim], str]:
    """Forget a claim, or (a comparison, half of the time) the yes or no instead."""
    if said and rng.random() < 0.5:
        return claims, ""
    dropped = rng.randrange(len(claims))
    return [c for i, c in enumerate(claims) if i != dropped], said


def _fragment(question: Question, claims: list[Claim], said: str) -> str:
    """The bare values, without a sentence around them."""
    if question.kind == "same":
        return f"{said or 'yes'}.".capitalize()
    if question.kind == "unknown" and claims[0].value == NOT_KNOWN:
        return "No idea."
    words = [c.country if question.kind == "list" else c.value for c in claims]
    text = ", ".join(words)
    return f"{text[0].upper()}{text[1:]}."


def _mistaken(claim: Claim, question: Question, rng: random.Random) -> Claim:
    """The same claim with a wrong value (an invented one where nothing is known; a wrong country in a list)."""
    if question.kind == "list":
        others = [c for c in COUNTRIES if TABLE[c][claim.attribute] != claim.value]
        return Claim(claim.attribute, rng.choice(others), claim.value)
    pool = VALUES.get(claim.attribute) or VALUES["capital"]
    return Claim(claim.attribute, claim.country, rng.choice([v for v in pool if v != claim.value]))


def _other_claim(question: Question, rng: random.Random, same_country: bool = False) -> Claim:
    """A true claim that nobody asked for."""
    attribute, country = question.asked[0]
    if country not in TABLE or (not same_country and rng.random() < 0.5):
        country = rng.choice([c for c in COUNTRIES if c != country])
    free = [a for a in ATTRIBUTES if (a, country) not in question.asked and a != attribute]
    if not free:  # a description asks for everything there is: stray to another country
        country = rng.choice([c for c in COUNTRIES if c != country])
        free = list(ATTRIBUTES)
    return true_claim(rng.choice(free), country)


_CLAIM = re.compile(r"[Tt]he (\w+) of (\w+) is (?:the )?([A-Za-z ]+)")
_UNKNOWN = re.compile(r"I do not know the (\w+) of (\w+)")
_BARE = {v.lower(): v for values in VALUES.values() for v in values} | {c.lower(): c for c in COUNTRIES}


def read(text: str) -> Reading:
    """Read any text as an answer. Never raises: what the grammar does not cover counts as garbled."""
    reading = Reading()
    for part in re.split(r"(?<=[.!?])\s+", text.strip()):
        if part in FILLERS:
            reading.fillers += 1
        elif part:
            _read_sentence(part, reading)
    return reading


def _read_sentence(part: str, reading: Reading) -> None:
    """Add one sentence (or what stands for one) to the reading."""
    whole = part.endswith(".") and part[0].isupper()
    body = part.removesuffix(".")
    if match := re.search(r", so (yes|no)$", body):
        reading.verdict = reading.verdict or match[1]
        reading.garbled += reading.verdict != match[1]
        body = body[: match.start()]
    for clause in re.split(r", | and ", body):
        whole &= _read_clause(clause, reading)
    reading.broken |= not whole


def _read_clause(clause: str, reading: Reading) -> bool:
    """Add one clause to the reading; False when it is not a whole clause."""
    if match := _CLAIM.fullmatch(clause):
        reading.claims.append(Claim(match[1], match[2], match[3]))
        return True
    if match := _UNKNOWN.fullmatch(clause):
        reading.claims.append(Claim(match[1], match[2], NOT_KNOWN))
        return True
    if clause.lower() in ("yes", "no") and not reading.verdict:
        reading.verdict = clause.lower()
    elif clause == "No idea":
        reading.fragments.append(NOT_KNOWN)
    elif (bare := clause.lower().removeprefix("the ")) in _BARE:
        reading.fragments.append(_BARE[bare])
    else:
        reading.garbled += 1
    return False
