"""A launcher that starts fewer processes than it was asked for is not ignored by any command."""

from types import SimpleNamespace

import pytest
from accelerate import PartialState

from hq_sam_hf.utils.distributed import connect

# As `accelerate launch --num_processes 2 --cpu` sets it.
LAUNCHED = {"ACCELERATE_MIXED_PRECISION": "no", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (LAUNCHED, "asked for several processes, but it started a single one.*torchrun --nproc_per_node N"),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, r"one of 2 processes \(OMPI_COMM_WORLD_SIZE\) that are not connected"),
    ],
)
def test_processes_that_were_not_started_or_connected_are_refused(monkeypatch, variables, message):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=message):
        connect(lambda **options: SimpleNamespace(num_processes=1))


def test_a_single_process_needs_no_launcher(monkeypatch):
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, LAUNCHED[name])
    assert connect(PartialState).num_processes == 1
