"""`srlm init` from ranked responses and from OASST exports: what is held out, what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from srlm.errors import UserError
from srlm.records import LeftOut, RatedRow
from srlm.run.folder import Run
from srlm.run.init import Sources, init_run
from srlm.seed.rated import one_by_one, side_by_side
from srlm.seed.read import read_ranked
from srlm.seed.split import prompt_key
from srlm.store import read_json, read_rows, write_rows
from tests.helpers.ranked_file import write_ranked

SYSTEM = {"role": "system", "content": "Be brief."}


def init(root: Path, **given: Any) -> Run:
    init_run(root, Sources(**{"recipe": "demo", **given}))
    return Run(root)


def rated(run: Run, name: str) -> list[RatedRow]:
    return list(read_rows(run.seed(name), RatedRow))


def prompts(rows: list[Any]) -> set[str]:
    return {prompt_key(row.messages) for row in rows}


@pytest.fixture(scope="module")
def ranked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ranked(tmp_path_factory.mktemp("ranked") / "ranked.jsonl", 20)


def test_held_out_prompts_keep_every_response(tmp_path: Path, ranked: Path) -> None:
    run = init(tmp_path / "r", ranked=ranked)
    train, held_out = rated(run, "ranked"), rated(run, "held_out_eft")
    assert run.builds_eft
    assert not run.seed("eft").exists()
    given = {row["messages"][0]["content"]: row["responses"] for row in map(json.loads, ranked.open())}
    assert len(prompts(held_out)) == 3  # 15% of 20
    assert len(train) + len(held_out) == sum(map(len, given.values()))
    for row in train + held_out:
        assert {"text": row.response, "human": row.human} in given[row.messages[0]["content"]]
    assert not prompts(train) & prompts(held_out)
    ift = [json.loads(line)["messages"][:-1] for line in run.seed("ift").open()]
    assert not {prompt_key(messages) for messages in ift} & prompts(held_out)
    counts = read_json(run.root / "seed" / "split.json")["counts"]
    assert (counts["ranked"], counts["held_out_eft"]) == (len(train), len(held_out))
    assert counts["held_out_eft_prompts"] == 3


def test_the_split_does_not_hang_on_the_order_of_the_rows(tmp_path: Path, ranked: Path) -> None:
    turned = tmp_path / "turned.jsonl"
    turned.write_text("".join(line + "\n" for line in ranked.read_text().splitlines()[::-1]))
    runs = [init(tmp_path / name, ranked=file) for name, file in (("a", ranked), ("b", turned))]
    assert prompts(rated(runs[0], "held_out_eft")) == prompts(rated(runs[1], "held_out_eft"))


def test_again_is_already_there_and_other_things_are_refused(tmp_path: Path, ranked: Path) -> None:
    init(tmp_path / "r", ranked=ranked)
    assert init_run(tmp_path / "r", Sources(recipe="demo", ranked=ranked)).already
    with pytest.raises(UserError, match=r"already a run .* made with a different --eft, --ranked"):
        init(tmp_path / "r")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("eft", "ranked"), "--eft and --ranked cannot be used together"),
        (("ranked", "oasst"), "--ranked and --oasst cannot be used together"),
        (("ift", "oasst"), "--oasst and --ift cannot be used together"),
        ((), "missing: --ift, --eft"),
        (("ranked",), "missing: --ift"),
    ],
)
def test_what_does_not_go_together_or_is_missing(
    tmp_path: Path, ranked: Path, given: tuple[str, ...], said: str
) -> None:
    sources = {name: (str(ranked),) if name == "oasst" else ranked for name in given}
    with pytest.raises(UserError, match=said):
        init(tmp_path / "r", recipe="small", model="m", **sources)
    assert list(tmp_path.iterdir()) == []


def test_a_held_out_file_measures_the_judge_and_leaves_training(tmp_path: Path, ranked: Path) -> None:
    other = write_ranked(tmp_path / "other.jsonl", 6, seed=5)
    first = ranked.read_text().splitlines()[0]
    other.write_text(other.read_text() + first + "\n")
    run = init(tmp_path / "r", ranked=ranked, held_out_eft=other)
    train, held_out = rated(run, "ranked"), rated(run, "held_out_eft")
    assert prompts(held_out) == {prompt_key(row.messages) for row in read_ranked(other).rows}
    assert prompts(train) == prompts(read_ranked(ranked).rows[1:])
    dropped = [json.loads(line) for line in (run.root / "seed" / "dropped.jsonl").open()]
    assert [row["row"] for row in dropped if row["file"] == "ranked"] == [1] * 4


def test_conversations_and_system_turns_stay_as_they_are(tmp_path: Path) -> None:
    user, assistant = {"role": "user", "content": "Describe Peru."}, {"role": "assistant", "content": "No."}
    talk = [SYSTEM, user, assistant, {"role": "user", "content": "Describe Chile."}]
    rows = [
        {"messages": [*talk[:-1], {"role": "user", "content": f"Describe {name}."}], "responses": answers}
        for name in ("Chile", "Cuba")
        for answers in [[{"text": "It is long.", "human": 2}, {"text": "No.", "human": 1}]]
    ]
    file = tmp_path / "ranked.jsonl"
    write_rows(file, rows)
    run = init(tmp_path / "r", ranked=file)
    found = rated(run, "ranked") + rated(run, "held_out_eft")
    assert len(found) == 4
    assert all(row.messages[:3] == [SYSTEM, user, assistant] for row in found)


def test_responses_that_do_not_fit_are_dropped_one_by_one(tmp_path: Path, ranked: Path) -> None:
    file = tmp_path / "long.jsonl"
    row = json.loads(ranked.read_text().splitlines()[0])
    row["responses"].append({"text": "word " * 1000, "human": 0})
    file.write_text(json.dumps(row) + "\n" + "".join(ranked.read_text().splitlines(keepends=True)[1:]))
    run = init(tmp_path / "r", ranked=file)
    found = {row.response for row in rated(run, "ranked") + rated(run, "held_out_eft")}
    assert found == {answer.text for row in read_ranked(ranked).rows for answer in row.responses}
    dropped = [json.loads(line) for line in (run.root / "seed" / "dropped.jsonl").open()]
    assert {"file": "ranked", "row": 1, "reason": "does not fit the context"} in dropped


def test_one_by_one_and_side_by_side_again(ranked: Path) -> None:
    read = read_ranked(ranked)
    assert side_by_side(one_by_one(read, "ranked").rows) == read.rows


def test_oasst_gives_both_seeds(tmp_path: Path) -> None:
    def message(name: str, role: str, **more: Any) -> dict[str, Any]:
        flags = {"lang": "en", "deleted": False, "review_result": True, "synthetic": False}
        return {"message_id": name, "text": f"text {name}", "role": role, **flags, "replies": [], **more}

    def tree(n: int) -> dict[str, Any]:
        replies = [message(f"{n}-{rank}", "assistant", rank=rank) for rank in range(3)]
        prompt = message(str(n), "prompter", text=f"Please tell me of thing {n}.", replies=replies)
        return {"message_tree_id": str(n), "tree_state": "ready_for_export", "prompt": prompt}

    file = tmp_path / "trees.jsonl"
    write_rows(file, [*(tree(n) for n in range(60)), {"message_tree_id": "e", "prompt": None}])
    run = init(tmp_path / "r", oasst=(str(file),))
    source = read_json(run.root / "seed" / "split.json")["source"]
    ranked, held_out = rated(run, "ranked"), rated(run, "held_out_eft")
    assert source["counts"]["prompts"]["read"] == 61
    assert list(read_rows(run.root / "seed" / "source_dropped.jsonl", LeftOut)) == [
        LeftOut(where=f"{file}:61", what="prompt", reason="an empty tree")
    ]
    assert len(ranked) + len(held_out) == 3 * source["counts"]["prompts"]["ranked"] > 0
    assert {row.human for row in ranked} == {0.0, -1.0, -2.0}
    assert sum(1 for _ in run.seed("ift").open()) == source["counts"]["prompts"]["ift"]
    assert init_run(run.root, Sources(recipe="demo", oasst=(str(file),))).already
