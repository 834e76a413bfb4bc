"""Settings: strict, explained, round-tripped."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from srlm.config import MOVED, apply_overrides, flat, in_effect, known_keys, load_config, parse_config, renamed, to_toml
from srlm.errors import UserError
from srlm.fields import later
from srlm.settings import Config, SFTSettings

BASE = {"model": {"path": "m"}}


def parse(*overrides: str) -> Config:
    return parse_config(apply_overrides(BASE, list(overrides)), "config.toml")


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("judge.sample=3", ["unknown key judge.sample", "did you mean judge.samples?"]),
        ("jugde.samples=3", ["unknown key jugde", "see `srlm config`"]),
        ("judge.samples=0", ["judge.samples = 0", ">= 1"]),
        ("judge.samples=many", ["judge.samples = 'many' is not allowed: give a whole number, >= 1"]),
        ("instructions.source=me", ["instructions.source", '"self", "model", "file"']),
        ("rollout.top_p=1.5", ["rollout.top_p = 1.5", "> 0, <= 1"]),
        ("judge=3", ["judge = 3"]),
        ("engine.replicas=0", ['engine.replicas = 0 is not allowed: give a whole number, >= 1, or "auto"']),
        ("train.num_processes=all", ["train.num_processes = 'all' is not allowed: give a whole number, >= 1, or"]),
        ("rollout.max_in_flight=true", ["rollout.max_in_flight = True is not allowed"]),
        ("pairs.rho=[2]", ["pairs.rho = [2] is not allowed: give a number, >= 0, <= 1, or a list"]),
    ],
)
def test_an_error_names_the_key_and_what_is_allowed(override: str, parts: list[str]) -> None:
    with pytest.raises(UserError) as error:
        parse(override)
    for part in parts:
        assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_overrides_are_toml_or_plain_strings() -> None:
    config = parse("judge.samples=5", "instructions.keywords=['a']", "model.path=/a b", "engine.args.dtype=half")
    assert (config.judge.samples, config.instructions.keywords, config.model.path) == (5, ["a"], "/a b")
    assert config.engine.args == {"dtype": "half"}


@pytest.mark.parametrize("override", ["judge.samples", "=3", "model.path.deeper=3"])
def test_a_bad_override_is_one_line(override: str) -> None:
    with pytest.raises(UserError):
        parse(override)


@given(st.integers(1, 99), st.floats(0, 9), st.text(), st.lists(st.text()))
def test_toml_round_trip(samples: int, margin: float, path: str, keywords: list[str]) -> None:
    values = {
        "model": {"path": path},
        "judge": {"samples": samples},
        "pairs": {"min_margin": margin},
        "instructions": {"keywords": keywords},
        "engine": {"args": {"tensor_parallel_size": 2, "nested": {"a": [1, 2]}}},
        "dpo": {"extra": {"loss_type": ["sigmoid", "sft"], "optim_args": {"eps": 1}}, "beta": 0.2},
    }
    config = parse_config(values, "test")
    assert parse_config(tomllib.loads(to_toml(config)), "test") == config


def test_every_key_is_explained_in_the_file() -> None:
    text = to_toml(parse())
    for key, field in known_keys().items():
        assert field.description, key
        assert field.description in text, key


def test_free_settings_are_not_part_of_a_digest() -> None:
    assert "rollout.max_in_flight" in flat(parse())
    assert "rollout.max_in_flight" not in flat(parse(), knobs=False)
    assert "rollout.temperature" in flat(parse(), knobs=False)


OLD = {
    "eval": {"head_to_head": True, "judge": "m", "judge_endpoint": "http://x", "mode": "pairwise", "tie_margin": 0.5},
    "gate": {"max_accuracy_drop": 0.1, "min_consistency": 0.4},
    "promote": {"max_accuracy_drop": 0.02},
    "pairs": {"min_consistency": 0.3},
}


def test_keys_of_an_earlier_version_are_read_under_the_names_of_today() -> None:
    assert not set(MOVED) & set(known_keys())
    assert set(MOVED.values()) <= set(known_keys())
    config = parse_config(BASE | OLD, "config.toml")
    found = {key: value for key, value in flat(config).items() if key in MOVED.values()}
    assert found == {
        "versus.in_loop": True, "versus.judge": "m", "versus.endpoint": "http://x", "versus.mode": "pairwise",
        "versus.tie_margin": 0.5, "gate.max_judge_drop": 0.1, "gate.min_mean_consistency": 0.4,
    }  # fmt: skip
    assert (config.promote.max_accuracy_drop, config.pairs.min_consistency) == (0.02, 0.3)  # which keep their names
    assert parse_config(tomllib.loads(to_toml(config)), "test") == config
    assert renamed(flat(config)) == flat(config)


def test_set_takes_the_old_name_of_a_key_too_and_both_in_one_file_are_refused() -> None:
    values = {"versus": {"in_loop": True}}
    assert parse_config(apply_overrides(BASE | values, ["eval.head_to_head=false"]), "x").versus.in_loop is False
    assert "eval" in BASE | OLD  # what was given is left as it was
    with pytest.raises(UserError) as error:
        parse_config(BASE | OLD | values, "config.toml")
    assert str(error.value).startswith(
        "config.toml: eval.head_to_head is now called versus.in_loop, but both are set: "
    )


def test_an_endpoint_of_head_to_head_needs_the_name_of_a_model() -> None:
    with pytest.raises(UserError, match=r"versus\.endpoint needs versus\.judge"):
        parse("versus.endpoint=http://127.0.0.1:8000/v1")


def test_broken_toml_and_a_newer_format(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[judge\n")
    with pytest.raises(UserError, match="line 1"):
        load_config(path)
    path.write_text("format = 99\n")
    with pytest.raises(UserError, match="upgrade srlm"):
        load_config(path)


# --- a setting that came later ---------------------------------------------------------------------------------------


class Grown(SFTSettings):
    """SFT with settings that came when runs had been made without them."""

    packed: bool = later(True, "What new runs do.", before=False)
    floor: float | None = later(None, "What all runs do unless told otherwise.", before=None, ge=0)


def test_a_later_setting_is_left_out_of_a_digest_while_it_does_what_was_done_before() -> None:
    old = flat(SFTSettings(), unchanged=False)
    assert old == flat(SFTSettings())
    assert flat(Grown(packed=False), unchanged=False) == old
    assert flat(Grown(), unchanged=False) == old | {"packed": True}
    assert flat(Grown(packed=False, floor=0.0), unchanged=False) == old | {"floor": 0.0}
    assert flat(Grown(packed=False)) == old | {"packed": False, "floor": None}  # in config.toml they are settings


def test_what_knew_nothing_of_a_later_setting_did_what_was_done_before_it() -> None:
    found = in_effect(Grown)
    assert (found["packed"], found["floor"], found["epochs"]) == (False, None, 3)


def test_a_run_made_before_a_later_setting_keeps_what_it_did(tmp_path: Path) -> None:
    (path := tmp_path / "config.toml").write_text('[model]\npath = "m"\n[train]\nsave_steps = 5\n')
    assert load_config(path).train.save_dtype == "base"
    path.write_text('[model]\npath = "m"\n')
    assert load_config(path).train.save_dtype == "base"
    path.write_text(to_toml(parse()))  # a new run
    assert load_config(path).train.save_dtype == "float32"
    path.write_text('train = 3\n[model]\npath = "m"\n')
    with pytest.raises(UserError, match="train = 3"):
        load_config(path)


def test_a_later_setting_is_always_written() -> None:
    """One that is not set stands in config.toml as a comment only: it would be read as it was before."""
    for key, field in known_keys().items():
        before = (field.json_schema_extra or {}).get("before", field.default)  # type: ignore[union-attr]
        assert field.default is not None or before is None, key


def test_a_later_setting_keeps_its_constraints_and_its_meaning() -> None:
    with pytest.raises(ValidationError):
        Grown(floor=-1.0)
    assert known_keys(Grown)["packed"].description == "What new runs do."
