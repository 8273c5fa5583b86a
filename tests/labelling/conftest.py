"""The small model of the labelling tests."""

import pytest
import torch

from support.labelling import small_spec
from support.oracle import SMALL, lively_pair, save_folder


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    return save_folder(lively_pair(SMALL)[1], tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def labeller(model_folder):
    """A labeller that is loaded once for all tests."""
    return small_spec(model_folder).load()


@pytest.fixture
def one_thread():
    """PyTorch on one thread, as engines have it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
