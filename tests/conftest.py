import gc
import os
import signal
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test may use the network
# torch brings one OpenMP pool and other libraries a second one. A pool that waits busily takes the other's cores.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
if "PYTEST_XDIST_WORKER" in os.environ:  # `pytest -n 2`: the processes share the cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from PIL import Image

import hq_sam_hf


def pytest_collection_finish() -> None:
    """Exclude what is imported by now from garbage collection, which takes a tenth of the time off."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def photo_path() -> Path:
    return Path(hq_sam_hf.__file__).parent / "assets" / "samples" / "coffee.jpg"


@pytest.fixture(scope="session")
def photo(photo_path: Path) -> Image.Image:
    """The sample photo, RGB, 600 x 400."""
    return Image.open(photo_path).convert("RGB")


@pytest.fixture
def with_ctrl_c():
    """Let Ctrl-C interrupt, as in the foreground: a process that a script starts in the background ignores it."""
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, earlier)
