"""What a user may pass to vLLM, and what is refused in one line."""

import pytest

from srlm.engine.vllm import check_names
from srlm.errors import UserError

KNOWN = {"tensor_parallel_size", "data_parallel_size", "model", "max_num_seqs"}


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ({"tensor_parallel": 2}, "unknown key tensor_parallel: did you mean tensor_parallel_size"),
        ({"model": "x"}, "model cannot be set"),
        ({"data_parallel_size": 8}, "data_parallel_size cannot be set: set engine.replicas"),
    ],
)
def test_arguments_that_are_refused(extra: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        check_names(extra, KNOWN)


def test_arguments_that_pass() -> None:
    check_names({"tensor_parallel_size": 4, "data_parallel_size": 1, "max_num_seqs": 8}, KNOWN)
