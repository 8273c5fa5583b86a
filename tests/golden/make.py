"""Write golden.npz: outputs of the original's training code for small inputs.

    pip install opencv-python-headless
    git clone https://github.com/SysCV/sam-hq
    python tests/golden/make.py sam-hq/train

The file stores only outputs of the original, no code. Its random numbers are replaced by numbers that are stored too,
or by `even_points` if they are many; the tests compute those again.
"""

import importlib
import importlib.machinery
import random
import sys
import types
from pathlib import Path
from unittest import mock

import numpy as np
import torch

HERE = Path(__file__).parent


def even_points(masks: int, count: int, start: int = 0) -> torch.Tensor:
    """Points (masks, count, 2) spread evenly over [0, 1)^2, different for each mask: the R2 sequence."""
    index = np.arange(start, start + masks * count, dtype=np.float64)[:, None] + 1
    ratio = 1.32471795724474602596
    points = (0.5 + index * np.array([1 / ratio, 1 / ratio**2])) % 1
    return torch.from_numpy(points.astype(np.float32)).reshape(masks, count, 2)


def import_original(folder: str) -> tuple[types.ModuleType, types.ModuleType, types.ModuleType]:
    """Import the original's utils.misc, utils.loss_mask and utils.dataloader, without torchvision and scikit-image."""
    sys.path.insert(0, folder)
    names = ("skimage", "skimage.io", "torchvision", "torchvision.transforms", "torchvision.utils")
    for name in (*names, "torchvision.transforms.functional"):
        stand_in = types.ModuleType(name)
        stand_in.__spec__ = importlib.machinery.ModuleSpec(name, None)
        stand_in.__version__ = "0.20.0"
        stand_in.normalize = None
        sys.modules[name] = stand_in
        if "." in name:
            setattr(sys.modules[name.rpartition(".")[0]], name.rpartition(".")[2], stand_in)
    return tuple(importlib.import_module(f"utils.{name}") for name in ("misc", "loss_mask", "dataloader"))


