"""Turn a trained small HQ-SAM into the embedded checkpoint: half precision weights and a model card with results.

example: python conversion/ship_nano.py runs/nano/7_hq/final results/results.md src/hq_sam_hf/assets/nano
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from hq_sam_hf import HQSamModel, HQSamProcessor
from hq_sam_hf.export.model_cards import card_head
from hq_sam_hf.model.files import whole_folder
from hq_sam_hf.model.hq_head_files import hq_head_weights

CARD = """\
{front}
# HQ-SAM nano

A small HQ-SAM ("Segment Anything in High Quality", arXiv 2306.01567) inside the package hq-sam-hf. With it everything
runs offline and at once. It shows the paper's idea at a small scale; for real work use the published checkpoints.

* {total:,} weights, {head:,} of them in the HQ head. The model input size is {size} pixels, the patch size {patch}.
* Trained from random weights on images that `hq_sam_hf.scenes` generates: flat drawings of shapes and objects, plain
  and printed, with exact masks. It was not trained on any photo.
* The first runs train a plain SAM on coarsened masks, with boxes, points and corrective clicks. The last run freezes
  that SAM and trains the HQ head on exact masks with the paper's recipe and with single points; the head starts as
  SAM's own mask. `configs/nano/` has the configurations, with seeds, in the order of the runs.
* Weights are stored in half precision and loaded in float32.

## What it cannot do

It recognises edges, not objects. Objects that blend into their surroundings, textured or crowded photos and objects of
many parts get wrong or incomplete masks. Its scores are rough. A single click often selects another part than was
meant.
On drawings the HQ mask is better than SAM's. On photos its boundaries are finer where it finds the object, but SAM's
mask is a little better on average (docs/nano.md).

## Results

{results}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("results", type=Path, help="results.md of benchmarks/nano.py")
    parser.add_argument("destination", type=Path)
    arguments = parser.parse_args()
    model = HQSamModel.from_pretrained(arguments.source)
    HQSamProcessor.from_pretrained(arguments.source)
    vision = model.config.vision_config
    weights = load_file(arguments.source / "model.safetensors")
    stored = {name: tensor if "positional_embedding" in name else tensor.half() for name, tensor in weights.items()}
    assert all(torch.isfinite(tensor).all() for tensor in stored.values()), "a weight is too large for half precision"
    card = CARD.format(
        front=card_head(),
        total=sum(weight.numel() for weight in model.parameters()),
        head=sum(tensor.numel() for tensor in hq_head_weights(model).values()),
        size=vision.image_size,
        patch=vision.patch_size,
        results=arguments.results.read_text().strip(),
    )
    config = json.loads((arguments.source / "config.json").read_text())
    config["dtype"] = "float32"
    with whole_folder(arguments.destination) as folder:
        save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        (folder / "processor_config.json").write_bytes((arguments.source / "processor_config.json").read_bytes())
        (folder / "README.md").write_text(card)
    (arguments.destination / "model.safetensors").chmod(0o644)  # safetensors makes it readable only for its owner
    size = sum(file.stat().st_size for file in arguments.destination.iterdir())
    print(f"wrote {arguments.destination}, {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
