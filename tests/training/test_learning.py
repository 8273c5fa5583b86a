"""The commands of docs/training.md train an HQ head, from a plain SAM to an HQ mask with better boundaries."""

import json
import re
from pathlib import Path

import datasets
import pytest
import yaml

from hq_sam_hf import HQSamConfig
from hq_sam_hf.cli import main
from hq_sam_hf.utils.embedded import EMBEDDED
from support.paths import ROOT

pytestmark = pytest.mark.slow  # three minutes on two cores

DOCS = ROOT / "docs" / "training.md"


def train_as_documented(**fields) -> str:
    """Run the training of docs/training.md, with other values of `fields`, and return the folder of the model."""
    run = yaml.safe_load(
        re.search(r"^```\n(model: plain-sam\n.*?)^```", DOCS.read_text(), re.MULTILINE | re.DOTALL)[1]
    )
    run["data"]["size"] = HQSamConfig.from_pretrained("plain-sam").vision_config.image_size
    run |= fields
    Path("small.yaml").write_text(yaml.safe_dump(run))
    assert main(["train", "small.yaml"]) == 0
    return f"{run['output_dir']}/final"


def boundary_ious(model: str) -> dict[str, float]:
    """The mBIoU of SAM's mask and the HQ mask, on images of scene families that training does not use."""
    options = "--scenes 40 --split held_out --outputs sam,hq --batch-size 8 --device cpu -o report --worst 0"
    assert main(["evaluate", "--model", model, *options.split()]) == 0
    rows = json.loads(Path("report/evaluation.json").read_text())["summary"]
    return {row["output"]: row["mbiou"] for row in rows if row["set"] == "average"}


@pytest.fixture(autouse=True)
def plain_sam(tmp_path, monkeypatch):
    """Write the folder that the documented run starts from."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    assert main(["convert", str(EMBEDDED), "plain-sam", "--layout", "sam"]) == 0


def test_a_fresh_head_learns_better_boundaries_than_its_sam():
    untrained = boundary_ious(train_as_documented(output_dir="untrained", max_steps=1, learning_rate=1e-12))
    assert untrained["hq"] < untrained["sam"] - 10  # so the gain comes from training
    learned = boundary_ious(train_as_documented())
    assert learned["sam"] == pytest.approx(untrained["sam"], abs=0.01)  # SAM is frozen
    assert learned["hq"] > learned["sam"]


def test_a_head_that_starts_as_sams_mask_needs_fewer_steps():
    learned = boundary_ious(train_as_documented(hq_init="sam", max_steps=40))
    assert learned["hq"] > learned["sam"] + 2
