"""`srlm seed check`: each finding where it belongs, none on clean data, exit codes, the real files."""

import json
from pathlib import Path
from typing import Any

import pytest

from srlm.errors import UserError
from srlm.seed.check import CheckReport, Finding
from srlm.seed.kinds import seed_files
from srlm.seed.replies import cut_off, placeholder
from tests.helpers.places import SHARED, needs_shared
from tests.helpers.seed_rows import PROMPTS, TOPICS, check, ift_rows, jsonl


def eft_row(topic: str, score: float) -> dict[str, Any]:
    row = {"prompt": f"And {topic}? {topic * 2}", "response": f"It is {topic}, number {score}."}
    return row | {"judgement": f"It is fine.\nScore: {score:g}", "score": score}


def eft_rows() -> list[dict[str, Any]]:
    return [eft_row(topic, score) for topic in TOPICS[:6] for score in (1, 3, 4)]


def only(report: CheckReport, check: str) -> Finding:
    """The finding of this check, which must be the report's only one."""
    assert [finding.check for finding in report.findings] == [check]
    return report.findings[0]


def test_clean_files_give_no_finding_and_are_told_by_their_columns(tmp_path: Path) -> None:
    talk = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is a quasar, in short?"}]
    talk += [{"role": "assistant", "content": "A bright core of a galaxy."}, {"role": "user", "content": "How far?"}]
    filled = [
        {"prompt": f"Review this {topic}: well", "response": f"Good.\nScore: {n}"} for n, topic in enumerate("abc")
    ]
    responses = [{"text": "Billions of light years.", "human": 2}, {"text": "Near.", "human": 1}]
    files = [
        jsonl(tmp_path / "latest.jsonl", ift_rows()),  # "test" is no word of this name
        jsonl(tmp_path / "judging.jsonl", eft_rows()),
        jsonl(tmp_path / "people.jsonl", [{"messages": talk, "responses": responses}]),
        jsonl(tmp_path / "questions.jsonl", [{"instruction": "Spell onomatopoeia backwards"}]),
        jsonl(tmp_path / "eft_held_out.jsonl", [eft_row("quartz", 2), eft_row("quartz", 5)]),
    ]
    report = check(*files)
    assert report.findings == []
    assert [str(file.file) for file in report.files] == ["IFT", "EFT", "ranked", "prompts, held out", "EFT, held out"]
    assert [(file.rows, file.usable, file.prompts) for file in report.files][:3] == [
        (12, 12, 12),
        (18, 18, 6),
        (1, 1, 1),
    ]
    assert (report.files[2].multi_turn, report.files[2].with_system) == (1, 1)
    assert report.data()["files"][1]["scores"] == {"1": 6, "3": 6, "4": 6}
    [file] = check(jsonl(tmp_path / "filled.jsonl", filled)).files
    assert str(file.file) == "EFT"


@pytest.mark.parametrize(
    ("change", "name", "harms", "place"),
    [
        (lambda rows: rows.insert(2, {"text": "x"}), "shape", False, ":3: wrong columns (found: text)"),
        (lambda rows: rows.insert(2, {"prompt": 1, "response": "b"}), "shape", False, ":3: prompt must be text"),
        (lambda rows: [rows.insert(2, {"text": "x"}) for _ in range(2)], "shape", True, ":3: wrong columns"),
        (lambda rows: rows[3].update(response=" "), "left out", False, ":4"),
        (lambda rows: [row.update(response="") for row in rows[3:5]], "left out", True, ":4"),
        (lambda rows: [row.update(response="N/A") for row in rows[:2]], "placeholder", True, ":1"),
        (lambda rows: rows[0].update(response="n" * 30 + " word" * 20 + " and then of the"), "cut off", False, ":1"),
        (lambda rows: rows[5].update(response="Yes.<|im_end|>\n<|im_start|>user"), "chat marks", True, ":6"),
        (lambda rows: rows.append(dict(rows[0])), "repeated row", False, ":13"),
        (lambda rows: rows.append(rows[0] | {"response": "Other."}), "repeated prompt", False, ":13 = "),
        (
            lambda rows: rows.append({"prompt": "Why does rain fall most often in mountains?", "response": "So."}),
            "near prompt",
            False,
            ":13 ~ ",
        ),
    ],
)
def test_what_one_ift_file_can_have(tmp_path: Path, change: Any, name: str, harms: bool, place: str) -> None:
    rows = ift_rows()
    change(rows)
    found = only(check(jsonl(tmp_path / "ift.jsonl", rows)), name)
    assert found.harms == harms
    assert found.places[0].startswith(str(tmp_path / "ift.jsonl") + place)


def test_replies_that_share_the_greatest_length_were_stopped_by_a_limit(tmp_path: Path) -> None:
    rows = ift_rows()
    for number in range(3):
        rows[number]["response"] = (f"{number} is a number. " * 30)[:299] + "."
    found = only(check(jsonl(tmp_path / "ift.jsonl", rows)), "length limit")
    assert (found.detail, found.count, found.harms) == ("300 characters", 3, True)
    assert len(found.places) == 3


