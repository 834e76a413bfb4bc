"""OASST exports: what is kept by the documented rule, in every form of the file, with memory that does not grow."""

import csv
import gzip
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from srlm.errors import UserError
from srlm.seed.divide import SeedReport
from srlm.seed.oasst import OasstFilter, from_oasst
from srlm.seed.read import read_ift, read_ranked
from srlm.seed.split import prompt_key
from srlm.store import seed_of
from tests.helpers.oasst_files import SMALL, flat_rows, make, rows, write
from tests.helpers.places import SHARED, needs_shared

REAL = SHARED / "oasst_en_100_trees.jsonl"


def conserved(report: SeedReport) -> bool:
    """What was read is what was kept and left out, for prompts and for answers."""
    return all(
        unit["read"] == unit["ift"] + unit["ranked"] + sum(unit["dropped"].values())
        for unit in (report.summary["counts"]["prompts"], report.summary["counts"]["answers"])
    )


def test_the_small_file_by_hand(tmp_path: Path) -> None:
    report = make(SMALL, tmp_path / "out")
    ift, ranked = rows(report.ift), rows(report.ranked)
    usable = {*(f"t{n:02}" for n in range(10)), "gap", "one"}
    assert {row["id"] for row in ift} | {row["id"] for row in ranked} == usable
    assert "one" in {row["id"] for row in ift}  # one ranked reply: nothing to compare
    assert "gap" in {row["id"] for row in ranked}  # ranks 1 and 4: an order, but no best
    dropped = {(Path(row["where"]).name, row["what"], row["reason"]) for row in rows(tmp_path / "out/dropped.jsonl")}
    assert dropped == {
        ("oasst_small.jsonl:4, reply 3", "answer", "deleted"),
        ("oasst_small.jsonl:6, reply 3", "answer", "in language de"),
        ("oasst_small.jsonl:13, reply 1", "answer", "no rank"),
        ("oasst_small.jsonl:13, reply 2", "answer", "no rank"),
        ("oasst_small.jsonl:13", "prompt", "no usable ranked reply"),
        ("oasst_small.jsonl:14", "prompt", "in language de"),
        ("oasst_small.jsonl:15", "prompt", "synthetic (written by a model)"),
        ("oasst_small.jsonl:16", "prompt", "deleted"),
        ("oasst_small.jsonl:17", "prompt", "not reviewed"),
        ("oasst_small.jsonl:18", "prompt", "rejected in review"),
        ("oasst_small.jsonl:19", "prompt", "tree aborted_low_grade"),
        ("oasst_small.jsonl:20", "prompt", "the prompt repeats an earlier one"),
        ("oasst_small.jsonl:21", "prompt", "an empty tree"),
        ("oasst_small.jsonl:22", "prompt", "no usable ranked reply"),
    }
    assert conserved(report)
    assert report.summary["counts"]["later_turns"] == 2


def test_ift_has_the_rank_0_reply_and_ranked_has_all_in_order(tmp_path: Path) -> None:
    trees = {tree["message_tree_id"]: tree["prompt"] for tree in rows(SMALL)}
    all_ift, all_ranked = (make(SMALL, tmp_path / name, ift_share=share) for name, share in (("i", 1.0), ("r", 0.0)))
    for row in rows(all_ift.ift):
        prompt = trees[row["id"]]
        best = next(reply["text"] for reply in prompt["replies"] if reply.get("rank") == 0)
        assert [turn["content"] for turn in row["messages"]] == [prompt["text"], best]
    ranked = {row["id"]: row["responses"] for row in rows(all_ranked.ranked)}
    assert [r["human"] for r in ranked["t04"]] == [0.0, -1.0, -5.0]  # a gap says nothing but the order
    assert [r["human"] for r in ranked["gap"]] == [-1.0, -4.0]
    assert rows(all_ranked.ift) == []  # a share of 0 is none at all
    assert len(read_ift(all_ift.ift).rows) == 11
    assert len(read_ranked(all_ranked.ranked).rows) == 11


