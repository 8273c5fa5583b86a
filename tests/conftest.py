import gc
import os
import signal
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test may reach for the network

import pytest
from PIL import Image

import hq_sam_hf


def pytest_collection_finish() -> None:
    """What has been imported stays, so the garbage collector need not look at it again: a tenth of the time."""
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
    """As in the foreground, whatever runs these tests: what scripts start in the background ignores Ctrl-C."""
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, earlier)
