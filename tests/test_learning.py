"""Training learns: with the commands that a user has, from a plain SAM to an HQ mask with better boundaries."""

import json

import datasets
import pytest
import yaml

from hq_sam_hf import HQSamConfig
from hq_sam_hf.cli import main
from hq_sam_hf.embedded import EMBEDDED

pytestmark = pytest.mark.slow  # two minutes on two cores

# configs/nano/4_hq.yaml in small: boxes alone, fewer pictures.
RUN = {
    "model": "plain-sam",
    "data": {"kind": "scenes", "count": 100_000, "labels": "exact", "seed": 4},
    "prompts": ["box"],
    "masks_per_image": 3,
    "scales": None,
    "batch_size": 4,
    "accumulation": 1,
    "max_steps": 120,
    "learning_rate": 3e-3,
    "schedule": "cosine",
    "warmup_steps": 10,
    "max_grad_norm": 1.0,
    "seed": 4,
    "num_workers": 1,
}


def trained(**fields) -> str:
    side = HQSamConfig.from_pretrained("plain-sam").vision_config.image_size
    run = {**RUN, "data": {**RUN["data"], "size": side}, **fields}
    with open("run.yaml", "w") as file:
        yaml.safe_dump(run, file)
    assert main(["train", "run.yaml"]) == 0
    return f"{run['output_dir']}/final"


def boundary_ious(model: str) -> dict[str, float]:
    """mBIoU of SAM and of the HQ mask on pictures of families that training does not draw."""
    arguments = [
        "--scenes",
        "40",
        "--split",
        "held_out",
        "--outputs",
        "sam,hq",
        "--batch-size",
        "8",
        "--device",
        "cpu",
    ]
    assert main(["evaluate", "--model", model, *arguments, "-o", "report", "--worst", "0"]) == 0
    with open("report/evaluation.json") as file:
        rows = json.load(file)["summary"]
    return {row["output"]: row["mbiou"] for row in rows if row["set"] == "average"}


def test_a_fresh_head_learns_better_boundaries_than_the_sam_that_it_is_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    assert main(["convert", str(EMBEDDED), "plain-sam", "--layout", "sam"]) == 0
    untrained = boundary_ious(trained(output_dir="untrained", max_steps=1, learning_rate=1e-12))
    assert untrained["hq"] < untrained["sam"] - 10  # so what follows is training's doing
    learned = boundary_ious(trained(output_dir="learned"))
    assert learned["sam"] == untrained["sam"]  # which stays as it was
    assert learned["hq"] > learned["sam"]
