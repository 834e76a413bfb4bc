"""OASST exports: a dataset in a folder, and memory that does not grow with the file."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.oasst_files import SMALL, flat_rows, make, rows, write


def test_a_dataset_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    write(tmp_path / "set" / "train.jsonl", flat_rows())
    report = make(str(tmp_path / "set"), tmp_path / "out")
    assert rows(report.ranked) == rows(make(SMALL, tmp_path / "expected").ranked)


def big_file(path: Path, trees: int, flat: bool) -> Path:
    filler = "many words about a thing that somebody asked " * 20  # 900 characters
    with path.open("w") as file:
        for n in range(trees):
            common = {"lang": "en", "review_result": True, "message_tree_id": f"tree-{n}"}
            replies = [
                {"message_id": f"{n}-{k}", "parent_id": f"tree-{n}", "text": f"{k} {filler}", "role": "assistant"}
                | {"rank": k, "replies": []}
                | common
                for k in range(3)
            ]
            prompt = {
                "message_id": f"tree-{n}",
                "parent_id": None,
                "text": f"What is {n}?",
                "role": "prompter",
            } | common
            if flat:
                file.writelines(json.dumps(row) + "\n" for row in (prompt, *replies))
            else:
                file.write(json.dumps({"message_tree_id": f"tree-{n}", "prompt": prompt | {"replies": replies}}) + "\n")
    return path


PEAK = """
import resource, sys
from pathlib import Path
from srlm.seed.oasst import OasstFilter, from_oasst
from_oasst([sys.argv[1]], Path(sys.argv[2]), OasstFilter())
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.parametrize("flat", [False, True])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, flat: bool) -> None:
    peaks = {}  # number of trees -> kilobytes resident, in a process of its own since SQLite's count, too
    for trees in (500, 5000):
        source = big_file(tmp_path / f"{trees}.jsonl", trees, flat)
        command = [sys.executable, "-c", PEAK, str(source), str(tmp_path / f"{trees}")]
        peaks[trees] = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert source.stat().st_size > 15_000_000
    assert peaks[5000] < peaks[500] + 6_000  # a third of the file