def test_the_division_is_a_seeded_hash_of_the_tree_id(tmp_path: Path) -> None:
    report = make(SMALL, tmp_path / "a", ift_share=0.5, seed=3)
    both = {f"t{n:02}" for n in range(10)}
    expected = {tree for tree in both if seed_of(3, "ift", tree) / 2**31 < 0.5}
    assert {row["id"] for row in rows(report.ift)} == expected | {"one"}
    shuffled = write(tmp_path / "shuffled.jsonl", random.Random(1).sample(rows(SMALL)[:19], 19))
    assert {row["id"] for row in rows(make(shuffled, tmp_path / "b", ift_share=0.5, seed=3).ift)} == expected | {"one"}


def test_every_form_of_the_file_gives_the_same_rows(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    flat = flat_rows()
    zipped = tmp_path / "trees.jsonl.gz"
    zipped.write_bytes(gzip.compress(SMALL.read_bytes()))
    windows = tmp_path / "windows.jsonl"
    windows.write_bytes(b"\xef\xbb\xbf" + SMALL.read_bytes().replace(b"\n", b"\r\n"))
    parquet = tmp_path / "flat.parquet"
    columns = [{name: value for name, value in row.items() if name != "review_count"} for row in flat]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(columns), parquet)
    table = tmp_path / "flat.csv"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(columns[0]))
        writer.writeheader()
        writer.writerows(columns)
    sources = [zipped, windows, write(tmp_path / "flat.jsonl", flat), parquet, table]
    expected = make(SMALL, tmp_path / "expected")
    for number, source in enumerate(sources):
        report = make(source, tmp_path / str(number))
        assert rows(report.ift) == rows(expected.ift), source
        assert rows(report.ranked) == rows(expected.ranked), source
        assert conserved(report)


def test_flat_messages_in_any_order_twice_and_without_their_prompt(tmp_path: Path) -> None:
    flat = flat_rows()
    expected = make(SMALL, tmp_path / "expected", ift_share=0.0)
    shuffled = random.Random(0).sample(flat, len(flat))
    found = make(write(tmp_path / "shuffled.jsonl", shuffled), tmp_path / "a", ift_share=0.0)

    def by_id(report: SeedReport) -> dict[str, set[tuple[str, float]]]:
        ranked = {row["id"]: {(r["text"], r["human"]) for r in row["responses"]} for row in rows(report.ranked)}
        return {tree: answers for tree, answers in ranked.items() if tree not in ("t09", "again")}  # the same prompt

    assert by_id(found) == by_id(expected)
    assert len(rows(found.ranked)) == len(rows(expected.ranked))
    orphans = [row for row in flat if row["message_id"] != "t00"]
    twice = [*orphans, *(row for row in flat if row["message_id"] in ("t01", "t01-1"))]
    report = make(write(tmp_path / "broken.jsonl", twice), tmp_path / "b")
    reasons = Counter(row["reason"] for row in rows(tmp_path / "b/dropped.jsonl"))
    assert reasons["its prompt is not in the file"] == 3
    assert reasons["its message_id repeats an earlier one"] == 2
    assert conserved(report)


@pytest.mark.parametrize(
    ("options", "more"),
    [
        ({"langs": ("en", "de")}, {"german"}),
        ({"langs": ()}, {"german"}),
        ({"keep": ("synthetic",)}, {"model"}),
        ({"keep": ("unreviewed",)}, {"unreviewed"}),
    ],
)
def test_what_the_filters_let_through(tmp_path: Path, options: dict[str, Any], more: set[str]) -> None:
    def ids(report: SeedReport) -> set[str]:
        return {row["id"] for row in [*rows(report.ift), *rows(report.ranked)]}

    assert ids(make(SMALL, tmp_path / "b", **options)) - ids(make(SMALL, tmp_path / "a")) == more


