"""Part `training`: a training step of the HQ head with batch size 2, with and without the image encoder."""

import importlib.machinery
import os
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import torch
from torch import Tensor

from hq_sam_hf.training.batch import Batch
from hq_sam_hf.training.objectives import HQHeadObjective, ModelWithLoss

from .contenders import Contenders, Options, build, named, worst_gradient
from .measuring import alternate, peaks
from .report import Row

BATCH = 2


def measure(options: Options) -> list[Row]:
    if options.original_train is None:
        return [Row("training step", agreement="skipped: name a checkout of the original with --original-train")]
    contenders = build(options)
    side = contenders.side
    images = torch.randint(0, 256, (BATCH, 3, side, side), generator=torch.Generator().manual_seed(3))
    images = images.to(torch.uint8)
    masks = torch.zeros(BATCH, 1, side, side)
    masks[:, :, side // 5 : side // 2, side // 4 : 3 * side // 4] = 1
    box = torch.tensor([side / 4, side / 5, 3 * side / 4 - 1, side / 2 - 1])
    ours = OurStep(contenders, images, masks, box)
    original = OriginalStep(contenders, Path(options.original_train), options.backbone, images, masks, box)
    rows = []
    agreement = f"gradients differ by {_difference(ours, original, contenders):.1g} of their size"
    for work, rounds in (
        ("training step, batch 2, encoder included", options.rounds),
        ("its decoder part", 2 * options.rounds),
    ):
        if work == "its decoder part":
            ours.keep_encoded()
            original.keep_encoded()
        tasks = named(ours, original)
        rows.append(Row(work, alternate(tasks, rounds, options.clock), peaks(tasks, options.device), agreement))
        agreement = ""
    return rows


class OurStep:
    def __init__(self, contenders: Contenders, images: Tensor, masks: Tensor, box: Tensor) -> None:
        mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
        self.module = ModelWithLoss(contenders.ours, HQHeadObjective(), mean, std)
        self.module.train()
        boxes, seeds = box.expand(BATCH, 1, 4), torch.arange(BATCH)[:, None]
        self.batch = Batch(images, masks, boxes, None, None, None, seeds, [""] * BATCH, [])
        self.optimizer = torch.optim.Adam([weight for _, weight in self.module.trained_parameters()], lr=1e-3)

    def __call__(self) -> None:
        self.optimizer.zero_grad()
        (self.module(self.batch)["loss"] / BATCH).backward()
        self.optimizer.step()

    def keep_encoded(self) -> None:
        encoded = self.module.encode(self.batch.images)
        self.module.encode = lambda images: encoded  # type: ignore[method-assign]


class OriginalStep:
    """The body of the training loop in the original's train/train.py, with its functions."""

    def __init__(
        self, contenders: Contenders, checkout: Path, backbone: str, images: Tensor, masks: Tensor, box: Tensor
    ) -> None:
        train, self.loss_masks, registry = _import(checkout)
        weights = contenders.original.state_dict()
        self.sam = registry[backbone](None).eval()
        self.sam.load_state_dict({name: weights[name] for name in self.sam.state_dict()})
        self.net = _decoder(train, self.sam, backbone)
        prefix = "mask_decoder."
        self.net.load_state_dict({n.removeprefix(prefix): w for n, w in weights.items() if n.startswith(prefix)})
        self.net.train()
        size = tuple(images.shape[-2:])
        self.inputs = [{"image": image, "boxes": box[None], "original_size": size} for image in images]
        self.labels = 255 * masks
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=1e-3)

    def masks(self) -> Tensor:
        with torch.no_grad():
            outputs, intermediate = self.sam(self.inputs, multimask_output=False)
        return self.net(
            image_embeddings=torch.cat([output["encoder_embedding"] for output in outputs]),
            image_pe=[output["image_pe"] for output in outputs],
            sparse_prompt_embeddings=[output["sparse_embeddings"] for output in outputs],
            dense_prompt_embeddings=[output["dense_embeddings"] for output in outputs],
            multimask_output=False,
            hq_token_only=True,
            interm_embeddings=intermediate,
        )

    def __call__(self) -> None:
        masks = self.masks()
        loss = sum(self.loss_masks(masks, self.labels / 255.0, len(masks)))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def keep_encoded(self) -> None:
        with torch.no_grad():
            pixels = torch.stack([self.sam.preprocess(each["image"]) for each in self.inputs])
            encoded = self.sam.image_encoder(pixels)
        self.sam.image_encoder.forward = lambda images: encoded


def _difference(ours: OurStep, original: OriginalStep, contenders: Contenders) -> float:
    """The largest relative difference of a weight's gradient, for the same random weighted sum of the logits."""
    batch = ours.batch
    encoded = ours.module.encode(batch.images)
    mine = contenders.ours(**encoded, input_boxes=batch.boxes, hq_token_only=True).pred_masks[:, 0]
    loss_weights = torch.randn(mine.shape, generator=torch.Generator().manual_seed(5))
    (mine * loss_weights).sum().backward()
    (original.masks() * loss_weights).sum().backward()
    return worst_gradient(contenders, original.net, "mask_decoder.")


def _import(checkout: Path) -> tuple[Any, Any, Any]:
    """Import train/train.py, its loss and its models. Mocks replace the libraries for drawing and reading files."""
    folder = checkout / "train" if (checkout / "train").is_dir() else checkout
    if not (folder / "train.py").is_file():
        raise SystemExit(f"--original-train must be a checkout of SysCV/sam-hq, but {folder} has no train.py.")
    for name in (
        "cv2",
        "matplotlib",
        "matplotlib.pyplot",
        "skimage",
        "torchvision",
        "torchvision.transforms",
        "torchvision.transforms.functional",
    ):
        stand_in = MagicMock(__spec__=importlib.machinery.ModuleSpec(name, None), __version__="0.20")
        sys.modules.setdefault(name, stand_in)
    sys.path.insert(0, str(folder))
    import train  # type: ignore[import-not-found]
    from segment_anything_training import sam_model_registry  # type: ignore[import-not-found]
    from utils.loss_mask import loss_masks  # type: ignore[import-not-found]

    return train, loss_masks, sam_model_registry


def _decoder(train: Any, sam: Any, backbone: str) -> Any:
    """Build its MaskDecoderHQ, whose constructor reads a file at a fixed path below the working folder."""
    here = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "pretrained_checkpoint"
        target.mkdir()
        torch.save(sam.mask_decoder.state_dict(), target / f"sam_{backbone}_maskdecoder.pth")
        os.chdir(folder)
        try:
            return train.MaskDecoderHQ(backbone)
        finally:
            os.chdir(here)
