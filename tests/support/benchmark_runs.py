"""Runs of benchmarks on the disk, with generated predictions in place of a model's."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hq_sam_hf.benchmarking.parts import BenchmarkImage, BenchmarkPart
from hq_sam_hf.benchmarking.predictions import write_shard
from hq_sam_hf.masks import rle_to_mask
from support.coco_objects import coco_objects, row, shifted

OUTPUTS = ("sam", "hq", "sum")


def coco_run(
    folder: Path, images: int = 8, name: str = "coco", seed: int = 0, categories: int = 5
) -> tuple[BenchmarkPart, dict[str, Any]]:
    """Images, ground truth and a shard of predictions. Returns the part and the options of the run.

    "hq" and "sum" are the generated predictions, "sam" the same moved by two pixels.
    """
    truth, rows = coco_objects(images, seed, categories)
    files = []
    random = np.random.default_rng(seed)
    for entry in truth["images"]:
        path = folder / "images" / name / entry["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        size = (entry["height"], entry["width"])
        Image.fromarray(random.integers(0, 255, (*size, 3), dtype=np.uint8)).save(path)
        files.append(BenchmarkImage(entry["id"], str(path), entry["file_name"], size))
    part = BenchmarkPart(name, files, truth)
    write_shard(folder / "run" / "predictions" / name, 0, with_outputs(rows))
    return part, options()


def with_outputs(rows: Sequence[dict[str, Any]]) -> list[Any]:
    """The rows of all outputs, in the order of images and prompts."""
    found = []
    for one in rows:
        for output in OUTPUTS:
            if output == "sam":
                mask = shifted(rle_to_mask(one), 2, 2)
                ids = {key: one[key] for key in ("annotation_id", "video_id", "frame", "track_id")}
                found.append(row(mask, one["image_id"], one["category_id"], one["score"], output=output, **ids))
            else:
                found.append({**one, "output": output})
    return found


def options(**changed: Any) -> dict[str, Any]:
    """The options of a run with a ViT-L and the usual settings of COCO."""
    usual = {"model": "some/model", "backbone": "vit_l", "benchmark": "coco", "prompts": "detections"}
    settings = {"max_dets": 100, "outputs": list(OUTPUTS), "protocol": "aspect", "limit": None, "image_size": 1024}
    return {**usual, **settings, "multimask_output": False, **changed}
