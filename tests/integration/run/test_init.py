"""`srlm init`: the run folder it makes, what it refuses in one line, and that it never leaves a half-made folder."""

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from srlm.config import parse_config
from srlm.errors import UserError
from srlm.model.check import check_model
from srlm.packaged import DEMO, PROMPTS
from srlm.records import EFTRow, IFTRow, PromptRow, RatedRow
from srlm.run.folder import Run, RunRecord, StageRecord
from srlm.run.init import InitReport, Sources, init_run
from srlm.store import file_digest, read_json, read_rows, write_json

BASE = DEMO / "base"


def init(root: Path, **given: Any) -> InitReport:
    """`srlm init ROOT --recipe demo` with changes."""
    return init_run(root, Sources(**{"recipe": "demo", **given}))


def refusal(root: Path, **given: Any) -> str:
    """The one line that refuses it, leaving nothing behind."""
    before = sorted(root.parent.iterdir())
    with pytest.raises(UserError) as caught:
        init(root, **given)
    assert sorted(root.parent.iterdir()) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A copy of the demo's base model, to be broken."""
    return shutil.copytree(BASE, tmp_path / "model")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, InitReport]:
    root = tmp_path_factory.mktemp("runs") / "new" / "demo"
    return root, init(root)


def test_the_demo_recipe_makes_a_whole_run_folder(demo: tuple[Path, InitReport]) -> None:
    root, report = demo
    run = Run(root)
    rows = {
        name: list(read_rows(run.seed(name), kind))
        for name, kind in [("ift", IFTRow), ("eft", EFTRow), ("held_out_eft", RatedRow), ("eval_prompts", PromptRow)]
    }
    assert {name: len(found) for name, found in rows.items()} == {n: report.counts[n] for n in rows}
    assert len(rows["held_out_eft"]) > 0
    assert not {row.group for row in rows["held_out_eft"]} & {row.group for row in rows["eft"]}
    assert run.record.seed_digests == {name: file_digest(run.seed(name)) for name in rows}
    assert run.config.recipe == "demo"
    assert run.config.eval.grader == "srlm.demo.grader:grade"
    assert run.config.model.path == str(BASE)
    assert run.record.stages == {}
    assert run.record.versions["transformers"]
    for name in ("judge.txt", "instruction.txt"):
        assert (root / "prompts" / name).read_bytes() == (PROMPTS / name).read_bytes()
    summary = read_json(root / "seed" / "split.json")
    assert summary["counts"] == report.counts
    model = check_model(str(BASE))
    longest = max(model.tokens(row.messages[:-1], row.messages[-1]["content"]) for row in rows["ift"])
    assert longest <= summary["longest"] <= run.config.model.max_length  # for the memory plan; EFT's rows are longer
    assert (root / "seed" / "dropped.jsonl").exists()
    assert [path.name for path in root.parent.iterdir()] == ["demo"]


def test_again_with_the_same_arguments_changes_nothing(demo: tuple[Path, InitReport]) -> None:
    root, _ = demo
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    report = init(root)
    assert report.already
    assert "already exists" in report.lines()[0]
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


def test_a_key_that_has_another_name_today_makes_no_other_run(tmp_path: Path) -> None:
    init(tmp_path / "run", overrides=["versus.mode=pairwise"])
    path = tmp_path / "run" / "run.json"
    path.write_text(path.read_text().replace("versus.mode=", "eval.mode="))  # as an earlier version recorded it
    for key in ("versus.mode", "eval.mode"):
        assert init(tmp_path / "run", overrides=[f"{key}=pairwise"]).already
    assert "made with a different --set" in refusal(tmp_path / "run", overrides=["eval.mode=scored"])


def test_another_run_is_never_overwritten(demo: tuple[Path, InitReport], tmp_path: Path) -> None:
    root = shutil.copytree(demo[0], tmp_path / "demo")
    record = RunRecord.model_validate(read_json(root / "run.json"))
    stage = StageRecord(status="done", digest="", settings={}, inputs={}, started="")
    record.stages = {"M0/eval": stage, "M1/train": stage}
    write_json(root / "run.json", record.model_dump(mode="json"))
    changed = tmp_path / "ift.jsonl"
    changed.write_text(json.dumps({"prompt": "a", "response": "b"}))
    message = refusal(root, ift=changed, overrides=["run.seed=2"])
    assert "already a run (with M1), made with a different --ift, --set" in message
    assert "srlm iterate" in message