def blob(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    radius = rng.uniform(2, max(3, min(height, width) / 2))
    return (y - rng.uniform(0, height)) ** 2 + (x - rng.uniform(0, width)) ** 2 < radius**2


def metric_masks(rng: np.random.Generator, kind: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and ground truth: blobs, some cut by the border; empty, full, one pixel, a border strip, noise."""
    ground_truth = blob(rng, height, width)
    shifted = np.roll(ground_truth, tuple(rng.integers(-3, 4, 2)), (0, 1))
    empty, full = np.zeros_like(ground_truth), np.ones_like(ground_truth)
    pixel = empty.copy()
    pixel[rng.integers(height), rng.integers(width)] = True
    strip = empty.copy()
    strip[:, : rng.integers(1, width + 1)] = True
    noise = rng.random(ground_truth.shape) < 0.5
    pairs = [
        (shifted, ground_truth),
        (empty, ground_truth),
        (full, ground_truth),
        (pixel, ground_truth),
        (ground_truth, pixel),
        (strip, ground_truth),
    ]
    pairs += [(noise, ground_truth), (full, full), (pixel, pixel), (ground_truth, full), (ground_truth, empty)]
    return pairs[kind % len(pairs)]


def metrics(misc: types.ModuleType, rng: np.random.Generator, out: dict[str, np.ndarray]) -> None:
    sizes, bits, values, boxes = [], [], [], []
    for i in range(200):
        # Beyond a diagonal of 75 pixels a boundary is two pixels wide.
        height, width = (int(side) for side in rng.integers(8, 72, 2))
        pred, ground_truth = metric_masks(rng, i, height, width)
        if not (pred | ground_truth).any():
            ground_truth[0, 0] = True  # the original has no value for two empty masks
        logits = torch.from_numpy(pred)[None].float() * 2 - 1
        labels = torch.from_numpy(ground_truth)[None].to(torch.uint8) * 255
        values.append([misc.mask_iou(logits, labels).item(), misc.boundary_iou(labels, logits).item()])
        boxes.append(misc.masks_to_boxes(labels.float())[0].numpy())
        sizes.append((height, width))
        bits.append(np.packbits(np.stack([pred, ground_truth])))
    out["metrics_sizes"], out["metrics_values"] = np.array(sizes, np.int16), np.array(values, np.float32)
    out["metrics_bits"], out["metrics_boxes"] = np.concatenate(bits), np.array(boxes, np.float32)


def jitters(dataloader: types.ModuleType, rng: np.random.Generator, out: dict[str, np.ndarray]) -> None:
    size = 24
    draws, images, masks = [], [], []
    # Larger and smaller than the output, portrait and landscape, flipped and not.
    shapes = ((20, 30, 0.3), (20, 30, 1.9), (35, 11, 1.4), (32, 32, 1.0), (10, 45, 0.5), (17, 16, 0.77))
    for i, (height, width, scale) in enumerate(shapes):
        image, mask = rng.integers(0, 256, (height, width, 3), dtype=np.uint8), blob(rng, height, width)
        sample = {"imidx": i, "shape": torch.tensor((height, width))}
        sample["image"] = torch.from_numpy(image).float().permute(2, 0, 1)
        sample["label"] = torch.from_numpy(mask)[None].float() * 255
        offsets: list[float] = []

        def randint(low: int, high: int, offsets: list[float] = offsets) -> int:
            value = int(rng.integers(low, high))
            offsets.append((value + 0.5) / high)
            return value

        uniform = (torch.tensor([scale]) - 0.1) / (2.0 - 0.1)
        flip = i % 2 == 0
        with (
            mock.patch.object(random, "random", lambda flip=flip: 0.9 if flip else 0.1),
            mock.patch.object(torch, "rand", lambda *_, uniform=uniform: uniform),
            mock.patch.object(np.random, "randint", randint),
        ):
            result = dataloader.LargeScaleJitter(size)(dataloader.RandomHFlip()(sample))
        scale = (uniform * (2.0 - 0.1) + 0.1).item()
        draws.append([flip, scale, *offsets])
        images.append(result["image"].numpy())
        masks.append(result["label"].numpy()[0])
        out[f"jitter_image_{i}"], out[f"jitter_mask_{i}"] = image, mask
    out["jitter_draws"] = np.array(draws)
    out["jitter_images"], out["jitter_masks"] = np.stack(images), np.stack(masks)


def noise(misc: types.ModuleType, rng: np.random.Generator, out: dict[str, np.ndarray]) -> None:
    masks = np.stack([*(blob(rng, 80, 80) for _ in range(4)), np.zeros((80, 80), bool), np.ones((80, 80), bool)])
    draws = rng.standard_normal((len(masks), 1, 40, 40)).astype(np.float32)
    labels = torch.from_numpy(masks)[:, None].float() * 255
    small = torch.nn.functional.interpolate(labels, size=(40, 40), mode="bilinear")
    with mock.patch.object(torch, "randn", return_value=torch.from_numpy(draws)):
        out["noisy_masks"] = misc.masks_noise(small).numpy()[:, 0].astype(np.uint8)
    out["noise_masks"], out["noise_draws"] = masks, draws[:, 0]

    boxes = np.array([[10, 20, 700, 900], [0, 0, 1023, 1023], [500, 500, 500, 500], [3, 900, 60, 1000]], np.float32)
    uniform = rng.random((2, *boxes.shape)).astype(np.float32)
    moved = []
    for i, scale in enumerate((0.2, 0.4)):
        with (
            mock.patch.object(torch, "rand_like", lambda *_, i=i: torch.from_numpy(uniform[i])),
            mock.patch.object(torch.Tensor, "cuda", lambda self: self),
        ):
            moved.append(misc.box_noise(torch.from_numpy(boxes), scale).numpy())
    out["boxes"], out["box_draws"], out["boxes_moved"] = boxes, uniform, np.stack(moved)


def losses(loss_mask: types.ModuleType, rng: np.random.Generator, out: dict[str, np.ndarray]) -> None:
    logits = torch.from_numpy(rng.normal(0, 3, (4, 1, 16, 16)).astype(np.float32)).requires_grad_()
    masks = np.stack([blob(rng, 40, 40), np.zeros((40, 40), bool), np.ones((40, 40), bool), blob(rng, 40, 40)])
    labels = torch.from_numpy(masks)[:, None].float()
    labels[3] *= 0.7  # soft
    starts = iter((0, 10**6))

    def rand(masks: int, count: int, *_: int, **__: object) -> torch.Tensor:
        return even_points(masks, count, next(starts))

    with mock.patch.object(torch, "rand", rand):
        bce, dice = loss_mask.loss_masks(logits, labels, len(logits))
    (bce + dice).backward()
    out["loss_logits"], out["loss_masks"] = logits.detach().numpy(), labels.numpy()
    out["loss_values"], out["loss_grad"] = np.array([bce.item(), dice.item()], np.float32), logits.grad.numpy()


def main() -> None:
    misc, loss_mask, dataloader = import_original(sys.argv[1])
    out: dict[str, np.ndarray] = {}
    rng = np.random.default_rng(0)
    metrics(misc, rng, out)
    jitters(dataloader, rng, out)
    noise(misc, rng, out)
    losses(loss_mask, rng, out)
    np.savez_compressed(HERE / "golden.npz", **out)


if __name__ == "__main__":
    main()
