"""Write steps.npz: the HQ weights after five optimizer steps of the original's training code.

    git clone https://github.com/SysCV/sam-hq
    python tests/golden/make_steps.py sam-hq/train

The original's training decoder, loss and optimizer run on the weights of `fill` and the inputs of `step_data`. Both
are made from names and seeds, so that tests can make them again. Of the original, only its results are stored.
"""

import importlib
import os
import sys
import tempfile
import types
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

HERE = Path(__file__).parent
GRID, SIDE = 16, 256  # side of the embedding grid, and of the image in pixels
IMAGES, STEPS = 4, 5
KEPT = 16  # values that are stored of every weight


def fill(name: str, shape: tuple[int, ...]) -> Tensor:
    """Random weights by their original name. They have the size of trained weights, and none is zero or one."""
    values = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
    if len(shape) == 1:
        is_norm_weight = name.endswith("weight")
        return torch.from_numpy(0.1 * values + np.float32(is_norm_weight))
    if shape[0] == 1 or "tokens" in name:  # embeddings
        return torch.from_numpy(values)
    return torch.from_numpy(values / np.sqrt(np.prod(shape[1:], dtype=np.float32)))


def step_data(step: int) -> dict[str, Tensor]:
    """The inputs of a step: embeddings, first intermediate embeddings, boxes and masks of four images."""
    rng = np.random.default_rng(step)
    corners = rng.uniform(20, 230, (IMAGES, 2, 2)).astype(np.float32)
    boxes = np.concatenate([corners.min(1), corners.max(1) + 8], axis=1)
    y, x = np.mgrid[:SIDE, :SIDE]
    centre, radius = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    inside = [((x - c[0]) / r[0]) ** 2 + ((y - c[1]) / r[1]) ** 2 < 1 for c, r in zip(centre, radius)]
    return {
        "embeddings": torch.from_numpy(rng.standard_normal((IMAGES, 256, GRID, GRID)).astype(np.float32)),
        "early": torch.from_numpy(rng.standard_normal((IMAGES, GRID, GRID, 768)).astype(np.float32)),
        "boxes": torch.from_numpy(boxes),
        "masks": torch.from_numpy(np.stack(inside)[:, None].astype(np.float32)),
    }


def evenly_spaced(values: Tensor) -> np.ndarray:
    """`KEPT` values of a tensor."""
    flat = values.detach().flatten()
    return flat[torch.linspace(0, len(flat) - 1, KEPT).long()].numpy()


def import_original(folder: str) -> tuple[types.ModuleType, types.ModuleType]:
    """Import the original's training and loss modules, with stand-ins for libraries that the steps do not use."""
    sys.path.insert(0, folder)

    class Anything(types.ModuleType):
        __version__ = "0.20.0"
        __path__: list[str] = []

        def __getattr__(self, name: str) -> object:
            if name.startswith("__"):
                raise AttributeError(name)
            return lambda *_, **__: lambda cls: cls

    for name in (
        "skimage",
        "skimage.io",
        "torchvision",
        "torchvision.transforms",
        "torchvision.transforms.functional",
    ):
        sys.modules[name] = Anything(name)
    for name in (
        "torchvision.utils",
        "cv2",
        "matplotlib",
        "matplotlib.pyplot",
        "timm",
        "timm.models",
        "timm.models.layers",
    ):
        sys.modules[name] = Anything(name)
    sys.modules["timm.models.registry"] = Anything("timm.models.registry")
    return importlib.import_module("train"), importlib.import_module("utils.loss_mask")


def main() -> None:
    training, loss_mask = import_original(sys.argv[1])
    parts = importlib.import_module("segment_anything_training.modeling")
    prompt_encoder = parts.PromptEncoder(256, (GRID, GRID), (SIDE, SIDE), 16)
    plain = parts.MaskDecoder(
        transformer_dim=256, transformer=parts.TwoWayTransformer(2, 256, 8, 2048), num_multimask_outputs=3
    )
    with tempfile.TemporaryDirectory() as folder:
        os.makedirs(f"{folder}/pretrained_checkpoint")
        torch.save(plain.state_dict(), f"{folder}/pretrained_checkpoint/sam_vit_b_maskdecoder.pth")
        home = os.getcwd()
        os.chdir(folder)
        net = training.MaskDecoderHQ("vit_b")
        os.chdir(home)
    for module, prefix in ((net, "mask_decoder."), (prompt_encoder, "prompt_encoder.")):
        module.load_state_dict({name: fill(prefix + name, t.shape) for name, t in module.state_dict().items()})
    trained = {name: weight for name, weight in net.named_parameters() if weight.requires_grad}
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, betas=(0.9, 0.999), eps=1e-08, weight_decay=0)
    losses = []
    for step in range(STEPS):
        data = step_data(step)
        with torch.no_grad():
            prompts = [prompt_encoder(points=None, boxes=box[None], masks=None) for box in data["boxes"]]
            position = prompt_encoder.get_dense_pe()
        masks = net(
            image_embeddings=data["embeddings"],
            image_pe=[position] * IMAGES,
            sparse_prompt_embeddings=[sparse for sparse, _ in prompts],
            dense_prompt_embeddings=[dense for _, dense in prompts],
            multimask_output=False,
            hq_token_only=True,
            interm_embeddings=[data["early"]],
        )
        torch.manual_seed(step)
        bce, dice = loss_mask.loss_masks(masks, data["masks"], IMAGES)
        optimizer.zero_grad()
        (bce + dice).backward()
        optimizer.step()
        losses.append([bce.item(), dice.item()])
    out = {name: evenly_spaced(weight) for name, weight in trained.items()}
    np.savez_compressed(HERE / "steps.npz", losses=np.array(losses), **out)


if __name__ == "__main__":
    main()
