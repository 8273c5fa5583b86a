"""Images, a small model and shards for tests of labelling."""

import json
from pathlib import Path
from typing import Any

import datasets
from PIL import Image

from hq_sam_hf.inference.loading import ModelSpec
from hq_sam_hf.labelling import LabellerSpec
from support.images import random_image

# A coarse grid whose points nearly all give a mask with the small model.
GRID = {"points_per_side": 3, "pred_iou_thresh": 0.6, "stability_score_thresh": 0.5}


def write_images(folder: Path, count: int, size: tuple[int, int] = (40, 60)) -> Path:
    """Write 0.png, 1.png, ... of different heights, from (height, width) `size` on."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        Image.fromarray(random_image((size[0] + i, size[1]), seed=i)).save(folder / f"{i}.png")
    return folder


def small_spec(model_folder: Path, **fields: Any) -> LabellerSpec:
    """A labeller of the small model on one thread's worth of work; `fields` replace those of the specification."""
    defaults = {"generator_options": GRID, "multimask_output": True, "embeds": True}
    return LabellerSpec(ModelSpec(model_folder, device="cpu"), **{**defaults, **fields})


def load_rows(output: Path, cache: Path) -> datasets.Dataset:
    return datasets.load_dataset(str(output), split="train", cache_dir=str(cache))


def shards_of(output: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted((output / "data").glob("*.parquet"))}


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())