def test_replies_without_ids_and_a_filter_that_is_none(tmp_path: Path) -> None:
    trees = rows(SMALL)
    for reply in trees[0]["prompt"]["replies"]:
        del reply["message_id"]
    report = make(write(tmp_path / "a.jsonl", trees), tmp_path / "a", ift_share=0.0)
    assert len(next(row for row in rows(report.ranked) if row["id"] == "t00")["responses"]) == 3
    with pytest.raises(UserError, match="--keep deleted: not known: known: synthetic, unreviewed"):
        make(SMALL, tmp_path / "b", keep=("deleted",))


def test_prompts_are_in_one_file_only_also_across_files(tmp_path: Path) -> None:
    copy = tmp_path / "copy.jsonl"
    copy.write_text(SMALL.read_text().replace('"message_tree_id": "t0', '"message_tree_id": "u0'))
    report = from_oasst([str(SMALL), str(copy)], tmp_path / "out", OasstFilter())
    keys = [prompt_key(row.messages[:-1]) for row in read_ift(report.ift).rows]
    keys += [prompt_key(row.messages) for row in read_ranked(report.ranked).rows]
    assert len(keys) == len(set(keys)) == 12
    assert report.summary["counts"]["prompts"]["dropped"]["the prompt repeats an earlier one"] == 14


def test_a_folder_is_never_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"
    make(SMALL, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    moved = tmp_path / "moved.jsonl"
    moved.write_bytes(SMALL.read_bytes())
    assert make(moved, out).already  # the same content under another name
    with pytest.raises(UserError, match="made with a different --seed, --lang"):
        make(SMALL, out, seed=1, langs=())
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    (out / "ift.jsonl").write_text("")
    with pytest.raises(UserError, match=r"ift\.jsonl changed since it was made"):
        make(SMALL, out)
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="not made by `srlm seed`"):
        make(SMALL, other)
    assert [path.name for path in other.iterdir()] == ["notes.txt"]


def test_a_message_of_2_megabytes_is_left_out_and_counted(tmp_path: Path) -> None:
    trees = rows(SMALL)
    trees[0]["prompt"]["replies"][0]["text"] = "word " * 400_000
    report = make(write(tmp_path / "long.jsonl", trees), tmp_path / "out")
    assert report.summary["counts"]["answers"]["dropped"]["longer than --max-chars"] == 1
    assert "t00" in {row["id"] for row in rows(report.ranked)}  # without its rank-0 reply it cannot be IFT
    longest = make(tmp_path / "long.jsonl", tmp_path / "all", max_chars=3_000_000, ift_share=1.0)
    assert len(rows(longest.ift)[0]["messages"][1]["content"]) == 2_000_000


@needs_shared
def test_counts_of_the_real_file_by_an_independent_reading(tmp_path: Path) -> None:
    def usable(message: dict[str, Any]) -> bool:
        return message["lang"] == "en" and message["review_result"] is True and not message["synthetic"]

    prompts = [tree["prompt"] for tree in rows(REAL) if usable(tree["prompt"])]
    ranked = {p["message_id"]: [r for r in p["replies"] if usable(r) and "rank" in r] for p in prompts}
    report = make(REAL, tmp_path / "out")
    counts = report.summary["counts"]
    ift = {row["id"]: row["messages"][1]["content"] for row in rows(report.ift)}
    compared = {row["id"]: [r["text"] for r in row["responses"]] for row in rows(report.ranked)}
    assert not set(ift) & set(compared)
    assert set(ift) | set(compared) == {tree for tree, replies in ranked.items() if replies}
    for tree, text in ift.items():
        assert text == next(reply["text"] for reply in ranked[tree] if reply["rank"] == 0)
    for tree, texts in compared.items():
        assert texts == [reply["text"] for reply in ranked[tree]]
    assert counts["prompts"]["dropped"] == {
        "synthetic (written by a model)": 100 - len(prompts),
        "no usable ranked reply": sum(not replies for replies in ranked.values()),
    }
    assert (len(ift), len(compared), sum(map(len, compared.values()))) == (57, 37, 116)  # as documented
    assert conserved(report)
