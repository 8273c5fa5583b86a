"""Part `pictures`: from a JPEG photo of 12 megapixels to pixel values."""

import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from hq_sam_hf import HQSamProcessor
from hq_sam_hf.demo.session import SAMPLE_IMAGE
from hq_sam_hf.export.reference import build_original, import_original

from .contenders import Options, configuration, named
from .measuring import alternate, peaks
from .report import Row


def photo(size: tuple[int, int] = (4000, 3000)) -> Image.Image:
    return Image.open(SAMPLE_IMAGE).convert("RGB").resize(size, Image.Resampling.BICUBIC)


def measure(options: Options) -> list[Row]:
    config = configuration("vit_b")
    # Only the sizes and constants are used, so one block is enough.
    config.vision_config.num_hidden_layers, config.vision_config.global_attn_indexes = 1, [0]
    sam = build_original(config)
    transform = import_original().SamPredictor(sam).transform
    processor = HQSamProcessor.from_config(config)
    from transformers import SamImageProcessor

    transformers = SamImageProcessor()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photo.jpg"
        photo().save(path, quality=92)

        def original_pixels() -> torch.Tensor:
            image = transform.apply_image(np.array(Image.open(path).convert("RGB")))
            return sam.preprocess(torch.as_tensor(image).permute(2, 0, 1).contiguous()[None])

        tasks = named(
            lambda: processor.image_processor.preprocess(path)["pixel_values"],
            original_pixels,
            lambda: transformers(Image.open(path), return_tensors="pt")["pixel_values"],
        )
        difference = (tasks["ours"]() - original_pixels()).abs().max().item()
        agreement = f"pixels differ by {difference:.1g} where a grey level is 0.017"
        return [
            Row(
                "photo of 12 Mpx, JPEG, to pixels",
                alternate(tasks, options.rounds, options.clock),
                peaks(tasks, "cpu"),
                agreement,
            )
        ]
