"""`srlm seed check` with a model's tokenizer, and as a command."""

import json
import subprocess
import sys
from pathlib import Path

from srlm.packaged import DEMO
from tests.helpers.seed_rows import check, ift_rows, jsonl


def test_the_demo_with_its_model(tmp_path: Path) -> None:
    data = DEMO / "data"
    report = check(data / "ift.jsonl", data / "eft.jsonl", data / "eval_prompts.jsonl", model=str(DEMO / "base"))
    assert report.harmful == []
    assert report.model is not None
    assert (report.model["context"], report.model["end_of_turn"]) == (1024, ["<|end|>"])
    for file in report.data()["files"]:
        assert sum(file["tokens"]["histogram"].values()) == file["usable"]
        assert 0 < file["tokens"]["median"] <= file["tokens"]["p95"] <= file["tokens"]["max"] <= 1024
    rows = ift_rows()
    rows[0]["response"] = "many words. " * 1000
    rows[1]["response"] = "Done.<|end|>"  # no usual mark, but this model's end of turn
    found = {
        finding.check: finding
        for finding in check(jsonl(tmp_path / "i.jsonl", rows), model=str(DEMO / "base")).findings
    }
    assert set(found) == {"too long", "chat marks"}
    assert found["too long"].places == [f"{tmp_path / 'i.jsonl'}:1"]
    assert found["chat marks"].harms


def srlm(*arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "srlm.cli", "seed", "check", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_exit_codes_and_the_two_forms_of_output(tmp_path: Path) -> None:
    clean = jsonl(tmp_path / "ift.jsonl", ift_rows())
    done = srlm(clean)
    assert done.returncode == 0
    assert "none that would harm training" in done.stderr
    bad = jsonl(tmp_path / "bad.jsonl", [*ift_rows(), {"prompt": "\x1b[31mred?", "response": "[INST] x"}])
    done = srlm(bad)
    assert done.returncode == 1
    assert "harm" in done.stdout
    assert "bad.jsonl:13" in done.stdout
    data = json.loads(srlm(bad, "--json").stdout)
    assert data["harmful"] == 1
    assert data["findings"][0]["check"] == "chat marks"
    assert data["files"][0]["rows"] == 13
    torn = tmp_path / "torn.jsonl"
    torn.write_text(clean.read_text() + '{"prompt": "a')
    for wrong in ([torn], [tmp_path / "none.jsonl"], [clean, "--model", tmp_path], [clean, "--against", clean.parent]):
        done = srlm(*wrong)
        assert done.returncode == 2, done.stderr
        assert next(line for line in done.stderr.splitlines() if not line.endswith(": IFT")).startswith("error: ")


def test_findings_stay_readable_below_a_long_path(tmp_path: Path) -> None:
    folder = tmp_path / ("folder-with-a-long-name-" * 4) / ("and-another-" * 6)
    folder.mkdir(parents=True)
    rows = ift_rows()
    rows[5]["response"], rows[7]["response"] = "Yes. [INST]", "No. [INST]"
    rows[8]["prompt"] = rows[6]["prompt"]
    shown = srlm(jsonl(folder / "ift.jsonl", rows)).stdout.splitlines()
    assert max(map(len, shown)) <= 100
    start = next(n for n, line in enumerate(shown) if line.startswith("harm"))
    assert shown[start].split()[:3] == ["harm", "2", "texts"]
    text = "".join("".join(shown[start:]).split())  # a line may end where a space was
    assert f"{folder}/ift.jsonl:6([INST]);:8([INST])" in text
    assert f"{folder}/ift.jsonl:9=:7" in text
