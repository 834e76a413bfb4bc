"""Durable files: torn lines, atomic replacement, digests."""

from pathlib import Path

import pytest

from srlm.errors import UserError
from srlm.records import Instruction
from srlm.store import Appender, RowsById, digest, read_rows, seed_of, write_rows


def row(index: int) -> Instruction:
    return Instruction(id=f"i{index}", round=0, messages=[{"role": "user", "content": "wörds\nand lines"}])


def ids(path: Path) -> list[str]:
    return [r.id for r in read_rows(path, Instruction)]


def test_rows_come_back(tmp_path: Path) -> None:
    with Appender(tmp_path / "a" / "rows.jsonl") as file:
        file.append(row(1))
        file.append(row(2))
    assert list(read_rows(tmp_path / "a" / "rows.jsonl", Instruction)) == [row(1), row(2)]


@pytest.mark.parametrize("torn", [b"{", b'{"id": "i3", "round"', b'{"id": "i3"}', b"\xff"])
def test_a_torn_last_line_is_ignored_and_then_cut_off(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "rows.jsonl"
    write_rows(path, [row(1), row(2)])
    path.write_bytes(path.read_bytes() + torn)
    assert ids(path) == ["i1", "i2"]
    with Appender(path) as file:
        file.append(row(4))
    assert ids(path) == ["i1", "i2", "i4"]


def test_a_file_that_is_one_long_torn_line_becomes_empty(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"x" * 200_000)
    with Appender(path) as file:
        file.append(row(1))
    assert ids(path) == ["i1"]


def test_a_broken_line_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_rows(path, [row(1)])
    path.write_bytes(path.read_bytes() + b"{}\n")
    with pytest.raises(UserError, match=r"rows\.jsonl:2: not a valid row"):
        ids(path)


def test_replacing_keeps_the_old_file_when_a_row_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_rows(path, [row(1)])
    with pytest.raises(ValueError, match="JSON compliant"):
        write_rows(path, [row(2), {"score": float("nan")}])
    assert ids(path) == ["i1"]
    assert list(tmp_path.iterdir()) == [path]  # nothing is left of what was begun


def test_rows_by_id_are_read_when_they_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_rows(path, [row(3), row(1), row(2)])
    path.write_bytes(path.read_bytes() + b'{"id": "i4"')
    found = RowsById(path, Instruction)
    assert (list(found), len(found), "i4" in found) == (["i3", "i1", "i2"], 3, False)
    assert (found["i2"], found["i3"], found.get("i4")) == (row(2), row(3), None)
    assert not RowsById(tmp_path / "none.jsonl", Instruction)


def test_rows_by_id_name_the_line_that_is_no_such_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_rows(path, [row(1), {"id": "i2"}])
    with pytest.raises(UserError, match=r"rows\.jsonl:2: not a valid row"):
        RowsById(path, Instruction)["i2"]


def test_digests_and_seeds_depend_on_every_part() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert (
        len({seed_of(1, "M1", "x", 0), seed_of(1, "M1", "x", 1), seed_of(2, "M1", "x", 0), seed_of(1, "M1", "x0")}) == 4
    )
    assert 0 <= seed_of("anything") < 2**31
