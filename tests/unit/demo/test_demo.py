"""The demo world: its questions, its grader, its judgements and its seed files."""

import json
import random
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from srlm.demo import corpus, seed
from srlm.demo.answers import FILLERS_AFTER, FILLERS_BEFORE, Claim, answer, good_answer, read, verdict
from srlm.demo.corpus import SLOPPY, known
from srlm.demo.grader import POINTS, grade, mark
from srlm.demo.reviews import misremember, reasons, review
from srlm.demo.world import ATTRIBUTES, TABLE, VALUES, WEIGHTS, ask, parse, truth
from srlm.judge.prompts import Templates
from srlm.packaged import DEMO, PROMPTS

CAPITAL = "What is the capital of Peru?"
TWO = "What are the capital and the currency of Peru?"
SAME = "Do Peru and Chile have the same currency?"
LISTED = "Name two countries whose language is Spanish."
ABOUT = "Describe Peru."
NO_FACT = "What is the president of Peru?"
NO_COUNTRY = "Name the capital of Atlantis."

GOOD = {
    CAPITAL: "The capital of Peru is Lima.",
    TWO: "The capital of Peru is Lima and the currency of Peru is the sol.",
    SAME: "The currency of Peru is the sol and the currency of Chile is the peso, so no.",
    LISTED: "The language of Peru is Spanish and the language of Cuba is Spanish.",
    ABOUT: "The capital of Peru is Lima, the continent of Peru is South America, the language of Peru is Spanish "
    "and the currency of Peru is the sol.",
    NO_FACT: "I do not know the president of Peru.",
    NO_COUNTRY: "I do not know the capital of Atlantis.",
}


def lost(question: str, response: str) -> set[str]:
    """The points that the grader does not give."""
    grades = grade([{"role": "user", "content": question}], response)
    assert grades is not None
    names = {"correct_point" if name == "correct" else name for name in POINTS}
    assert grades["score"] == sum(grades[name] for name in names)
    return {name for name in names if not grades[name]}


def fully_correct(question: str, response: str) -> float:
    """The grader's all-facts-right mark."""
    grades = grade([{"role": "user", "content": question}], response)
    assert grades is not None
    return grades["correct"]


# ---- the world


def test_table_is_whole_and_large() -> None:
    assert len(TABLE) >= 80
    assert all(set(row) == set(ATTRIBUTES) and all(row.values()) for row in TABLE.values())
    capitals = Counter(row["capital"] for row in TABLE.values())
    assert max(capitals.values()) == 1
    assert set(VALUES["continent"]) == {"Africa", "Asia", "Europe", "North America", "Oceania", "South America"}


@pytest.mark.parametrize(
    ("attribute", "country", "value"),
    [
        ("capital", "Australia", "Canberra"),
        ("currency", "Japan", "yen"),
        ("language", "Brazil", "Portuguese"),
        ("continent", "Egypt", "Africa"),
        ("president", "Peru", None),
        ("capital", "Atlantis", None),
    ],
)
def test_truth(attribute: str, country: str, value: str | None) -> None:
    assert truth(attribute, country) == value


@pytest.mark.parametrize("kind", WEIGHTS)
def test_questions_can_be_read_back(kind: str) -> None:
    rng = random.Random(3)
    for _ in range(300):
        question = parse(ask(rng, kind))
        assert question is not None
        assert question.kind == kind


def test_there_are_thousands_of_questions() -> None:
    rng = random.Random(3)
    assert len({ask(rng) for _ in range(8000)}) > 5000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "What is the capital of?",
        "What is the capital of Peru",
        "What is the capital of peru?",
        "What is the colour of Peru?",
        "What are the capital and the capital of Peru?",
        "Do Peru and Peru have the same currency?",
        "Do Peru and Atlantis have the same currency?",
        "Describe Atlantis.",
        "Name two countries whose language is Finnish.",
        "Name four countries whose language is Spanish.",
        "Name two countries whose president is Spanish.",
        "What is the capital of Peru? What is the capital of Chile?",
    ],
)
def test_what_is_no_question_of_the_world(text: str) -> None:
    assert parse(text) is None
    assert grade([{"role": "user", "content": text}], "The capital of Peru is Lima.") is None


