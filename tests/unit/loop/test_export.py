"""What `srlm export` writes, read back by those that it is for."""

import json
from pathlib import Path

import pytest

from srlm.errors import UserError
from srlm.loop.export import export_model
from srlm.run.folder import Run
from tests.helpers.run_folder import finished_run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = finished_run(tmp_path / "a-run")
    (run.at(2).weights / "config.json").write_text("{}")
    (run.at(2).weights / "training.json").write_text('{"out": "/secret/path"}')
    return run


def test_answers_are_in_alpaca_evals_form(run: Run, tmp_path: Path) -> None:
    rows = json.loads((export_model(run, 2, tmp_path / "out") / "model_outputs.json").read_text())
    assert [row["instruction"][:11] for row in rows] == ["Question p1", "Question p2"]
    assert {row["generator"] for row in rows} == {"a-run-M2"}
    assert all(row["output"].endswith("2.0") for row in rows)  # the first answer


def test_the_card_is_filled_and_names_no_path(run: Run, tmp_path: Path) -> None:
    from huggingface_hub import ModelCard

    out = export_model(run, 2, tmp_path / "out")
    found = ModelCard.load(out / "model" / "README.md")
    assert found.data.base_model == "base-model"
    assert "M2: DPO of M1" in found.text
    assert "| judge: pairwise_accuracy | 1 |" in found.text
    assert "| dpo.beta | 0.1 |" in found.text
    assert "| pairs of M1 (rows) | 1 |" in found.text
    assert str(tmp_path) not in found.content
    assert not (out / "model" / "training.json").exists()


def test_nothing_is_overwritten_and_nothing_half_is_left(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_model(run, 2, out)
    before = (out / "model_outputs.json").stat().st_mtime_ns
    with pytest.raises(UserError, match="exists"):
        export_model(run, 2, out)
    assert (out / "model_outputs.json").stat().st_mtime_ns == before
    (run.at(2).eval).unlink()
    with pytest.raises(UserError):
        export_model(run, 2, tmp_path / "other")
    assert not [path for path in tmp_path.iterdir() if "other" in path.name]


def test_a_model_that_is_not_there(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="M3 is not trained"):
        export_model(run, 3, tmp_path / "out")