def test_a_folder_that_is_no_run_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.txt").write_text("meow")
    assert "is not a run folder" in refusal(tmp_path / "photos")
    (tmp_path / "file").write_text("x")
    assert "is not a run folder" in refusal(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    init(tmp_path / "empty")
    assert (tmp_path / "empty" / "run.json").is_file()


def test_missing_arguments_and_bad_settings(tmp_path: Path) -> None:
    root = tmp_path / "run"
    assert "missing: --model, --eft" in refusal(root, recipe="paper", ift=DEMO / "data" / "ift.jsonl")
    assert "no recipe 'papper'" in refusal(root, recipe="papper")
    assert "did you mean judge.samples" in refusal(root, overrides=["judge.sample=5"])
    assert "use --model" in refusal(root, overrides=["model.path=x"])
    assert "none.jsonl: no such file" in refusal(root, ift=tmp_path / "none.jsonl")


@pytest.mark.parametrize("recipe", ["demo", "small", "paper"])
def test_recipes_are_valid(recipe: str) -> None:
    from srlm.config import load_recipe

    values = load_recipe(recipe)
    config = parse_config(values | {"model": values["model"] | {"path": "x"}}, recipe)
    assert config.judge.max_tokens + config.rollout.max_tokens < config.model.max_length


def test_the_paper_recipe_has_the_papers_values() -> None:
    from srlm.config import load_recipe

    config = parse_config(load_recipe("paper") | {"model": {"path": "x"}}, "paper")
    instructions, rollout, judge = config.instructions, config.rollout, config.judge
    assert (instructions.few_shot_ift, instructions.few_shot_generated, instructions.rouge_l) == (6, 2, 0.7)
    assert (instructions.temperature, instructions.top_p) == (0.6, 0.9)
    assert (rollout.candidates, rollout.temperature, rollout.top_p, judge.samples) == (4, 0.7, 0.9, 3)
    assert (config.sft.learning_rate, config.sft.final_lr_ratio, config.sft.batch_size) == (5.5e-6, 0.2, 16)
    assert (config.dpo.learning_rate, config.dpo.final_lr_ratio, config.dpo.batch_size) == (1e-6, 0.1, 16)
    assert config.dpo.beta == 0.1


# --- the context -------------------------------------------------------------------------------------------------


def test_the_recipes_context_is_lowered_to_the_models_but_not_the_users(tmp_path: Path) -> None:
    data = {"ift": DEMO / "data" / "ift.jsonl", "eft": DEMO / "data" / "eft.jsonl"}
    report = init(tmp_path / "run", recipe="small", model=str(BASE), **data)
    assert Run(tmp_path / "run").config.model.max_length == 1024
    assert any("lowered from 2048 to 1024" in warning for warning in report.warnings)
    assert report.counts["eval_prompts"] == 60  # a fifth of the IFT prompts
    message = refusal(tmp_path / "other", overrides=["model.max_length=1025"])
    assert "model.max_length = 1025 exceeds the model's context of 1024 tokens" in message


def test_a_context_too_small_for_the_judge_prompt(tmp_path: Path) -> None:
    message = refusal(tmp_path / "run", overrides=["judge.max_tokens=1000"])
    assert "too small for the judge" in message


def test_rows_that_do_not_fit_are_dropped_and_counted(tmp_path: Path) -> None:
    eft, prompts = tmp_path / "eft.jsonl", tmp_path / "prompts.jsonl"
    ift = tmp_path / "ift.jsonl"
    ift.write_text((DEMO / "data" / "ift.jsonl").read_text() + json.dumps({"prompt": "a", "response": "b " * 2000}))
    long = {"prompt": "word " * 1000, "response": "r", "judgement": "Score: 1", "score": 1}
    eft.write_text((DEMO / "data" / "eft.jsonl").read_text() + json.dumps(long) + "\n")
    prompts.write_text(json.dumps({"prompt": "word " * 1000}) + "\n" + json.dumps({"prompt": "short?"}) + "\n")
    report = init(tmp_path / "run", ift=ift, eft=eft, eval_prompts=prompts)
    reason = "does not fit the context"
    assert [report.dropped[f"{file}: {reason}"] for file in ("ift", "eft", "eval")] == [1, 1, 1]
    assert report.counts["eval_prompts"] == 1
    last = [json.loads(line) for line in (tmp_path / "run" / "seed" / "dropped.jsonl").read_text().splitlines()]
    assert {"file": "eval", "row": 1, "reason": reason} in last
    prompts.write_text(json.dumps({"prompt": "word " * 1000}))
    assert "rollout.max_tokens" in refusal(tmp_path / "other", eval_prompts=prompts)


# --- the model ---------------------------------------------------------------------------------------------------


def edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_models_that_cannot_be_used(tmp_path: Path, base: Path) -> None:
    def said(name: str) -> str:
        return refusal(tmp_path / "run", model=str(tmp_path / name))

    def copy(name: str) -> Path:
        return shutil.copytree(base, tmp_path / name)

    assert "no such folder" in said("none")
    (tmp_path / "nothing").mkdir()
    assert "no config.json" in said("nothing")
    (copy("torn") / "config.json").write_text("{")
    assert "config.json cannot be used" in said("torn")
    edit(copy("bert") / "config.json", architectures=["LlamaForSequenceClassification"])
    assert "not a causal language model (llama: LlamaForSequenceClassification)" in said("bert")
    (copy("pickle") / "model.safetensors").rename(tmp_path / "pickle" / "pytorch_model.bin")
    assert "only pickled weights (pytorch_model.bin)" in said("pickle")
    (copy("bare") / "model.safetensors").unlink()
    assert "no weights" in said("bare")
    (copy("pointer") / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    assert "pointer/model.safetensors: broken or missing weights" in said("pointer")
    index = {"weight_map": {"a": "model-00001.safetensors"}}
    (copy("shard") / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "shard/model-00001.safetensors: broken or missing weights" in said("shard")
    for name, torn in (("torn-index", '{"weight_map": {"a": "mod'), ("list-index", "[]"), ("bare-index", "{}")):
        (copy(name) / "model.safetensors.index.json").write_text(torn)
        assert f"{name}/model.safetensors.index.json: cannot be used" in said(name)
    for file in copy("mute").glob("tokenizer*"):
        file.unlink()
    assert "no usable tokenizer" in said("mute")


def test_a_model_without_chat_template_gets_the_default_one(tmp_path: Path, base: Path) -> None:
    (base / "chat_template.jinja").unlink()
    report = init(tmp_path / "run", model=str(base))
    assert any("no chat template" in warning for warning in report.warnings)


def test_a_chat_template_that_refuses_a_seed_row(tmp_path: Path, base: Path) -> None:
    (base / "chat_template.jinja").write_text("{{ raise_exception('no thanks') }}")
    assert "(no thanks)" in refusal(tmp_path / "run", model=str(base))
    shutil.copy(BASE / "chat_template.jinja", base)
    template = (base / "chat_template.jinja").read_text()
    guard = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    (base / "chat_template.jinja").write_text(guard + template)
    ift = tmp_path / "ift.jsonl"
    turns = [{"role": role, "content": role} for role in ("system", "user", "assistant")]
    ift.write_text(json.dumps({"messages": turns}))
    message = refusal(tmp_path / "run", model=str(base), ift=ift)
    assert "refuses a conversation of system, user, assistant (no system)" in message


def test_a_model_by_its_id_from_the_local_cache(tmp_path: Path) -> None:
    """As on a machine without network: the id is found in the cache, another one is refused in one line."""
    cached = tmp_path / "cache" / "models--someone--tiny"
    shutil.copytree(BASE, cached / "snapshots" / "abc")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("abc")
    code = """
from srlm.errors import UserError
from srlm.model.check import check_model
print(check_model("someone/tiny").context)
try:
    check_model("someone/else")
except UserError as error:
    print(error)
"""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    context, said = done.stdout.splitlines()
    assert context == "1024"
    assert said.startswith("someone/else: no such folder")
    assert done.stderr == ""


# --- all or nothing ----------------------------------------------------------------------------------------------


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """Writes beyond `size` bytes a file fail, as they do on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    with room_for(20_000):  # config.toml fits, the seed rows do not
        message = refusal(tmp_path / "run")
    assert "the run folder cannot be written" in message
    init(tmp_path / "run")


def test_a_killed_init_leaves_no_run(tmp_path: Path) -> None:
    """Killed by a signal at the write that does not fit: no run folder, and a rerun makes one."""
    code = f"""
import resource, signal
from pathlib import Path
from srlm.run.init import Sources, init_run
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
init_run(Path({str(tmp_path / "run")!r}), Sources(recipe="demo"))
"""
    done = subprocess.run([sys.executable, "-c", code], timeout=120)
    assert done.returncode < 0
    assert not (tmp_path / "run").exists()
    assert not list(tmp_path.glob("*/run.json"))
    init(tmp_path / "run")


def test_init_imports_no_torch_before_it_is_called() -> None:
    code = "import sys, srlm.run.init; print(sorted({'torch', 'transformers', 'datasets', 'vllm'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_missing_source_of_instructions_shows_before_anything_is_made(tmp_path: Path) -> None:
    for source in ("file", "model"):
        settings = [f"instructions.source={source}", f"instructions.path={tmp_path}/nothing.jsonl"]
        with pytest.raises(UserError, match=r"nothing\.jsonl"):
            init(tmp_path / "r", overrides=settings)
    assert not (tmp_path / "r").exists()


def test_the_users_rubric_is_checked_and_copied(tmp_path: Path) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("Score it from 0 to 5.\n\n## Talk\n{conversation}\n\n## Reply\n{response}\n\n## Mark\n")
    init(tmp_path / "run", overrides=[f"judge.rubric={mine}"])
    run = Run(tmp_path / "run")
    assert run.config.judge.rubric == "mine.txt"
    assert sorted(path.name for path in (run.root / "prompts").iterdir()) == [
        "instruction.txt", "mine.txt", "pairwise.txt",
    ]  # fmt: skip
    assert init(tmp_path / "run", overrides=[f"judge.rubric={mine}"]).already
    mine.write_text("changed later")
    with pytest.raises(UserError, match="made with a different --set"):
        init(tmp_path / "run", overrides=[f"judge.rubric={mine}"])
    asked = [{"role": "user", "content": "Why?"}]
    assert run.templates.judge(asked, "So.")[0]["content"].endswith("## Talk\nUser: Why?\n\n## Reply\nSo.\n\n## Mark")


def test_a_rubric_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("Score it from 0 to 5.\n{conversation}\n{respnse}\n")
    assert "mine.txt:3: unknown placeholder {respnse}" in refusal(
        tmp_path / "r", overrides=[f"judge.rubric={tmp_path / 'mine.txt'}"]
    )
    assert "gone.txt" in refusal(tmp_path / "r", overrides=["judge.rubric=gone.txt"])
    assert "needs {response}" in refusal(tmp_path / "r", overrides=["judge.rubric=pairwise.txt"])
    assert "{reference}" in refusal(tmp_path / "r", overrides=["judge.rubric=judge_reference.txt"])
    compared = (PROMPTS / "pairwise.txt").read_text().replace("{response_b}", "{response_b}\n{reference}")
    (tmp_path / "compared.txt").write_text(compared)
    pairwise = [f"judge.pairwise_rubric={tmp_path / 'compared.txt'}", "judge.mode=pairwise"]
    assert "{reference}" in refusal(tmp_path / "r", overrides=pairwise)
    shutil.copy(PROMPTS / "judge.txt", tmp_path / "instruction.txt")
    clash = f"judge.rubric={tmp_path / 'instruction.txt'}"
    assert "two templates are called instruction.txt" in refusal(tmp_path / "r", overrides=[clash])


def test_eft_on_another_scale_than_the_rubrics_is_refused(tmp_path: Path) -> None:
    said = refusal(tmp_path / "r", overrides=["judge.rubric=judge_1_10.txt"], eft=write_tens(tmp_path, "Score: 12"))
    assert "no score on the rubric's scale" in said
    init(tmp_path / "ten", overrides=["judge.rubric=judge_1_10.txt"], eft=write_tens(tmp_path, "Score: 9"))
    assert {row.score for row in read_rows(Run(tmp_path / "ten").seed("eft"), EFTRow)} == {9}


def write_tens(folder: Path, judgement: str) -> Path:
    path = folder / "tens.jsonl"
    score = int(judgement.split()[-1])
    rows = [
        {"prompt": f"Describe Peru {n}.", "response": "Lima.", "judgement": judgement, "score": score} for n in range(8)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