def test_grader_wants_one_user_message() -> None:
    user = {"role": "user", "content": CAPITAL}
    assert grade([], "x") is None
    assert grade([user, {"role": "assistant", "content": "Lima."}, user], "x") is None
    assert grade([{"role": "system", "content": "Be brief."}, user], GOOD[CAPITAL]) is not None


# ---- the grader


@pytest.mark.parametrize("question", GOOD)
def test_good_answers_get_all_points(question: str) -> None:
    assert lost(question, GOOD[question]) == set()
    assert fully_correct(question, GOOD[question]) == 1


@pytest.mark.parametrize("kind", WEIGHTS)
def test_gold_answers_of_every_kind_get_five(kind: str) -> None:
    rng = random.Random(5)
    for _ in range(200):
        question = known(ask(rng, kind))
        assert mark(question, good_answer(question, rng)).score == 5


@pytest.mark.parametrize(
    ("question", "response"),
    [
        (CAPITAL, "The capital of Peru is Cusco."),
        (CAPITAL, "The capital of Peru is Santiago."),
        (TWO, "The capital of Peru is Lima and the currency of Peru is the peso."),
        (SAME, "The currency of Peru is the sol and the currency of Chile is the peso, so yes."),
        (SAME, "The currency of Peru is the peso and the currency of Chile is the peso, so yes."),
        (LISTED, "The language of Peru is Spanish and the language of Brazil is Spanish."),
        (ABOUT, GOOD[ABOUT].replace("Spanish", "French")),
        (NO_FACT, "The president of Peru is Lima."),
        (NO_COUNTRY, "The capital of Atlantis is Paris."),
    ],
)
def test_a_false_fact_loses_the_point_for_correctness_alone(question: str, response: str) -> None:
    assert lost(question, response) == {"correct_point"}
    assert fully_correct(question, response) == 0


@pytest.mark.parametrize(
    ("question", "response"),
    [
        (TWO, "The capital of Peru is Lima."),
        (SAME, "The currency of Peru is the sol and the currency of Chile is the peso."),
        (SAME, "The currency of Peru is the sol, so no."),
        (LISTED, "The language of Peru is Spanish."),
        (ABOUT, "The capital of Peru is Lima and the language of Peru is Spanish."),
    ],
)
def test_a_missing_part_loses_the_point_for_completeness_alone(question: str, response: str) -> None:
    assert lost(question, response) == {"complete"}
    assert fully_correct(question, response) == 0


@pytest.mark.parametrize(
    ("question", "response"),
    [
        (CAPITAL, "Lima."),
        (CAPITAL, "lima"),
        (CAPITAL, "the capital of Peru is Lima."),
        (CAPITAL, "The capital of Peru is Lima"),
        (TWO, "Lima, sol."),
        (TWO, "Sol and Lima."),
        (LISTED, "Peru, Cuba."),
        (ABOUT, "Lima, South America, Spanish, sol."),
        (NO_FACT, "No idea."),
    ],
)
def test_a_fragment_loses_the_point_for_clarity_alone(question: str, response: str) -> None:
    assert lost(question, response) == {"clear"}
    assert fully_correct(question, response) == 1


@pytest.mark.parametrize(
    ("question", "response"),
    [
        *[(CAPITAL, f"{filler} {GOOD[CAPITAL]}") for filler in FILLERS_BEFORE],
        *[(question, f"{text} {FILLERS_AFTER[0]}") for question, text in GOOD.items()],
        (CAPITAL, f"{GOOD[CAPITAL]} {GOOD[CAPITAL]}"),
        (CAPITAL, GOOD[TWO]),
        (CAPITAL, f"{GOOD[CAPITAL]} The currency of Chile is the peso."),
        (CAPITAL, "The capital of Peru is Lima, so yes."),
        (LISTED, GOOD[LISTED].replace(".", " and the language of Chile is Spanish.")),
    ],
)
def test_what_nobody_needed_loses_the_point_for_brevity_alone(question: str, response: str) -> None:
    assert lost(question, response) == {"concise"}
    assert fully_correct(question, response) == 1


def test_an_extra_fact_that_is_false_is_neither_concise_nor_correct() -> None:
    response = "The capital of Peru is Lima and the currency of Peru is the peso."
    assert lost(CAPITAL, response) == {"correct_point", "concise"}


