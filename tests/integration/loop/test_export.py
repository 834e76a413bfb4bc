"""What `srlm export` writes, read by the libraries that it is for."""

from pathlib import Path

import pytest

from srlm.loop.export import export_model
from tests.helpers.run_folder import finished_run


def test_pairs_load_as_they_are_with_trls_own_check(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    from trl.data_utils import is_conversational

    out = export_model(finished_run(tmp_path / "a-run"), 2, tmp_path / "out")
    found = datasets.load_from_disk(str(out / "preferences"))
    assert {"prompt", "chosen", "rejected"} <= set(found.column_names)
    assert is_conversational(found[0])
    assert found[0]["prompt"] == [{"role": "user", "content": "Why?"}]
    assert found[0]["chosen"][0]["content"].startswith("Because.")
