"""Checkpoints as people have them: what `srlm init` refuses and why, what it notes, and which commit it pins."""

import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from srlm.errors import UserError
from srlm.model.check import check_base, check_model
from srlm.packaged import DEMO
from srlm.run.folder import Run
from srlm.run.init import Sources, init_run
from srlm.store import read_json
from tests.helpers.families import FAMILIES, NO_SYSTEM, SIZES, make_family

OLD, NEW = "0" * 39 + "1", "0" * 39 + "2"  # commits


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A copy of the demo's base model, to be changed."""
    return shutil.copytree(DEMO / "base", tmp_path / "model")


def edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def refusal(model: Path) -> str:
    with pytest.raises(UserError) as caught:
        check_base(str(model))
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- what is refused ----------------------------------------------------------------------------------------------


def test_a_model_that_also_sees(tmp_path: Path) -> None:
    """transformers counts Gemma 3 with its vision tower among the causal language models."""
    from transformers import Gemma3Config

    folder = make_family(tmp_path / "gemma", "gemma3")
    config = Gemma3Config(text_config=SIZES, architectures=["Gemma3ForConditionalGeneration"])
    config.save_pretrained(folder)
    message = refusal(folder)
    assert "not a text-only model (Gemma3ForConditionalGeneration)" in message
    assert "such as Gemma 3 in its sizes 270m and 1b" in message


def test_a_model_that_also_sees_and_is_no_causal_one_for_transformers(base: Path) -> None:
    from transformers import Qwen2_5_VLConfig

    Qwen2_5_VLConfig(architectures=["Qwen2_5_VLForConditionalGeneration"]).save_pretrained(base)
    assert refusal(base).endswith("take a text-only one, such as Qwen3")


@pytest.mark.parametrize(
    "settings",
    [
        {"quant_method": "fp8", "weight_block_size": [128, 128]},
        {"quant_method": "awq", "bits": 4, "group_size": 128},
        {"quant_method": "gptq", "bits": 4},
    ],
)
def test_quantised_weights_cannot_be_trained_but_may_write(base: Path, settings: dict[str, Any]) -> None:
    edit(base / "config.json", quantization_config=settings)
    message = refusal(base)
    assert f"its weights are quantised ({settings['quant_method']}), and such weights cannot be trained" in message
    assert "in bfloat16" in message
    check_model(str(base))  # another model that writes instructions, or judges


def test_control_tokens_between_prompt_and_reply(base: Path) -> None:
    """As gpt-oss has them: the model itself would choose the channel that it speaks on."""
    template = (
        "{% for m in messages %}<|start|>{{ m['role'] }}{% if m['role'] == 'assistant' %}<|channel|>final{% endif %}"
        "<|message|>{{ m['content'] }}<|end|>{% endfor %}{% if add_generation_prompt %}<|start|>assistant{% endif %}"
    )
    (base / "chat_template.jinja").write_text(template)
    assert "puts <|channel|>final<|message|> between generation prompt and reply" in refusal(base)


def tekken(path: Path) -> None:
    """A tokenizer of bytes in Mistral's own format."""
    names = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]"]
    names += ["[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]"]
    names += ["[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]"]
    config = {
        "pattern": r"[^\s]+|\s+",
        "num_vocab_tokens": 256,
        "default_vocab_size": 256 + len(names),
        "default_num_special_tokens": len(names),
        "version": "v7",
    }
    vocabulary = [
        {"rank": byte, "token_bytes": base64.b64encode(bytes([byte])).decode(), "token_str": None}
        for byte in range(256)
    ]
    special = [{"rank": rank, "token_str": name, "is_control": True} for rank, name in enumerate(names)]
    path.write_text(json.dumps({"config": config, "vocab": vocabulary, "special_tokens": special}))


def test_mistrals_own_format_beside_transformers_files_is_left_alone(tmp_path: Path) -> None:
    folder = make_family(tmp_path / "mistral", "mistral")
    before = check_base(str(folder)).tokens([{"role": "user", "content": "say red"}], "blue")
    tekken(folder / "tekken.json")
    shutil.copy(folder / "model.safetensors", folder / "consolidated.safetensors")
    checked = check_base(str(folder))
    assert checked.tokenizer.chat_template == FAMILIES["mistral"].template
    assert checked.tokens([{"role": "user", "content": "say red"}], "blue") == before
    (folder / "model.safetensors").unlink()
    assert "no weights" in refusal(folder)


def test_mistrals_own_format_alone_is_refused_with_the_way_to_the_other(tmp_path: Path) -> None:
    folder = make_family(tmp_path / "mistral", "mistral")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (folder / name).unlink()
    tekken(folder / "tekken.json")
    message = refusal(folder)
    assert "in Mistral's own format only (tekken.json)" in message
    from transformers.integrations.mistral import convert_tekken_tokenizer

    assert "convert_tekken_tokenizer" in message
    convert_tekken_tokenizer(str(folder / "tekken.json")).save_pretrained(folder)
    check_base(str(folder))


