"""The walks of docs/architecture.md are what the code does: the functions are called, in the order of the page."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from hq_sam_hf import HQSamPredictor
from hq_sam_hf.export import convert
from hq_sam_hf.training import train
from support.calls import calls_of
from support.hub_server import Hub, Repository
from support.oracle import SMALL, pair
from support.paths import ROOT, TESTS
from support.small_runs import save_base, small_run


def walk(title: str) -> list[str]:
    """The functions of a walk: the numbered items `1. `FILE: FUNCTION`` below its heading."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    section = page.split(f"### {title}\n")[1].split("\n#")[0]
    return re.findall(r"^\d+\. `([^`]+)`", section, re.MULTILINE)


def assert_called_in_order(called: list[str], functions: list[str]) -> None:
    assert len(functions) >= 6
    assert [name for name in functions if name not in called] == []
    assert sorted(functions, key=called.index) == functions


def test_the_walk_of_an_image_from_its_path_to_a_mask(photo_path):
    predictor = HQSamPredictor.from_pretrained(device="cpu")

    def predict() -> None:
        predictor.set_image(photo_path)
        predictor.predict(boxes=[165, 15, 415, 310])

    assert_called_in_order(calls_of(predict), walk("An image, from its path to a mask"))


def test_the_walk_of_a_mask_from_a_coco_file_to_the_loss(tmp_path):
    base = save_base(tmp_path / "base")
    Image.fromarray(np.zeros((64, 64, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    square = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[10, 10, 50, 10, 50, 50, 10, 50]]}
    image = {"id": 1, "file_name": "a.png", "height": 64, "width": 64}
    coco = {"images": [image], "annotations": [square], "categories": [{"id": 1, "name": "square"}]}
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    data = {"kind": "coco", "annotations": str(tmp_path / "coco.json"), "images": str(tmp_path)}
    config = small_run(base, tmp_path / "run", data=data, max_steps=1, batch_size=1)
    assert_called_in_order(calls_of(lambda: train(config)), walk("A mask, from a COCO file to the loss"))


LOAD = """
import json, sys
from support.calls import calls_of
from hq_sam_hf import HQSamModel
print(json.dumps(calls_of(lambda: HQSamModel.from_pretrained("org/files/sam_hq.pth"))))
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_walk_of_a_checkpoint_from_the_hub_to_the_model(tmp_path):
    pair(SMALL)[1].save_pretrained(tmp_path / "ours")
    convert(tmp_path / "ours", tmp_path / "sam_hq.pth")
    files = {"sam_hq.pth": (tmp_path / "sam_hq.pth").read_bytes()}
    with Hub({"org/files": Repository({"main": files})}) as hub:
        environment = {
            **os.environ,
            "HF_ENDPOINT": hub.address,
            "HF_HOME": str(tmp_path / "home"),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "NO_PROXY": "127.0.0.1",
            "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]),
        }
        command = [sys.executable, "-c", LOAD]
        result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert result.returncode == 0, result.stderr
    assert_called_in_order(json.loads(result.stdout.splitlines()[-1]), walk("A checkpoint, from the Hub to the model"))
