"""A training step beside the original's: time in turns (A B A B), medians; peak memory over the weights.

The original's modules are those of its training code; the calls of its loop are repeated here one by one.

example: git clone https://github.com/SysCV/sam-hq && python benchmarks/training_step.py sam-hq/train
"""

import argparse
import importlib
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from golden.make_steps import import_original

from hq_sam_hf import HQSamConfig, HQSamModel
from hq_sam_hf.training_config import TrainingConfig
from hq_sam_hf.training_data import Batch
from hq_sam_hf.training_learners import MaskLearner

SIDE = 1024
PARTS = {"whole step": True, "all after the encoder": False}


def make_batch(images: int) -> Batch:
    generator = torch.Generator().manual_seed(0)
    masks = torch.zeros(images, 1, SIDE, SIDE)
    masks[:, :, 200:700, 300:800] = 1
    return Batch(
        images=torch.randint(0, 256, (images, 3, SIDE, SIDE), generator=generator).to(torch.uint8),
        masks=masks,
        boxes=torch.tensor([[[300.0, 200.0, 799.0, 699.0]]]).expand(images, 1, 4).contiguous(),
        points=None,
        labels=None,
        mask_prompts=None,
        seeds=torch.arange(images)[:, None],
        names=[],
        skipped=[],
    )


def ours(backbone: str, batch: Batch, with_encoder: bool) -> Callable[[], None]:
    torch.manual_seed(0)
    model = HQSamModel(HQSamConfig.from_preset(backbone))
    learner = MaskLearner(model, TrainingConfig(model="-", data="-", output_dir="-"), [0.485] * 3, [0.229] * 3)
    optimizer = torch.optim.Adam([weight for _, weight in learner.learned_parameters()], lr=1e-3)
    if not with_encoder:
        encoded = learner.encode(batch.images)
        learner.encode = lambda images: encoded  # type: ignore[method-assign]

    def step() -> None:
        loss = learner(batch)["loss"] / len(batch.images)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def original(folder: str, backbone: str, batch: Batch, with_encoder: bool) -> Callable[[], None]:
    training, loss_mask = import_original(folder)
    registry = importlib.import_module("segment_anything_training").sam_model_registry
    torch.manual_seed(0)
    sam = registry[backbone](checkpoint=None).eval()
    with tempfile.TemporaryDirectory() as place:
        os.makedirs(f"{place}/pretrained_checkpoint")
        torch.save(sam.mask_decoder.state_dict(), f"{place}/pretrained_checkpoint/sam_{backbone}_maskdecoder.pth")
        home = os.getcwd()
        os.chdir(place)
        net = training.MaskDecoderHQ(backbone)
        os.chdir(home)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    pictures = [
        {"image": image, "boxes": boxes, "original_size": (SIDE, SIDE)}
        for image, boxes in zip(batch.images, batch.boxes)
    ]
    if not with_encoder:
        with torch.no_grad():
            encoded = sam.image_encoder(torch.stack([sam.preprocess(one["image"]) for one in pictures]))
        sam.image_encoder.forward = lambda images: encoded
    labels = batch.masks * 255

    def step() -> None:
        with torch.no_grad():
            answers, early = sam(pictures, multimask_output=False)
        masks = net(
            image_embeddings=torch.cat([one["encoder_embedding"] for one in answers]),
            image_pe=[one["image_pe"] for one in answers],
            sparse_prompt_embeddings=[one["sparse_embeddings"] for one in answers],
            dense_prompt_embeddings=[one["dense_embeddings"] for one in answers],
            multimask_output=False,
            hq_token_only=True,
            interm_embeddings=early,
        )
        bce, dice = loss_mask.loss_masks(masks, labels / 255.0, len(masks))
        optimizer.zero_grad()
        (bce + dice).backward()
        optimizer.step()

    return step


def peak(step: Callable[[], None]) -> float:
    """MiB of resident memory that two steps need at most beyond what is there before them."""
    status = Path("/proc/self/status").read_text()
    before = int(status.split("VmRSS:")[1].split()[0])
    step()
    step()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("original", help="the folder train/ of the original repository")
    parser.add_argument("--backbone", default="vit_b", choices=("vit_b", "vit_l", "vit_h"))
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory-of", choices=("ours", "original"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    batch = make_batch(arguments.images)
    make = {
        "ours": lambda with_encoder: ours(arguments.backbone, batch, with_encoder),
        "original": lambda with_encoder: original(arguments.original, arguments.backbone, batch, with_encoder),
    }
    if arguments.memory_of:
        print(f"{peak(make[arguments.memory_of](True)):.0f}")
        return
    threads = torch.get_num_threads()
    print(f"{arguments.backbone}, {arguments.images} images of {SIDE} pixels, float32, {threads} threads, ", end="")
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}\n")
    print("| | original | ours | ratio |\n|---|---:|---:|---:|")
    for part, with_encoder in PARTS.items():
        steps = {name: maker(with_encoder) for name, maker in make.items()}
        times: dict[str, list[float]] = {name: [] for name in steps}
        for turn in range(arguments.rounds + 1):
            for name in ("original", "ours"):
                start = time.perf_counter()
                steps[name]()
                if turn > 0:  # the first is for warming up
                    times[name].append(time.perf_counter() - start)
        theirs, own = (statistics.median(times[name]) for name in ("original", "ours"))
        print(f"| {part}, s | {theirs:.2f} | {own:.2f} | {theirs / own:.2f} |", flush=True)
        del steps
    memory = {}
    for name in ("original", "ours"):
        command = [sys.executable, *sys.argv, "--memory-of", name]
        memory[name] = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])
    print(f"| peak over the weights, MiB | {memory['original']:.0f} | {memory['ours']:.0f} | ", end="")
    print(f"{memory['original'] / memory['ours']:.2f} |")


if __name__ == "__main__":
    main()