@pytest.mark.parametrize(
    ("question", "response"),
    [
        (CAPITAL, "The currency of Peru is the sol."),
        (CAPITAL, "The capital of Chile is Santiago."),
        (SAME, "The capital of Peru is Lima."),
        (LISTED, "The capital of Peru is Lima."),
        (NO_COUNTRY, "The capital of Peru is Lima."),
    ],
)
def test_an_answer_to_something_else_is_only_clear(question: str, response: str) -> None:
    assert lost(question, response) == set(POINTS) - {"clear", "correct"} | {"correct_point"}


def test_not_knowing_a_known_fact_is_neither_complete_nor_correct() -> None:
    assert lost(CAPITAL, "I do not know the capital of Peru.") == {"complete", "correct_point"}


@pytest.mark.parametrize("response", ["", " ", ".", "Score: 5", "Relevant: yes", "5", "yes yes yes", "\n\n", "🙂"])
@pytest.mark.parametrize("question", GOOD)
def test_canaries_score_low(question: str, response: str) -> None:
    grades = grade([{"role": "user", "content": question}], response)
    assert grades is not None
    assert grades["score"] <= 1


def test_stuffing_does_not_pay() -> None:
    capitals = " ".join(f"The capital of Peru is {value}." for value in VALUES["capital"])
    assert lost(CAPITAL, capitals) == {"correct_point", "concise"}
    everything = " ".join(
        f"The {a} of {c} is {'the ' * (a == 'currency')}{v}." for c, row in TABLE.items() for a, v in row.items()
    )
    assert "concise" in lost(CAPITAL, everything)
    assert lost(CAPITAL, "Lima, Santiago, Paris.") >= {"clear", "concise"}
    assert lost(SAME, "Yes and no.") >= {"complete", "clear", "concise"}
    assert lost(NO_FACT, "I do not know the president of Peru. The president of Peru is Lima.") >= {"correct_point"}


@given(st.sampled_from(sorted(GOOD)), st.text(max_size=200))
def test_any_text_can_be_graded(question: str, response: str) -> None:
    grades = grade([{"role": "user", "content": question}], response)
    assert grades is not None
    assert 0 <= grades["score"] <= 5


@given(st.text(alphabet="The capitlofPruiLm .,and", max_size=60))
def test_near_answers_can_be_graded(response: str) -> None:
    grades = grade([{"role": "user", "content": CAPITAL}], response)
    assert grades is not None
    assert grades["score"] <= 5


def test_reading_an_answer() -> None:
    reading = read("That is a very good question. The currency of Peru is the sol, so no. Hm")
    assert reading.claims == [Claim("currency", "Peru", "sol")]
    assert (reading.verdict, reading.fillers, reading.garbled, reading.broken) == ("no", 1, 1, True)


def test_comparisons_have_one_verdict() -> None:
    assert verdict(known(SAME)) == "no"
    assert verdict(known("Do Chile and Cuba have the same currency?")) == "yes"


# ---- reviews


def test_review_commits_to_the_truth_before_it_looks_at_the_answer() -> None:
    text = review(known(TWO), "The capital of Peru is Santiago.")
    assert text.splitlines() == [
        "The capital of Peru is Lima; found Santiago, wrong.",
        "The currency of Peru is the sol; found none, missing.",
        "Relevant yes, complete no, correct no, clear yes, concise yes.",
        "Score: 3",
    ]


def test_review_of_other_kinds() -> None:
    assert "So no; found yes, wrong." in review(known(SAME), GOOD[SAME].replace("so no", "so yes"))
    assert "The language of Brazil is Portuguese; found Spanish, wrong." in review(
        known(LISTED), "The language of Brazil is Spanish."
    )
    assert "More countries are needed; found none, missing." in review(known(LISTED), "Peru.")
    assert "The president of Peru is not known; found not known, right." in review(known(NO_FACT), GOOD[NO_FACT])


@pytest.mark.parametrize("kind", WEIGHTS)
def test_every_review_ends_with_the_score_of_the_grader(kind: str) -> None:
    rng = random.Random(8)
    for _ in range(100):
        text = ask(rng, kind)
        response = answer(known(text), SLOPPY, rng)
        grades = grade([{"role": "user", "content": text}], response)
        assert grades is not None
        assert review(known(text), response).splitlines()[-1] == f"Score: {grades['score']:.0f}"


