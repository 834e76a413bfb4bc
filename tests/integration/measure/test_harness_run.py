"""`srlm eval --tasks` with the harness itself: which tasks are meant, what is wrong with them, and the figures."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from srlm.engine.load import LocalModel
from srlm.errors import UserError
from srlm.measure.harness.job import HarnessJob
from srlm.measure.harness.tasks import load, task_manager, task_names
from srlm.store import write_rows
from tests.helpers.capitals import CHOICE, HEAD, questions, srlm, write_tasks
from tests.helpers.run_folder import finished_run

pytest.importorskip("lm_eval")
from lm_eval.tasks import TaskManager

from srlm.measure.harness.__main__ import backend_arguments, counted_cuts, look


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    return write_tasks(tmp_path / "tasks")


def found(*asked: Path | str, limit: int | None = None, max_length: int = 512) -> dict[str, str]:
    """Task -> digest, as the child that only looks has it."""
    job = HarnessJob(
        asked=[str(item) for item in asked],
        limit=limit,
        few_shot=None,
        seed=1,
        max_length=max_length,
        measure=None,
    )
    tasks: dict[str, str] = look(job)["tasks"]
    return tasks


def test_a_folder_stands_for_all_its_tasks_and_a_file_for_its_own(tasks: Path) -> None:
    assert list(found(tasks)) == ["capitals_choice", "capitals_written"]
    assert list(found(tasks / "written.yaml", tasks / "written.yaml")) == [str(tasks / "written.yaml")]


def test_the_digest_is_that_of_what_is_asked(tasks: Path) -> None:
    before = found(tasks)
    assert found(tasks) == before
    short = found(tasks, limit=3)
    with (tasks / "capitals.jsonl").open("a") as file:
        file.write(json.dumps(questions()[0] | {"question": "And of Peru?"}) + "\n")
    after = found(tasks)
    assert all(after[name] != before[name] for name in before)
    assert found(tasks, limit=3) == short
    (tasks / "choice.yaml").write_text((tasks / "choice.yaml").read_text().replace("version: 3", "version: 4"))
    changed = found(tasks)
    assert [name for name in after if changed[name] != after[name]] == ["capitals_choice"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("task: [broken\nx: 1", r"bad.yaml:2: not valid YAML \(expected ',' or '\]'"),
        ("task: bad\noutput_type: nonsense" + HEAD, "bad: the task cannot be loaded"),
        (CHOICE.replace("capitals_choice", "bad") + HEAD.replace("DATA", "no-such-file.jsonl"), "current folder"),
        ("task: bad\ndataset_path: json\nprocess_docs: !function gone.f", "bad: the task cannot be loaded.*gone"),
        (CHOICE.replace("capitals_choice", "bad") + "unsafe_code: true" + HEAD, "bad runs code that the model wrote"),
        ("task: bad\ndataset_kwargs: {{x}: 1}", "bad.yaml: the task cannot be loaded"),
        ("just: settings", r"no task in its \*\.yaml files"),
    ],
)
def test_what_is_wrong_with_a_task_is_said_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    write_rows(tmp_path / "bad" / "data.jsonl", questions())
    (tmp_path / "bad" / "bad.yaml").write_text(text.replace("DATA", str(tmp_path / "bad" / "data.jsonl")))
    with pytest.raises(UserError, match=said) as raised:
        found(tmp_path / "bad")
    assert "\n" not in str(raised.value)


def test_two_files_with_one_name(tasks: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    shutil.copy(tasks / "choice.yaml", other)
    assert len(found(tasks, tasks / "choice.yaml")) == 3
    other.write_text(other.read_text().replace("version: 3", "version: 4"))
    with pytest.raises(UserError, match="a different task named capitals_choice"):
        found(tasks / "choice.yaml", other)
    shutil.copy(tasks / "choice.yaml", tasks / "copy.yaml")
    with pytest.raises(UserError, match="another file has a task of the same name"):
        found(tasks)


def test_the_python_beside_a_task_is_part_of_its_digest_and_no_address_is(tasks: Path) -> None:
    code = tasks / "code.py"
    code.write_text(
        "from functools import partial\n\ndef keep(docs, least):\n    return docs\n\npart = partial(keep, least=1)\n"
    )
    with (tasks / "choice.yaml").open("a") as file:
        file.write("process_docs: !function code.part\n")
    before = found(tasks)
    loaded = sys.modules[str(code.with_suffix(""))]  # kept, so that no new function takes the place of an old one
    os.utime(code, (1, 1))
    assert found(tasks) == before
    assert sys.modules[str(code.with_suffix(""))] is not loaded
    code.write_text(code.read_text().replace("return docs", "return docs.select(range(3))"))
    after = found(tasks)
    assert after["capitals_choice"] != before["capitals_choice"]
    (tasks / "helpers.py").write_text("LEAST = 1\n")
    assert found(tasks)["capitals_choice"] != after["capitals_choice"]


def test_replies_that_take_the_whole_context_are_refused(tasks: Path) -> None:
    assert found(tasks, max_length=33)
    with pytest.raises(UserError, match=r"capitals_written: replies of up to 32 tokens.*max_length") as raised:
        found(tasks, max_length=32)
    assert "\n" not in str(raised.value)
    (tasks / "written.yaml").write_text((tasks / "written.yaml").read_text().replace("max_gen_toks: 32, ", ""))
    with pytest.raises(UserError, match="up to 256 tokens"):
        found(tasks, max_length=256)


def test_what_is_refused_as_unsafe_was_not_run(tasks: Path, tmp_path: Path) -> None:
    (tasks / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n\ndef keep(docs):\n    return docs\n")
    with (tasks / "choice.yaml").open("a") as file:
        file.write("process_docs: !function code.keep\nunsafe_code: true\n")
    (tasks / "more.yaml").write_text("include: choice.yaml\ntask: more\n")
    for asked in (tasks, tasks / "choice.yaml", tasks / "more.yaml"):
        with pytest.raises(UserError, match="runs code that the model wrote"):
            found(asked)
    assert not (tmp_path / "ran").exists()


def test_a_folder_with_the_name_of_a_file(tasks: Path) -> None:
    (tasks / "old.yaml").mkdir()
    assert len(found(tasks)) == 2


def test_the_harness_loads_a_model_as_the_loop_does() -> None:
    extra: dict[str, object] = {"seed": 5, "dtype": "bfloat16"}
    model = LocalModel(model="org/base", revision="abc", max_length=64, arguments=extra)
    arguments = backend_arguments(model, seed=1)
    taken = {name: arguments[name] for name in ("pretrained", "revision", "tokenizer_revision", "seed", "dtype")}
    assert list(taken.values()) == ["org/base", "abc", "abc", 1, "bfloat16"]
    assert "model" not in arguments


def test_prompts_that_the_harness_cuts_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    from lm_eval.models.utils import maybe_truncate

    with counted_cuts() as cuts:
        for length in (4, 5, 6):
            maybe_truncate([7] * length, max_gen_toks=3, max_model_len=7)
    assert cuts.count == 2
    assert capsys.readouterr().err.count("Truncating") == 2  # still in the log


def test_a_group_stands_for_its_parts(tasks: Path) -> None:
    manager = task_manager([str(tasks)])
    assert task_names([str(tasks)], manager) == ["capitals_choice", "capitals_written"]
    (tasks / "both.yaml").write_text("group: capitals\ntask: [capitals_choice, capitals_written]\n")
    assert task_names([str(tasks)], TaskManager(include_path=str(tasks), include_defaults=False)) == ["capitals"]


def test_a_missing_path_and_a_task_whose_data_is_at_a_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no such file or folder"):
        task_manager([str(tmp_path / "nowhere.yaml")])
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    (tmp_path / "far.yaml").write_text("task: far\ndataset_path: nobody/nothing\ntest_split: test\ndoc_to_text: q\n")
    with pytest.raises(UserError, match="downloaded once"):
        load(str(tmp_path / "far.yaml"), task_manager([str(tmp_path / "far.yaml")]))


def test_a_name_that_the_harness_lacks_is_answered_with_the_nearest(tasks: Path) -> None:
    manager = task_manager([str(tasks)])
    with pytest.raises(UserError, match="did you mean capitals_choice"):
        task_names(["capitals_choise"], manager)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--tasks", "a", "--against", "M1"], "--tasks cannot be combined with --against or --prompts"),
        (["--limit", "3"], "name the tasks with --tasks"),
        (["--tasks", " , "], "no task is named"),
        (["--tasks", "./nowhere"], "nowhere: no such file or folder"),
    ],
)
def test_options_that_make_no_sense(tmp_path: Path, options: list[str], said: str) -> None:
    done = srlm("eval", finished_run(tmp_path / "r").root, *options)
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "r" / "tasks" / "M0.jsonl").exists()
