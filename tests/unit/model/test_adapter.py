"""Which base a folder with an adapter names."""

import json
from pathlib import Path

import pytest

from srlm.errors import UserError
from srlm.model.adapter import Adapter, adapter_of, base_of


def folder_of(root: Path, **values: object) -> str:
    (root / "adapter_config.json").write_text(json.dumps(values))
    return str(root)


def test_an_adapter_and_what_it_changes(tmp_path: Path) -> None:
    modules = ["q_proj", "model.layers.0.mlp.up_proj", "q_proj"]
    model = folder_of(tmp_path, base_model_name_or_path="org/base", revision="abc", r=8, target_modules=modules)
    assert adapter_of(model) == Adapter(tmp_path, "org/base", "abc", 8, ["q_proj", "up_proj"])
    assert base_of(model, None) == ("org/base", "abc")


def test_modules_by_pattern_are_not_known(tmp_path: Path) -> None:
    found = adapter_of(folder_of(tmp_path, base_model_name_or_path="b", r=8, target_modules=".*_proj"))
    assert found is not None
    assert found.modules == []


def test_other_models_are_their_own_base(tmp_path: Path) -> None:
    assert adapter_of(str(tmp_path)) is adapter_of("org/model") is None
    assert base_of("org/model", "main") == ("org/model", "main")


@pytest.mark.parametrize("values", [{}, {"r": 8}, {"base_model_name_or_path": "b"}])
def test_an_adapter_without_a_base_is_the_users_error(tmp_path: Path, values: dict[str, object]) -> None:
    with pytest.raises(UserError, match=r"adapter_config.json: not a LoRA adapter that names its base"):
        adapter_of(folder_of(tmp_path, **values))