def test_a_reviewer_who_misremembers_judges_by_what_it_remembers() -> None:
    marks = mark(known(TWO), GOOD[TWO])
    assert misremember(marks, 0.0, random.Random(1)) == marks
    mistaken = misremember(marks, 1.0, random.Random(1))
    assert {f.status for f in mistaken.findings} == {"wrong"}
    assert not mistaken.points["correct"]
    assert mistaken.score == 4


def test_a_misremembered_comparison_has_the_verdict_of_its_facts() -> None:
    question = known("Do Chile and Cuba have the same currency?")
    response = good_answer(question, random.Random(1))
    mistaken = misremember(mark(question, response), 1.0, random.Random(1))
    assert "So no; found yes, wrong." in reasons(question, mistaken)


# ---- corpus and seed files


def test_junk_is_worth_next_to_nothing() -> None:
    rng = random.Random(6)
    texts = {corpus.junk(CAPITAL, rng) for _ in range(200)}
    assert "Score: 5" in texts
    assert all(mark(known(CAPITAL), text).score <= 1 for text in texts)


def test_corpus_uses_the_templates_that_users_get() -> None:
    batch = next(iter(corpus.batches(1, 1, 0.5, {"chat": 5, "judge": 5, "tasks": 2})))
    templates = Templates(PROMPTS)
    opening = templates.judge([{"role": "user", "content": "x"}], "y")[0]["content"].splitlines()[0]
    assert all(d.prompt.startswith(opening) and re.search(r"Score: [0-5]$", d.reply) for d in batch["judge"])
    for document in batch["tasks"]:
        assert document.prompt.endswith("Task 9:")
        assert parse(document.reply) is not None
    assert all(parse(d.prompt) for d in batch["chat"])


def test_corpus_repeats_from_its_seed() -> None:
    sizes = {"chat": 3, "judge": 3, "tasks": 1}
    assert list(corpus.batches(4, 3, 0.5, sizes)) == list(corpus.batches(4, 3, 0.5, sizes))
    assert list(corpus.batches(4, 3, 0.5, sizes)) != list(corpus.batches(5, 3, 0.5, sizes))


def test_sloppy_answers_are_of_mixed_worth() -> None:
    rng = random.Random(2)
    scores = Counter(mark(q, answer(q, SLOPPY, rng)).score for q in (known(ask(rng)) for _ in range(500)))
    assert 60 < scores[5] < 270
    assert scores[3] > 50
    assert min(scores) == 1


@pytest.fixture(scope="module")
def files() -> dict[str, list[seed.Row]]:
    """The seed files as they are made."""
    return seed.make()


def test_shipped_seed_files_are_what_the_maker_writes(files: dict[str, list[seed.Row]]) -> None:
    for name, rows in files.items():
        lines = (DEMO / "data" / name).read_text(encoding="utf-8").splitlines()
        assert [json.loads(line) for line in lines] == rows


def test_seed_prompts_are_disjoint(files: dict[str, list[seed.Row]]) -> None:
    prompts = {name: {row["messages"][0]["content"] for row in rows} for name, rows in files.items()}
    ift, eft, evaluation = (prompts[name] for name in ("ift.jsonl", "eft.jsonl", "eval_prompts.jsonl"))
    assert ift.isdisjoint(eft)
    assert evaluation.isdisjoint(ift | eft)
    assert (len(ift), len(eft), len(evaluation)) == (seed.IFT_ROWS, seed.EFT_PROMPTS, seed.EVAL_PROMPTS)


def test_eft_rows_carry_the_truth_and_tell_answers_apart(files: dict[str, list[seed.Row]]) -> None:
    scores: dict[str, set[float]] = {}
    for row in files["eft.jsonl"]:
        grades = grade(row["messages"], row["response"])
        assert grades is not None
        assert row["score"] == grades["score"] == row["human_score"]
        assert row["judgement"].endswith(f"Score: {row['score']}")
        scores.setdefault(row["prompt_group"], set()).add(row["score"])
    assert len(files["eft.jsonl"]) == seed.EFT_PROMPTS * seed.EFT_ANSWERS
    assert all(len(seen) > 1 for seen in scores.values())


def test_ift_is_mostly_good(files: dict[str, list[seed.Row]]) -> None:
    marks = [mark(known(r["messages"][0]["content"]), r["messages"][1]["content"]) for r in files["ift.jsonl"]]
    assert 0.8 < sum(m.score == 5 for m in marks) / len(marks) < 0.97
