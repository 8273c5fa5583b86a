from pathlib import Path

import pytest

from hq_sam_hf.training.trainer import train
from support.small_runs import save_base, small_run


@pytest.fixture(scope="session")
def base(tmp_path_factory) -> Path:
    """The folder of a small HQ-SAM with random weights."""
    return save_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def finished_run(base, tmp_path_factory) -> Path:
    """The output folder of an uninterrupted run of four steps. Tests only read it."""
    return train(small_run(base, tmp_path_factory.mktemp("runs") / "finished")).parent