# --- what the template refuses ------------------------------------------------------------------------------------


def test_a_template_without_a_systems_turn_drops_those_rows(tmp_path: Path, base: Path) -> None:
    template = base / "chat_template.jinja"
    template.write_text(NO_SYSTEM + template.read_text())
    rows = (DEMO / "data" / "ift.jsonl").read_text().splitlines()
    turns = [{"role": role, "content": f"the {role} speaks"} for role in ("system", "user", "assistant")]
    ift = tmp_path / "ift.jsonl"
    ift.write_text("\n".join([rows[0], json.dumps({"messages": turns}), *rows[1:]]))
    report = init_run(tmp_path / "run", Sources(recipe="demo", model=str(base), ift=ift))
    reason = "the chat template refuses it (no turn of a system here)"
    assert report.dropped[f"ift: {reason}"] == 1
    assert f"Dropped from ift: 1 ({reason})" in report.lines()
    dropped = [json.loads(line) for line in (tmp_path / "run" / "seed" / "dropped.jsonl").read_text().splitlines()]
    assert {"file": "ift", "row": 2, "reason": reason} in dropped


# --- the commit of a hub's model ----------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """The local cache of a hub's model whose main branch was the demo's base, and is now another model."""
    folder = tmp_path / "cache" / "models--someone--tiny"
    shutil.copytree(DEMO / "base", folder / "snapshots" / OLD)
    shutil.copytree(DEMO / "base", folder / "snapshots" / NEW)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(OLD)
    (folder / "refs" / "v2").write_text(NEW)
    return tmp_path / "cache"


def python(code: str, cache: Path, *arguments: Any) -> list[str]:
    """What a Python without network, but with this cache, prints."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(cache)}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


INIT = """
import sys
from pathlib import Path
from types import SimpleNamespace
from huggingface_hub import HfApi
from srlm.run.init import Sources, init_run
root, on_the_hub, *overrides = sys.argv[1:]
if on_the_hub:
    HfApi.model_info = lambda self, model, revision=None: SimpleNamespace(sha=on_the_hub)
given = Sources(recipe="demo", model="someone/tiny", overrides=tuple(overrides))
print(*init_run(Path(root), given).lines(), sep="\\n")
print(init_run(Path(root), given).already)
"""


@pytest.mark.parametrize(
    ("on_the_hub", "overrides", "name", "commit"),
    [
        ("", [], "someone/tiny", OLD),  # offline: what the cache holds
        (NEW, [], "someone/tiny", NEW),  # the hub has gone on, and is asked
        ("", ["model.revision=v2"], "someone/tiny@v2", NEW),
    ],
)
def test_the_commit_is_pinned_at_init(
    on_the_hub: str, overrides: list[str], name: str, commit: str, tmp_path: Path, cache: Path
) -> None:
    *lines, again = python(INIT, cache, tmp_path / "run", on_the_hub, *overrides)
    assert again == "True"
    assert f"Note: {name} is the hub's commit {commit[:12]}: every stage loads that one." in lines
    run = Run(tmp_path / "run")
    assert read_json(run.root / "run.json")["commits"] == {name: commit}
    assert run.config.model.revision == ("v2" if overrides else None)
    assert run.revision("someone/tiny") == commit


LOAD = """
import sys
from pathlib import Path
from srlm.run.folder import Run
from srlm.train.job import TrainJob
from srlm.train.models import load_model, load_tokenizer
run, nowhere = Run(Path(sys.argv[1])), Path("nowhere")
job = TrainJob(algorithm="sft", model=run.model(0), revision=run.revision(run.model(0)), rows=nowhere, out=nowhere,
    checkpoints=nowhere, log=nowhere, reference=nowhere, seed=1, max_length=64, train=run.config.train,
    optimizer=run.config.sft)
load_tokenizer(job)
print(load_model(job)[0].config.rms_norm_eps)
print(load_model(job.model_copy(update={"revision": None}))[0].config.rms_norm_eps)
"""


def test_the_pinned_commit_is_loaded_when_the_main_branch_has_gone_on(tmp_path: Path, cache: Path) -> None:
    python(INIT, cache, tmp_path / "run", "")
    folder = cache / "models--someone--tiny"
    edit(folder / "snapshots" / NEW / "config.json", rms_norm_eps=0.25)
    (folder / "refs" / "main").write_text(NEW)
    pinned, newest = python(LOAD, cache, tmp_path / "run")
    assert newest == "0.25"
    assert pinned != newest


def test_a_folder_has_no_commit(tmp_path: Path, base: Path) -> None:
    init_run(tmp_path / "run", Sources(recipe="demo", model=str(base)))
    assert read_json(tmp_path / "run" / "run.json")["commits"] == {}
