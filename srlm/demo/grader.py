"""The ground truth of the demo world: what an answer to one of its questions is worth, exactly.

Only evaluation calls `grade`: it measures the loop and never feeds it. The maker of the demo's seed files uses
`mark`, the same rules with their reasons, to write the judgements that stand for human ones.
"""

from dataclasses import dataclass

from srlm.demo.answers import NOT_KNOWN, Claim, Reading, read, true_claim, verdict
from srlm.demo.world import VALUES, Question, parse, truth

POINTS = ("relevant", "complete", "correct", "clear", "concise")


@dataclass(frozen=True)
class Finding:
    """One thing that had to be stated: the truth about it, and what the answer says ("none": nothing)."""

    fact: Claim
    found: str

    @property
    def status(self) -> str:
        """right, wrong or missing."""
        if self.fact.value == self.found:
            return "right"
        return "missing" if self.found in ("none", NOT_KNOWN) else "wrong"


@dataclass(frozen=True)
class Marks:
    """The five points of an answer, and the findings behind them. `lacking`: countries missing in a list."""

    findings: tuple[Finding, ...]
    said: str
    lacking: int
    points: dict[str, bool]

    @property
    def score(self) -> int:
        """The number of points, 0 to 5."""
        return sum(self.points.values())


def grade(messages: list[dict[str, str]], response: str) -> dict[str, float] | None:
    """Score a response to a conversation of one user message; None when that is no question of the world.

    Returns score (0 to 5), correct (1 when every asked fact is stated, and stated rightly) and the five points,
    the third of them as `correct_point` (1 when nothing stated is false). Any string may be given as response.
    """
    asked = [m["content"] for m in messages if m["role"] == "user"]
    question = parse(asked[0]) if len(asked) == 1 else None
    if question is None:
        return None
    marks = mark(question, response)
    points = {name: float(given) for name, given in marks.points.items()}
    points["correct_point"] = points.pop("correct")
    fully = marks.points["correct"] and marks.points["complete"]
    return {"score": float(marks.score), "correct": float(fully), **points}


def mark(question: Question, response: str) -> Marks:
    """The five points of a response, with what they rest on."""
    reading = read(response)
    claims = reading.claims + _claims_of_fragments(question, reading)
    findings = _list_findings(question, claims) if question.kind == "list" else _findings(question, claims)
    stated = [f for f in findings if f.found != "none"]
    said = reading.verdict if question.kind == "same" else ""
    lacking = max(0, question.count - len({f.fact.country for f in stated}))
    relevant = bool(stated or said)
    complete = relevant and not lacking and all(f.found == "none" or f.status != "missing" for f in findings)
    complete = complete and len(stated) == len(findings) and (bool(said) or question.kind != "same")
    points = {
        "relevant": relevant,
        "complete": complete,
        "correct": relevant and _all_true(question, claims, stated, said),
        "clear": bool(reading.claims) and not (reading.broken or reading.garbled or reading.fragments),
        "concise": relevant and _nothing_extra(question, reading, claims, stated, said),
    }
    return Marks(tuple(findings), said or "none", lacking, points)


def _claims_of_fragments(question: Question, reading: Reading) -> list[Claim]:
    """Bare values, each taken as the first asked fact that it can answer; others answer nothing."""
    free = [pair for pair in question.asked if pair not in {(c.attribute, c.country) for c in reading.claims}]
    claims = []
    for value in reading.fragments:
        if question.kind == "list":
            claims.append(Claim(question.asked[0][0], value, question.value))
        elif pair := next((p for p in free if _fits(p[0], value)), None):
            free.remove(pair)
            claims.append(Claim(*pair, value))
    return claims


def _fits(attribute: str, value: str) -> bool:
    """Whether a bare value can be meant for this attribute; what the world lacks may be anything."""
    return value == NOT_KNOWN or attribute not in VALUES or value in VALUES[attribute]


def _findings(question: Question, claims: list[Claim]) -> list[Finding]:
    """For each asked fact, what the claims say of it; of several claims the first wrong one counts."""
    findings = []
    for pair in question.asked:
        fact = true_claim(*pair)
        found = [c.value for c in claims if (c.attribute, c.country) == pair]
        wrong = [value for value in found if value != fact.value]
        findings.append(Finding(fact, (wrong or found or ["none"])[0]))
    return findings


def _list_findings(question: Question, claims: list[Claim]) -> list[Finding]:
    """For each country that the answer lists, the truth about it."""
    attribute = question.asked[0][0]
    listed = dict.fromkeys(c for c in claims if c.attribute == attribute and c.value == question.value)
    return [Finding(true_claim(attribute, c.country), c.value) for c in listed]


def _all_true(question: Question, claims: list[Claim], stated: list[Finding], said: str) -> bool:
    """Whether the answer states something, and nothing that is false; not knowing states nothing."""
    known = [c for c in claims if c.value != NOT_KNOWN]
    if any(truth(c.attribute, c.country) != c.value for c in known):
        return False
    if said and said != verdict(question):
        return False
    return bool(said) or any(f.status == "right" for f in stated)


def _nothing_extra(question: Question, reading: Reading, claims: list[Claim], stated: list[Finding], said: str) -> bool:
    """Whether the answer holds what was asked and nothing else: no filler, repeats, extra facts or noise."""
    pieces = len(reading.claims) + len(reading.fragments)
    if question.kind == "list":
        exact = pieces == len({f.fact.country for f in stated}) <= question.count
    else:
        exact = pieces == len(claims) == len(stated)
    idle_verdict = bool(reading.verdict) and not said
    return exact and not (reading.fillers or reading.garbled or idle_verdict)