def test_what_an_eft_file_can_have(tmp_path: Path) -> None:
    rows = [*eft_rows(), eft_row("wool", 7), eft_row("glass", 2) | {"score": 3}, eft_row("rain", 1) | {"score": 2}]
    rows += [eft_row("salt", 2) | {"response": "same"}, eft_row("salt", 5) | {"response": "same"}]
    report = check(jsonl(tmp_path / "eft.jsonl", rows))
    found = {(finding.check, finding.detail): finding.count for finding in report.findings}
    other = "the judgement's score is not the row's score"
    assert found == {("off the scale", ""): 1, ("left out", other): 2, ("contradiction", ""): 1}
    assert report.harmful == []
    alike = [eft_row(topic, 4) for topic in TOPICS[:9]] + [eft_row("rain", 1), eft_row("rain", 2)]
    assert only(check(jsonl(tmp_path / "eft.jsonl", alike)), "one score").harms
    single = [eft_row(topic, n % 6) for n, topic in enumerate(TOPICS)]
    assert not only(check(jsonl(tmp_path / "eft.jsonl", single)), "no ranking").harms


def test_held_out_and_evaluation_prompts_in_training_rows(tmp_path: Path) -> None:
    ift = jsonl(tmp_path / "ift.jsonl", ift_rows())
    eft = jsonl(tmp_path / "eft.jsonl", eft_rows())
    held_out = jsonl(tmp_path / "held_out_eft.jsonl", [eft_row("rain", 1), eft_row("rain", 5)])
    bench = tmp_path / "bench.json"
    turns = [["NAME three openings that  suit beginners at chess.", "Now two"], ["Nothing of this kind is anywhere"]]
    bench.write_text(
        json.dumps([{"turns": both} for both in turns] + [{"question": "List new uses of recycled glass"}])
    )
    report = check(ift, eft, held_out, against=[bench])
    found = {(Path(finding.file).name, finding.check): finding for finding in report.findings}
    assert {key: finding.count for key, finding in found.items()} == {
        ("ift.jsonl", "leak"): 1,
        ("ift.jsonl", "near leak"): 1,
        ("eft.jsonl", "leak"): 3,
    }
    assert found["ift.jsonl", "leak"].places == [f"{ift}:3 = {bench}: row 1"]
    assert found["ift.jsonl", "near leak"].places == [f"{ift}:9 ~ {bench}: row 3"]
    assert [finding.check for finding in report.harmful] == ["leak", "leak"]


def test_the_same_prompt_in_ift_and_eft_is_worth_knowing(tmp_path: Path) -> None:
    ift = jsonl(tmp_path / "ift.jsonl", ift_rows())
    eft = jsonl(tmp_path / "eft.jsonl", [eft_row("x", n) | {"prompt": PROMPTS["tea"]} for n in (1, 2)])
    report = check(ift, eft)
    assert not only(report, "shared prompt").harms
    assert report.findings[0].places == [f"{eft}:1 = {ift}:8", f"{eft}:2 = {ift}:8"]


def test_the_seed_folder_of_a_run(tmp_path: Path) -> None:
    own = {"id": "eft-000001", "group": "g", "messages": [{"role": "user", "content": "And?"}], "response": "So."}
    own |= {"judgement": "Fine.\nScore: 4", "score": 4.0, "human": 3.0, "filled": False}
    (tmp_path / "run" / "seed").mkdir(parents=True)
    jsonl(tmp_path / "run" / "seed" / "eft.jsonl", [own, own | {"id": "eft-000002", "response": "No.", "human": 1.0}])
    jsonl(tmp_path / "run" / "seed" / "held_out_eft.jsonl", [])  # a run without any
    report = check(tmp_path / "run")
    assert [(file.file.path.name, file.usable, str(file.file)) for file in report.files] == [("eft.jsonl", 2, "EFT")]
    assert only(report, "one score").detail == "4"
    with pytest.raises(UserError, match="no seed file in it"):
        seed_files([tmp_path])


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("word " * 25 + "and the end is", True),
        ("word " * 25 + "and it goes on for a while without", True),
        ("Here:\n```python\nprint(1)", True),
        ("word " * 25 + "and all is said.", False),
        ("word " * 25 + "and all is said.\n\nBest regards,\nJohn", False),
        ("Paris", False),
        ("- " + "\n- ".join(["one two three four five six seven"] * 5), False),
        ("Here:\n```python\nprint(1)\n```", False),
        ("句子结束了。" * 20, False),
    ],
)
def test_a_reply_that_stops_in_the_middle(text: str, cut: bool) -> None:
    assert cut_off(text) == cut


def test_a_reply_that_stands_in_for_one() -> None:
    assert all(map(placeholder, ["n/a", " NaN ", "...", "[deleted]"]))
    assert not any(map(placeholder, ["No", "42", "+", "None", "否"]))


@needs_shared
def test_real_files() -> None:
    alpaca, mt_bench = SHARED / "alpaca_eval_outputs.json", SHARED / "mt_bench_questions.jsonl"
    report = check(alpaca, against=[alpaca, mt_bench])
    [leak] = report.harmful
    assert (leak.check, leak.count) == ("leak", 805)
    assert check(alpaca, SHARED / "self_instruct_seed_tasks.jsonl", against=[mt_bench]).harmful[0].count == 2
    for name in ("llmbar_natural.json", "mt_bench_questions.jsonl"):
        with pytest.raises(UserError, match="these are not the columns of a seed file"):
            seed_files([SHARED / name])


def test_an_oasst_export_is_no_file_of_prompts(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="srlm seed oasst"):
        check(jsonl(tmp_path / "t.jsonl", [{"message_tree_id": "t", "prompt": {"text": "q", "replies": []}}]))


def test_repeated_responses_are_told(tmp_path: Path) -> None:
    answers = [{"text": "a", "human": 1}, {"text": "a", "human": 2}, {"text": "b", "human": 0}]
    row = {"messages": [{"role": "user", "content": "Say a letter now."}], "responses": answers}
    found = only(check(jsonl(tmp_path / "ranked.jsonl", [row])), "repeated response")
    assert found.count == 1
    assert not found.harms
