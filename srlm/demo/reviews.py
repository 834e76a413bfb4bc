"""Judgements in the closed world: a review commits to the truth, quotes the answer, then gives the points."""

import random
from dataclasses import replace

from srlm.demo.answers import NOT_KNOWN
from srlm.demo.grader import POINTS, Finding, Marks, mark
from srlm.demo.world import VALUES, Question


def review(question: Question, response: str) -> str:
    """The right review of a response: one line per fact that is needed, the five points, the score.

    The fact comes first and in the words of an answer, so that whatever makes the model surer of a fact when it
    answers makes it surer when it judges; what the answer says stands right beside it, so comparing is easy.
    """
    marks = mark(question, response)
    return f"{reasons(question, marks)}\n{points_line(marks)}\nScore: {marks.score}"


def reasons(question: Question, marks: Marks) -> str:
    """What a right answer states, fact by fact, each beside what this answer says of it."""
    lines = [_finding_line(finding) for finding in marks.findings]
    if question.kind == "same":
        right = _verdict(marks)
        status = "missing" if marks.said == "none" else "right" if marks.said == right else "wrong"
        lines.append(f"So {right}; found {marks.said}, {status}.")
    if marks.lacking:
        lines.append("More countries are needed; found none, missing.")
    return "\n".join(lines)


def misremember(marks: Marks, doubt: float, rng: random.Random) -> Marks:
    """The marks of a reviewer who takes each fact for another one with probability `doubt`, and judges by that."""
    findings = tuple(
        replace(f, fact=replace(f.fact, value=rng.choice(VALUES[f.fact.attribute])))
        if f.fact.value != NOT_KNOWN and rng.random() < doubt
        else f
        for f in marks.findings
    )
    believed = replace(marks, findings=findings)
    wrong = any(f.status == "wrong" for f in findings)
    wrong = wrong or (marks.said != "none" and marks.said != _verdict(believed))
    return replace(believed, points={**marks.points, "correct": marks.points["correct"] and not wrong})


def _verdict(marks: Marks) -> str:
    """The yes or no that follows from the facts of a comparison, as the reviewer remembers them."""
    first, second = marks.findings
    return "yes" if first.fact.value == second.fact.value else "no"


def points_line(marks: Marks) -> str:
    """The five statements, each with yes or no."""
    verdicts = [f"{name} {'yes' if marks.points[name] else 'no'}" for name in POINTS]
    return f"{', '.join(verdicts).capitalize()}."


def _finding_line(finding: Finding) -> str:
    fact = finding.fact
    text = fact.text if fact.value != NOT_KNOWN else f"the {fact.attribute} of {fact.country} is {NOT_KNOWN}"
    return f"{text[0].upper()}{text[1:]}; found {finding.found}, {finding.status}."
