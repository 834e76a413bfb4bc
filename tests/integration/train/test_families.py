"""The families that people train, each as a tiny model: template, two steps of SFT and of DPO, and what is saved.

What vLLM makes of the same models is in tests/slow/test_families.py.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from srlm.model.chat import CHAT_OPTIONS, end_of_turn_ids
from srlm.model.check import CheckedModel, check_base
from tests.helpers.families import FAMILIES, as_from_gguf, make_family, two_steps
from tests.helpers.train_jobs import log_of, run, said, user

TALK = [*user("say red"), *said("red"), *user("and blue")]


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # for models this small threads only get into each other's way


def checked(folder: Path) -> CheckedModel:
    return check_base(str(folder))


def prompt_and_row(model: CheckedModel) -> tuple[list[int], list[int], list[int]]:
    """(what the engine is asked, what SFT trains on, the part of it that carries the loss), in tokens."""
    from srlm.train.encode import Encoder
    from srlm.train.sft import SFTRow, encode

    prompt: Any = model.tokenizer.apply_chat_template(
        TALK, add_generation_prompt=True, return_dict=False, **CHAT_OPTIONS
    )
    row = SFTRow.model_validate({"id": "r", "prompt": TALK, "completion": said("blue")})
    [found] = Encoder(model.tokenizer, 256).usable([row], encode)
    taught = [token for token, label in zip(found["input_ids"], found["labels"], strict=True) if label != -100]
    return prompt, found["input_ids"], taught


@pytest.mark.parametrize("name", FAMILIES)
def test_a_chat_model_is_trained_as_it_is_asked(name: str, tmp_path: Path) -> None:
    """The prompt is how the trained row begins, and the beginning token stands in it once, or is not written at all."""
    family, model = FAMILIES[name], checked(make_family(tmp_path / "M0", name))
    tokenizer = model.tokenizer
    prompt, row, taught = prompt_and_row(model)
    assert row[: len(prompt)] == prompt
    assert tokenizer.decode(taught).strip() == f"blue{family.end}"
    assert tokenizer.convert_ids_to_tokens(end_of_turn_ids(tokenizer))[0] == family.end
    if family.bos:
        begin = tokenizer.convert_tokens_to_ids(family.bos)
        assert prompt[0] == begin
        assert prompt[1] != begin
        assert prompt.count(begin) == 1 or family.bos == family.end
    assert model.notes == []


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma3"])
def test_a_base_model_whose_tokenizer_alone_adds_the_beginning(name: str, tmp_path: Path) -> None:
    model = checked(make_family(tmp_path / "M0", name, template=False))
    prompt, row, _ = prompt_and_row(model)
    begin = model.tokenizer.bos_token_id
    assert prompt[0] == row[0] == begin
    assert prompt.count(begin) == row.count(begin) == 1
    assert model.notes == ["the model has no chat template: the default one is used, and saved with M1"]


def test_a_gemma_base_made_from_a_gguf_file_gets_its_beginning_token(tmp_path: Path) -> None:
    folder = as_from_gguf(make_family(tmp_path / "M0", "gemma3", template=False))
    for change in ({}, {"bos_token": None}):
        edit(folder / "tokenizer_config.json", **change)
        model = checked(folder)
        prompt, row, _ = prompt_and_row(model)
        assert model.tokenizer("a")["input_ids"][0] != model.tokenizer.bos_token_id
        assert prompt.count(model.tokenizer.bos_token_id) == row.count(model.tokenizer.bos_token_id) == 1
        assert prompt[0] == model.tokenizer.bos_token_id
        [note] = model.notes
        assert note.endswith("it writes <bos>, which these models need and this tokenizer leaves out")


def test_a_beginning_token_that_nobody_adds_is_spoken_of(tmp_path: Path) -> None:
    """Families where both are found (Llama's forms serve many): the tokenizer is followed, and the user told."""
    model = checked(as_from_gguf(make_family(tmp_path / "M0", "llama", template=False)))
    assert prompt_and_row(model)[0][0] != model.tokenizer.bos_token_id
    [note] = model.notes
    assert "leaves out <|begin_of_text|>, as the tokenizer does" in note
    assert "begins with {{ bos_token }}" in note


def test_a_chat_template_without_the_beginning_token_is_left_as_it_is(tmp_path: Path) -> None:
    folder = make_family(tmp_path / "M0", "mistral")
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text().removeprefix("{{ bos_token }}"))
    model = checked(folder)
    assert model.notes == [
        "the chat template does not write <s>, with which the tokenizer begins plain texts: left as it is"
    ]
    assert model.tokenizer.bos_token_id not in prompt_and_row(model)[0]


@pytest.mark.parametrize(("name", "template"), [*((name, True) for name in FAMILIES), ("gemma3", False)])
def test_two_steps_of_sft_and_dpo(name: str, template: bool, tmp_path: Path) -> None:
    base = make_family(tmp_path / "M0", name, template)
    if not template:
        as_from_gguf(base)
    before, tuned = checked(base), two_steps("sft", base, tmp_path / "M1")
    assert run(tuned)["steps"] == 2
    preferred = two_steps("dpo", tuned.out, tmp_path / "M2")
    info = run(preferred)
    assert info["steps"] == 2
    assert info["rows_dropped"] == {}
    first, second = log_of(preferred)
    assert first["rewards_chosen"] == pytest.approx(0, abs=1e-5)  # the policy is its own reference
    assert second["loss"] < first["loss"]
    after = checked(preferred.out)
    assert prompt_and_row(after) == prompt_and_row(before)
    assert after.context == before.context
    config, was = (json.loads((folder / "config.json").read_text()) for folder in (preferred.out, base))
    assert {key: value for key, value in config.items() if was.get(key) != value} == {}


def test_stop_tokens_of_the_base_are_kept(tmp_path: Path) -> None:
    """Llama 3.1's chat models name three, of which its template shows one: M1 stops wherever M0 did."""
    base = make_family(tmp_path / "M0", "llama")
    ids = checked(base).tokenizer.convert_tokens_to_ids
    more = ids(["<|end_of_text|>", "<|end_header_id|>"])
    edit(base / "generation_config.json", eos_token_id=more)
    for place, algorithm in enumerate(("sft", "dpo"), 1):
        job = two_steps(algorithm, tmp_path / f"M{place - 1}" / ("model" if place > 1 else ""), tmp_path / f"M{place}")
        run(job)
        stops = json.loads((job.out / "generation_config.json").read_text())["eos_token_id"]
        assert stops == [ids("<|eot_id|>"), *more]


def edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
