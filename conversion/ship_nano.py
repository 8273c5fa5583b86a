"""Turn a trained small HQ-SAM into the embedded checkpoint: half precision, a card, its figures.

example: python conversion/ship_nano.py runs/nano/7_hq/final figures/figures.md src/hq_sam_hf/assets/nano
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from hq_sam_hf import HQSamModel, HQSamProcessor
from hq_sam_hf.export.model_cards import card_head
from hq_sam_hf.model.files import whole_folder
from hq_sam_hf.model.hq_head import hq_head_weights

CARD = """\
{front}
# HQ-SAM nano

A small HQ-SAM ("Segment Anything in High Quality", arXiv 2306.01567) that comes inside the package hq-sam-hf, so that
it works at once and offline. It shows the paper's idea in miniature; for real work take the published checkpoints.

* {total:,} weights, of which the HQ head has {head:,}; {size} pixels, patches of {patch}.
* Trained from random weights on pictures that `hq_sam_hf.scenes` draws: flat drawings of shapes and things, plain and
  printed, with exact masks. It has never seen a photo.
* First a plain SAM on coarsened masks, with boxes, points and corrective clicks; then, with that SAM frozen, the HQ
  head on exact masks by the paper's recipe, with single points too and begun as SAM's own mask. `configs/nano/` has
  the configurations, with seeds, in their order.
* Weights are stored in half precision and loaded in single.

## What it cannot do

It knows edges, not things: objects that blend into their surroundings, textured or crowded photos, and objects of many
parts come out wrong or in pieces. Its scores are rough. A single click is often taken for another part than was meant.
The HQ mask is better than SAM's on drawings. On photos its edges are finer where it finds the object, but over all
SAM's mask is a little better there (docs/nano.md).

## Figures

{figures}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("figures", type=Path, help="figures.md of benchmarks/nano.py")
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
        figures=arguments.figures.read_text().strip(),
    )
    config = json.loads((arguments.source / "config.json").read_text())
    config["dtype"] = "float32"
    with whole_folder(arguments.destination) as folder:
        save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        (folder / "processor_config.json").write_bytes((arguments.source / "processor_config.json").read_bytes())
        (folder / "README.md").write_text(card)
    (arguments.destination / "model.safetensors").chmod(0o644)  # safetensors makes it for the owner alone
    size = sum(file.stat().st_size for file in arguments.destination.iterdir())
    print(f"wrote {arguments.destination}, {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
