"""How the GPUs of this machine are shared out among engines."""

import pytest

from srlm.engine.replicas import gpu_count, shares_of_devices
from srlm.errors import UserError


def test_gpus_are_shared_out_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("srlm.engine.replicas.gpu_count", lambda: 4)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7,5,3,1")
    assert shares_of_devices(2) == [{"CUDA_VISIBLE_DEVICES": "7,5"}, {"CUDA_VISIBLE_DEVICES": "3,1"}]
    with pytest.raises(UserError, match=r"engine\.replicas = 3 cannot share 4 GPUs"):
        shares_of_devices(3)


def test_the_gpus_are_those_that_torch_sees() -> None:
    import torch

    assert gpu_count() == torch.cuda.device_count()
