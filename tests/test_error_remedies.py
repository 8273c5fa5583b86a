"""Errors about prompts, loading and inference: what each of them advises works, in a call that follows it.

A case is a call that fails, a pattern of its error, and a call that does what the error says. A pattern may have
groups: the second call gets them evaluated, so that it passes exactly what the message shows.
"""

import ast
import copy
import json
import re
import shlex
import shutil
import traceback
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import cpu_offload
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import pipeline

import hq_sam_hf
from hq_sam_hf import (
    HQSam2Processor,
    HQSamMaskGenerator,
    HQSamModel,
    HQSamPredictor,
    HQSamProcessor,
    ZeroShotDetector,
)
from hq_sam_hf.cli import main
from hq_sam_hf.inference.loading import load_model
from hq_sam_hf.inference.text import HQSamTextPredictor, split_labels
from hq_sam_hf.labelling.prompt_files import read_prompts
from hq_sam_hf.model.image_reading import load_image
from hq_sam_hf.model.modeling_hq_sam import HQSamImageFeatures
from support.images import random_image
from support.oracle import NARROW, SMALL, lively_pair, pair, save_folder
from support.oracle_sam2 import sam2_pair
from support.small_detectors import save_grounding_dino, save_owlvit

PACKAGE = Path(hq_sam_hf.__file__).parent
IMAGE = random_image((60, 90))
SIZE = (60, 90)
MASK = np.zeros(SIZE, dtype=bool)
MASK[10:40, 20:70] = True
BOX = [10, 5, 60, 50]
LOGITS = np.zeros((1, 32, 32), np.float32)


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> SimpleNamespace:
    return make_world(tmp_path_factory.mktemp("world"))


def changed_embedding(world: SimpleNamespace, size: list[int], **tensors: torch.Tensor) -> Path:
    """An embedding of the world's model with another claimed size or other tensors."""
    with safe_open(world.folder / "image.safetensors", "pt") as file:
        contents = {name: file.get_tensor(name) for name in file.keys()}
        metadata = {**file.metadata(), "original_size": json.dumps(size)}
    save_file(contents | tensors, world.folder / "changed.safetensors", metadata)
    return world.folder / "changed.safetensors"


def encode_again(world: SimpleNamespace) -> None:
    world.predictor.set_image(IMAGE)
    world.predictor.save_embedding(world.folder / "changed.safetensors")
    world.predictor.load_embedding(world.folder / "changed.safetensors")


def make_world(folder: Path) -> SimpleNamespace:
    """What the calls use: a predictor with an encoded image, and a folder with models, detectors and images."""
    model = lively_pair(SMALL)[1]
    processor = HQSamProcessor.from_config(model.config)
    predictor = HQSamPredictor(model, processor)
    predictor.set_image(IMAGE, "image")
    save_folder(model, folder / "model")
    save_grounding_dino(folder / "dino")
    save_owlvit(folder / "owl")
    Image.fromarray(IMAGE).save(folder / "image.png")
    predictor.save_embedding(folder / "image.safetensors")
    pipe = pipeline("mask-generation", model=model, image_processor=processor.image_processor, device="cpu")
    prompts = processor(IMAGE, input_points=[[[3, 4]]], input_boxes=[[BOX]])
    return SimpleNamespace(
        folder=folder,
        model=model,
        processor=processor,
        predictor=predictor,
        predict=predictor.predict,
        process=lambda **prompts: processor(IMAGE, **prompts),
        forward=lambda **inputs: model(prompts["pixel_values"], **inputs),
        prompts=prompts,
        embeddings=lambda: model.get_image_embeddings(prompts["pixel_values"]),
        embedded=lambda **others: {
            **dict(
                zip(
                    ("image_embeddings", "intermediate_embeddings"),
                    model.get_image_embeddings(prompts["pixel_values"]),
                )
            ),
            **others,
        },
        features=lambda: model.get_image_features(prompts["pixel_values"]),
        generator=lambda **options: HQSamMaskGenerator(model, processor, **{"points_per_side": 2, **options}),
        pipe=pipe,
        sam2=sam2_pair("small")[1],
    )


Case = tuple[Callable[..., Any], str, Callable[..., Any]]

PREDICT: dict[str, Case] = {
    "one point": (
        lambda w: w.predict(points=[30, 20]),
        r"`points` must be \[\[x, y\], ...\] for one object .* got 1 levels of nesting. Add a level of lists",
        lambda w: w.predict(points=[[30, 20]]),
    ),
    "a number": (
        lambda w: w.predict(boxes=3),
        "got 0 levels of nesting. Pass a list, array or tensor of numbers",
        lambda w: w.predict(boxes=np.array(BOX)),
    ),
    "a box with an image level": (
        lambda w: w.predict(boxes=[[BOX]]),
        r"`boxes` must be \[x1, y1, x2, y2\] for one object or a list of those .* Remove the outer or the inner level",
        lambda w: w.predict(boxes=[BOX]),
    ),
    "corners of several boxes": (
        lambda w: w.predict(boxes=np.array([BOX, BOX]).reshape(2, 2, 2)),
        "got 3 levels of nesting. Remove the outer or the inner level of lists",
        lambda w: w.predict(boxes=[BOX, BOX]),
    ),
    "a score after the box": (
        lambda w: w.predict(boxes=[[10, 5, 60, 50, 0.9]]),
        "A box is four numbers; leave out the rest, such as a score",
        lambda w: w.predict(boxes=[[10, 5, 60, 50]]),
    ),
    "a box from its corners": (
        lambda w: w.predict(boxes=[[10, 5], [60, 50]]),
        r"For a box from its two corners, pass boxes=(\[10, 5, 60, 50\])",
        lambda w, boxes: w.predict(boxes=boxes),
    ),
    "a box of three numbers": (
        lambda w: w.predict(boxes=[[10, 5, 60]]),
        "Give all four numbers of the box",
        lambda w: w.predict(boxes=[BOX]),
    ),
    "x, y, width, height": (
        lambda w: w.predict(boxes=[50, 20, 10, 15]),
        r"Is it \(x, y, width, height\)\? Then pass (50,20,60,35)\. If .* order, pass (10,15,50,20)\.",
        lambda w, from_size, ordered: w.predict(boxes=[from_size, ordered]),
    ),
    "corners in another order": (
        lambda w: w.predict(boxes=[50, 20, -1, 45]),
        r"If its corners are in another order, pass (-1,20,50,45)\.",
        lambda w, ordered: w.predict(boxes=ordered),
    ),
    "a box outside": (
        lambda w: w.predict(boxes=[BOX, [200, 5, 300, 50]]),
        "`boxes` must touch the image, .* the image is 90 wide and 60 high, .* Remove the box",
        lambda w: w.predict(boxes=[BOX]),
    ),
    "a point outside": (
        lambda w: w.predict(points=[[30.5, 70]]),
        r"`points` must lie inside the image, .* Remove the point, or move it inside, here to (30.5,60)\.",
        lambda w, point: w.predict(points=[point]),
    ),
    "a point of three numbers": (
        lambda w: w.predict(points=[[30, 20, 1]]),
        "A point is two numbers, x and y; leave out the rest",
        lambda w: w.predict(points=[[30, 20]]),
    ),
    "a point of one number": (
        lambda w: w.predict(points=[[30]]),
        "Give both x and y",
        lambda w: w.predict(points=[[30, 20]]),
    ),
    "points of mixed depth": (
        lambda w: w.predict(points=[[3, 4], [[5, 6]]]),
        r"`points` must be \[\[x, y\], ...\] for one object or .* for several; the image has 3",
        lambda w: w.predict(points=[[[3, 4]], [[5, 6]]]),
    ),
    "a number among objects": (
        lambda w: w.predict(points=[5, [[5, 6]]]),
        r"\[\[\[x, y\], ...\], ...\] for several; the image has 5",
        lambda w: w.predict(points=[[[5, 6]]]),
    ),
    "texts": (
        lambda w: w.predict(points=[["30", "20"]]),
        r"the image has \['30', '20'\]. Pass numbers",
        lambda w: w.predict(points=[[30, 20]]),
    ),
    "not finite": (
        lambda w: w.predict(boxes=[BOX, [float("nan")] * 4]),
        "all values must be finite, .* Remove what has no finite coordinates",
        lambda w: w.predict(boxes=[BOX]),
    ),
    "an object without a point": (
        lambda w: w.predict(points=[[], [[30, 20]]], boxes=[BOX, BOX]),
        r"Remove the object; or, .* in `boxes`, give it the point (\[0, 0\]) with the label (-10) in `labels`",
        lambda w, point, label: w.predict([[point], [[30, 20]]], [[label], [1]], [BOX, BOX]),
    ),
    "labels alone": (
        lambda w: w.predict(labels=[1]),
        "`labels` were given without `points`. Pass the points too, or omit the labels",
        lambda w: [w.predict([[3, 4]], [1]), w.predict()],
    ),
    "labels of empty points": (
        lambda w: w.predict([], [1]),
        "`points` has no points for it. Pass its points too, or None as its labels",
        lambda w: [w.predict([[3, 4]], [1]), w.predict([], None)],
    ),
    "too many labels": (
        lambda w: w.predict([[3, 4]], [1, 0]),
        r"the image has 1 points and the labels \[1, 0\]. Give one label per point",
        lambda w: w.predict([[3, 4]], [1]),
    ),
    "labels of one object for two": (
        lambda w: w.predict([[[3, 4]], [[5, 6]], [[7, 8]]], [1, 1]),
        "has 3 objects in `points`, its labels differ. Give a list of labels for each object",
        lambda w: w.predict([[[3, 4]], [[5, 6]], [[7, 8]]], [[1], [1], [1]]),
    ),
    "labels of box corners": (
        lambda w: w.predict([[10, 5], [60, 50]], [2, 3]),
        "`labels` must be 1 .* Pass boxes as `boxes`, not as labels 2 and 3",
        lambda w: w.predict(boxes=BOX),
    ),
    "one object and two": (
        lambda w: w.predict([[3, 4]], boxes=[BOX, BOX]),
        "1 in `points`, 2 in `boxes`. Give each object a prompt of every kind, or None as a whole kind",
        lambda w: [w.predict([[[3, 4]], [[5, 6]]], boxes=[BOX, BOX]), w.predict(None, boxes=[BOX, BOX])],
    ),
    "candidates as a mask": (
        lambda w: w.predict([[3, 4]], mask=LOGITS.repeat(3, axis=0)),
        r"Of several candidates choose one as `mask`, such as `logits\[:1\]`",
        lambda w: w.predict([[3, 4]], mask=LOGITS.repeat(3, axis=0)[:1]),
    ),
    "candidates of several objects": (
        lambda w: w.predict(boxes=[BOX, BOX], mask=np.zeros((2, 3, 32, 32), np.float32)),
        r"Choose one of the candidates, for example with `logits\[:, :1\]`",
        lambda w: w.predict(boxes=[BOX, BOX], mask=np.zeros((2, 3, 32, 32), np.float32)[:, :1]),
    ),
    "a float mask of the image": (
        lambda w: w.predict(mask=MASK.astype(np.float32)),
        "To pass a mask of the image's size, make it bool first, such as `mask > 0.5`",
        lambda w: w.predict(mask=MASK.astype(np.float32) > 0.5),
    ),
    "logits that are not finite": (
        lambda w: w.predict(mask=np.full((1, 32, 32), -np.inf)),
        r"replace these logits, such as with `numpy.nan_to_num\(logits, posinf=10, neginf=-10\)`",
        lambda w: w.predict(mask=np.nan_to_num(np.full((1, 32, 32), -np.inf), posinf=10, neginf=-10)),
    ),
    "an empty mask": (
        lambda w: w.predict(mask=np.zeros(SIZE, dtype=bool)),
        "Pass the mask of the object, or another kind of prompt",
        lambda w: [w.predict(mask=MASK), w.predict(boxes=BOX)],
    ),
    "a mask of another size": (
        lambda w: w.predict(mask=MASK[:30]),
        r"must have the size of their image, 60 x 90 \(height x width\) .* Resize them .* with nearest neighbours",
        lambda w: w.predict(mask=np.array(Image.fromarray(MASK[:30]).resize((90, 60), Image.Resampling.NEAREST))),
    ),
    "masks of two sizes": (
        lambda w: w.predict(mask=[MASK, MASK[:30]]),
        "all of the same size, .* Resize them to one size, with nearest neighbours",
        lambda w: w.predict(mask=[MASK, MASK]),
    ),
    "masks with one axis too many": (
        lambda w: w.predict(mask=[np.stack([MASK, MASK])[:, None]]),
        r"Remove other axes, such as with `masks\[:, 0\]`",
        lambda w: w.predict(mask=[np.stack([MASK, MASK])[:, None][:, 0]]),
    ),
    "an unknown image": (
        lambda w: w.predict(boxes=BOX, image="other"),
        "'other' has not been set or was dropped: .* Set it again",
        lambda w: [w.predictor.set_image(IMAGE, "other"), w.predict(boxes=BOX, image="other")],
    ),
    "no image": (
        lambda w: HQSamPredictor(w.model, w.processor).predict(),
        "No image has been set. Call `set_image` first",
        lambda w: [(new := HQSamPredictor(w.model, w.processor)).set_image(IMAGE), new.predict()],
    ),
    "an unknown kind of tensors": (
        lambda w: w.predict(boxes=BOX, return_tensors="tf"),
        "`return_tensors` must be '(np)' or '(pt)'",
        lambda w, *kinds: [w.predict(boxes=BOX, return_tensors=kind) for kind in kinds],
    ),
    "names that repeat": (
        lambda w: w.predictor.set_images([IMAGE, IMAGE], ["a", "a"]),
        "`names` must hold a different name for each of the 2 images",
        lambda w: w.predictor.set_images([IMAGE, IMAGE], ["a", "b"]),
    ),
    "more images than are kept": (
        lambda w: HQSamPredictor(w.model, w.processor, max_images=1).set_images([IMAGE, IMAGE]),
        "To keep more, make the predictor with a larger `max_images`",
        lambda w: HQSamPredictor(w.model, w.processor, max_images=2).set_images([IMAGE, IMAGE]),
    ),
    "no image at a time": (
        lambda w: w.predictor.set_images([IMAGE], batch_size=0),
        "`batch_size` must be at least (1)",
        lambda w, size: w.predictor.set_images([IMAGE], batch_size=size),
    ),
    "no image to keep": (
        lambda w: HQSamPredictor(w.model, w.processor, max_images=0),
        "`max_images` must be a positive integer",
        lambda w: HQSamPredictor(w.model, w.processor, max_images=1),
    ),
    "an image of another processor": (
        lambda w: HQSamPredictor(w.model, HQSamProcessor.from_config(pair(NARROW)[1].config)),
        "Load both from the same place, with the same `image_size`",
        lambda w: HQSamPredictor.from_pretrained(w.folder / "model", image_size=192, device="cpu"),
    ),
    "a processor of HQ-SAM 2": (
        lambda w: HQSamPredictor(w.model, HQSam2Processor.from_config(w.sam2.config)),
        "of the type hq_sam2, but the model is of the type hq_sam. Use HQSamProcessor, from the same place",
        lambda w: HQSamPredictor.from_pretrained(w.folder / "model", device="cpu"),
    ),
}

PROCESS: dict[str, Case] = {
    "one box": (
        lambda w: w.process(input_boxes=BOX),
        r"for a single box, pass \[\[\[x1, y1, x2, y2\]\]\].* `input_boxes` has 4 entries for 1 image",
        lambda w: w.process(input_boxes=[[BOX]]),
    ),
    "a box without the image level": (
        lambda w: w.process(input_boxes=[BOX]),
        r"for a single box, pass \[\[\[x1, y1, x2, y2\]\]\].* nested \[1\] deep",
        lambda w: w.process(input_boxes=[[BOX]]),
    ),
    "one list of boxes for two images": (
        lambda w: w.processor([IMAGE, IMAGE], input_boxes=[BOX, BOX]),
        r"for several images one such list of boxes each, \[\[\[x1, y1, x2, y2\]\], \[\[x1, y1, x2, y2\]\]\]",
        lambda w: w.processor([IMAGE, IMAGE], input_boxes=[[BOX], [BOX]]),
    ),
    "a set": (
        lambda w: w.process(input_boxes={1, 2}),
        r"for a single box, pass \[\[\[x1, y1, x2, y2\]\]\].*, got a set",
        lambda w: w.process(input_boxes=[[BOX]]),
    ),
    "a score after the box": (
        lambda w: w.process(input_boxes=[[[*BOX, 0.9]]]),
        "A box is four numbers; leave out the rest, such as a score",
        lambda w: w.process(input_boxes=[[BOX]]),
    ),
    "a box from its corners": (
        lambda w: w.process(input_boxes=[[[10, 5], [60, 50]]]),
        r"For a box from its two corners, pass input_boxes=(\[\[\[10, 5, 60, 50\]\]\])",
        lambda w, boxes: w.process(input_boxes=boxes),
    ),
    "points of one image for two": (
        lambda w: w.processor([IMAGE, IMAGE], input_points=[[[3, 4]]]),
        r"nested as \[image\]\[point\]\[x, y\] .* with None for an image without points; .* Give one per image",
        lambda w: w.processor([IMAGE, IMAGE], input_points=[[[3, 4]], None]),
    ),
    "an object without a point": (
        lambda w: w.process(input_points=[[[], [[3, 4]]]], input_boxes=[[BOX, BOX]]),
        r"has a box in `input_boxes`, give it the point (\[0, 0\]) with the label (-10) in `input_labels`",
        lambda w, point, label: w.process(
            input_points=[[[point], [[3, 4]]]], input_labels=[[[label], [1]]], input_boxes=[[BOX, BOX]]
        ),
    ),
    "masks of one image": (
        lambda w: w.process(input_masks=np.stack([MASK, MASK])),
        "got 2 entries for 1 image.* Put the masks of each image into a list of their own",
        lambda w: w.process(input_masks=[np.stack([MASK, MASK])]),
    ),
    "ground truth for fewer prompts": (
        lambda w: w.process(input_boxes=[[BOX, BOX]], segmentation_maps=[MASK]),
        "image 0 has 1 masks for 2 prompts. Give as many masks as prompts, or None for an image without ground truth",
        lambda w: [
            w.process(input_boxes=[[BOX, BOX]], segmentation_maps=[[MASK, MASK]]),
            w.process(input_boxes=[[BOX, BOX]], segmentation_maps=[None]),
        ],
    ),
    "no image": (
        lambda w: w.processor(input_boxes=[[BOX]]),
        "Pass the image, or its size to `prepare_prompts`",
        lambda w: w.processor.prepare_prompts([SIZE], input_boxes=[[BOX]]),
    ),
    "masks without sizes": (
        lambda w: w.processor.post_process_masks(torch.zeros(1, 1, 1, 32, 32), [SIZE]),
        r"takes \(outputs, inputs\) or \(masks, original_sizes, reshaped_input_sizes\)",
        lambda w: w.processor.post_process_masks(torch.zeros(1, 1, 1, 32, 32), [SIZE], [(85, 128)]),
    ),
    "outputs without their inputs": (
        lambda w: w.processor.post_process_masks(w.model(**w.prompts), {"pixel_values": 1}),
        "needs the inputs that this processor returned",
        lambda w: w.processor.post_process_masks(w.model(**w.prompts), w.prompts),
    ),
    "outputs of other inputs": (
        lambda w: w.processor.post_process_masks(
            w.model(**w.prompts), w.processor([IMAGE, IMAGE], input_boxes=[[BOX], [BOX]])
        ),
        "outputs for 1 images and inputs for 2. Pass the inputs that the outputs were made from",
        lambda w: w.processor.post_process_masks(w.model(**w.prompts), w.prompts),
    ),
    "base64": (
        lambda w: load_image("data:image/png;base64," + as_base64(w.folder / "image.png")),
        "got a data URI, .* Read it with `transformers.image_utils.load_image` and pass the image",
        lambda w: w.processor(
            image_of_transformers("data:image/png;base64," + as_base64(w.folder / "image.png")), input_boxes=[[BOX]]
        ),
    ),
}

FORWARD: dict[str, Case] = {
    "no image": (
        lambda w: w.model(input_boxes=torch.zeros(1, 1, 4)),
        "Exactly one of `pixel_values`, `image_embeddings`, `image_features` must be given, got none of them",
        lambda w: w.model(w.prompts["pixel_values"], input_boxes=torch.zeros(1, 1, 4)),
    ),
    "early embeddings with pixels": (
        lambda w: w.forward(intermediate_embeddings=w.embeddings()[1]),
        "`intermediate_embeddings` goes with `image_embeddings`; pass both or neither",
        lambda w: [w.model(**w.embedded()), w.forward()],
    ),
    "pixels of another size": (
        lambda w: w.model(torch.zeros(1, 3, 64, 64)),
        r"`pixel_values` must have shape \(images, 3, 128, 128\), .* Prepare images with the processor of this model",
        lambda w: w.model(w.processor(IMAGE)["pixel_values"]),
    ),
    "embeddings of another shape": (
        lambda w: w.model(**w.embedded(image_embeddings=w.embeddings()[0][0])),
        r"`image_embeddings` must have shape \(images, 64, 8, 8\)",
        lambda w: w.model(**w.embedded()),
    ),
    "no early embeddings": (
        lambda w: w.model(image_embeddings=w.embeddings()[0]),
        "Pass both results of `get_image_embeddings`, or use `get_image_features`",
        lambda w: [w.model(**w.embedded()), w.model(image_features=w.features())],
    ),
    "the embeddings of HQ-SAM 2 without its finer maps": (
        lambda w: w.sam2(image_embeddings=w.sam2.get_image_embeddings(torch.zeros(1, 3, 128, 128))[2]),
        r"the three tensors that `get_image_embeddings` returns, .* got \(1, 64, 8, 8\). Pass its whole result",
        lambda w: w.sam2(image_embeddings=w.sam2.get_image_embeddings(torch.zeros(1, 3, 128, 128))),
    ),
    "early embeddings of another image": (
        lambda w: w.model(**w.embedded(intermediate_embeddings=[torch.zeros(2, 8, 8, 48)])),
        r"`intermediate_embeddings\[0\]` must have shape .* It must come from the same call as `image_embeddings`",
        lambda w: w.model(**w.embedded()),
    ),
    "features without the HQ part": (
        lambda w: w.model(image_features=HQSamImageFeatures(image_embeddings=w.embeddings()[0])),
        "must hold image_embeddings and hq_features, as `get_image_features` returns them",
        lambda w: w.model(image_features=w.features()),
    ),
    "features of two images": (
        lambda w: w.model(
            image_features=HQSamImageFeatures(
                image_embeddings=w.features().image_embeddings, hq_features=torch.zeros(2, 8, 32, 32)
            )
        ),
        r"`image_features.hq_features` must have shape (\(1, 8, 32, 32\)) to go with its image_embeddings",
        lambda w, shape: w.model(
            image_features=HQSamImageFeatures(
                image_embeddings=w.features().image_embeddings, hq_features=torch.zeros(shape)
            )
        ),
    ),
    "ground truth of 0 and 255": (
        lambda w: w.forward(labels=torch.tensor(MASK)[None, None] * 255),
        r"`labels` must lie in \[0, 1\], or be negative throughout for a prompt without ground truth",
        lambda w: [
            w.forward(labels=torch.tensor(MASK)[None, None].float()),
            w.forward(
                input_boxes=torch.ones(1, 2, 4),
                labels=torch.stack([torch.tensor(MASK) * 1, torch.full(SIZE, -1)])[None],
            ),
        ],
    ),
    "ground truth for two prompts": (
        lambda w: w.forward(labels=torch.zeros(1, 2, 60, 90)),
        r"`labels` must have shape \(1, 1, height, width\): one mask per prompt",
        lambda w: w.forward(labels=torch.zeros(1, 1, 60, 90)),
    ),
    "lists": (
        lambda w: w.forward(input_boxes=[[BOX]]),
        r"`input_boxes` must be a tensor of shape \(images, prompts, 4\) .* The processor makes it of prompts",
        lambda w: w.forward(**w.processor.prepare_prompts([SIZE], input_boxes=[[BOX]])),
    ),
    "prompts of two images": (
        lambda w: w.forward(input_boxes=torch.zeros(2, 1, 4)),
        "`input_boxes` is for 2 images, but there are 1. Give one entry per image",
        lambda w: w.forward(input_boxes=torch.zeros(1, 1, 4)),
    ),
    "no prompt": (
        lambda w: w.forward(input_boxes=torch.zeros(1, 0, 4)),
        "holds no prompt: .* Leave it out instead",
        lambda w: w.forward(),
    ),
    "labels alone": (
        lambda w: w.forward(input_labels=torch.ones(1, 1, 1)),
        "Pass the points too, or omit the labels",
        lambda w: w.forward(input_points=torch.ones(1, 1, 1, 2), input_labels=torch.ones(1, 1, 1)),
    ),
    "labels of another shape": (
        lambda w: w.forward(input_points=torch.ones(1, 1, 1, 2), input_labels=torch.ones(1, 1)),
        r"`input_labels` must have shape (\(1, 1, 1\)), one label per point",
        lambda w, shape: w.forward(input_points=torch.ones(1, 1, 1, 2), input_labels=torch.ones(shape)),
    ),
    "one object and two": (
        lambda w: w.forward(input_points=torch.ones(1, 1, 1, 2), input_boxes=torch.ones(1, 2, 4)),
        "1 in `input_points`, 2 in `input_boxes`. Give each object a prompt of every kind, or omit a kind",
        lambda w: [
            w.forward(input_points=torch.ones(1, 2, 1, 2), input_boxes=torch.ones(1, 2, 4)),
            w.forward(input_boxes=torch.ones(1, 2, 4)),
        ],
    ),
}

GENERATE: dict[str, Case] = {
    "no points in a layer": (
        lambda w: w.generator(points_per_side=1, crop_n_layers=1, crop_n_points_downscale_factor=2),
        "Use more points or fewer layers",
        lambda w: [
            w.generator(points_per_side=2, crop_n_layers=1, crop_n_points_downscale_factor=2),
            w.generator(points_per_side=1, crop_n_layers=0, crop_n_points_downscale_factor=2),
        ],
    ),
    "two grids": (
        lambda w: w.generator(points_per_side=2, point_grids=[np.full((1, 2), 0.5)]),
        "Exactly one of `points_per_side` and `point_grids` must be given. Pass None for the other",
        lambda w: [
            w.generator(points_per_side=None, point_grids=[np.full((1, 2), 0.5)]),
            w.generator(points_per_side=2, point_grids=None),
        ],
    ),
    "a grid too few": (
        lambda w: w.generator(points_per_side=None, point_grids=[np.full((1, 2), 0.5)], crop_n_layers=1),
        r"`point_grids` must have a grid for each of 2 layers \(the image and 1 layers of crops\), got 1",
        lambda w: w.generator(points_per_side=None, point_grids=[np.full((1, 2), 0.5)] * 2, crop_n_layers=1),
    ),
    "a grid in pixels": (
        lambda w: w.generator(points_per_side=None, point_grids=[np.full((1, 2), 30)]),
        r"must be arrays \(points, 2\) of x, y in \[0, 1\]",
        lambda w: w.generator(points_per_side=None, point_grids=[np.full((1, 2), 30) / [90, 60]]),
    ),
    "an overlap of all": (
        lambda w: w.generator(crop_overlap_ratio=1),
        "`crop_overlap_ratio` must be from (0) to below 1",
        lambda w, ratio: w.generator(crop_overlap_ratio=ratio),
    ),
    "an unknown mode": (
        lambda w: w.generator(output_mode="rle"),
        "`output_mode` must be one of binary_mask, uncompressed_rle, coco_rle, polygons",
        lambda w: w.generator(output_mode="coco_rle"),
    ),
    "two candidates": (
        lambda w: w.generator(candidates=2),
        r"`candidates` must be (1) \(the best\) or (3) \(as SAM\)",
        lambda w, *numbers: [w.generator(candidates=number) for number in numbers],
    ),
    "crops of an encoded image": (
        lambda w: w.generator(crop_n_layers=1).generate_from_features(w.features(), SIZE),
        "`crop_n_layers` must be (0) for an encoded image. Call `generate` with the image instead",
        lambda w, number: [
            w.generator(crop_n_layers=number).generate_from_features(w.features(), SIZE),
            w.generator(crop_n_layers=1).generate(IMAGE),
        ],
    ),
    "half a point": (
        lambda w: w.generator(points_per_batch=0.5),
        "`points_per_batch` must be an integer of at least (1)",
        lambda w, number: w.generator(points_per_batch=number),
    ),
    "a threshold above 1": (
        lambda w: w.generator(box_nms_thresh=70),
        "`box_nms_thresh` must be a finite number from (0) to (1)",
        lambda w, *numbers: [w.generator(box_nms_thresh=number) for number in numbers],
    ),
    "an option that the pipeline lacks": (
        lambda w: w.pipe(IMAGE, crop_n_layer=0),
        "has no option `crop_n_layer`. It takes .*crop_n_layers",
        lambda w: w.pipe(IMAGE, crop_n_layers=0, points_per_side=1),
    ),
    "two images at a time": (
        lambda w: w.pipe([IMAGE, IMAGE], batch_size=2),
        "`batch_size` must be 1, got 2: .* Set `points_per_batch`",
        lambda w: w.pipe([IMAGE, IMAGE], batch_size=1, points_per_batch=2, points_per_side=1),
    ),
    "a text that is no image": (
        lambda w: w.pipe("none.png"),
        "A string must be the path of an image file, .* Correct the path, or pass a PIL image",
        lambda w: [
            w.pipe(str(w.folder / "image.png"), points_per_side=1),
            w.pipe(Image.open(w.folder / "image.png"), points_per_side=1),
        ],
    ),
}


def folder_without(w: SimpleNamespace, *names: str, rename: dict[str, str] | None = None) -> Path:
    """A copy of the model's folder without some files and with others renamed."""
    folder = w.folder / f"a folder without {' '.join(names or ('its', *rename))}"
    if not folder.exists():
        shutil.copytree(w.folder / "model", folder)
        for name in names:
            (folder / name).unlink()
        for name, new in (rename or {}).items():
            (folder / name).rename(folder / new)
    return folder


def load_after_conversion(w: SimpleNamespace, command: str) -> None:
    new = w.folder / "converted"
    assert main([str(new) if word == "NEW_FOLDER" else word for word in shlex.split(command)]) == 0
    assert HQSamModel.from_pretrained(new).config.vision_config.image_size == 128


def load_with_new_processor(w: SimpleNamespace) -> HQSamPredictor:
    folder = folder_without(w, "processor_config.json")
    HQSamProcessor.from_config(w.model.config).save_pretrained(folder)
    return HQSamPredictor.from_pretrained(folder, device="cpu")


LOAD: dict[str, Case] = {
    "no config.json": (
        lambda w: HQSamModel.from_pretrained(folder_without(w, "config.json")),
        "holds weights but no config.json, .* Copy the config.json that belongs .* derive it: `hq-sam (convert .*)`",
        load_after_conversion,
    ),
    "no config.json for the predictor": (
        lambda w: HQSamPredictor.from_pretrained(folder_without(w, "config.json"), device="cpu"),
        "Copy the config.json that belongs to them",
        lambda w: HQSamPredictor.from_pretrained(w.folder / "model", device="cpu"),
    ),
    "weights under another name": (
        lambda w: HQSamModel.from_pretrained(folder_without(w, rename={"model.safetensors": "sam_hq.safetensors"})),
        r"holds no model.safetensors, but sam_hq.safetensors. Load this file: ('.*')\.",
        lambda w, file: HQSamModel.from_pretrained(file),
    ),
    "no weights": (
        lambda w: HQSamModel.from_pretrained(folder_without(w, "model.safetensors")),
        "holds no weights .* Give the folder or file with them",
        lambda w: HQSamModel.from_pretrained(w.folder / "model"),
    ),
    "an HQ head alone": (
        lambda w: [w.model.save_hq_head(w.folder / "head"), HQSamModel.from_pretrained(w.folder / "head")],
        "Load the SAM that it was trained on, then pass this folder to its `load_hq_head`",
        lambda w: HQSamModel.from_pretrained(w.folder / "model").load_hq_head(w.folder / "head"),
    ),
    "no processor": (
        lambda w: HQSamProcessor.from_pretrained(folder_without(w, "processor_config.json")),
        r"holds no processor .* `HQSamProcessor.from_config\(model.config\)`, and save it there",
        load_with_new_processor,
    ),
    "an impossible name": (
        lambda w: load_model("no model: here"),
        "neither an existing folder or file nor a Hub repository, which is named ORGANISATION/NAME. Correct the name",
        lambda w: load_model(w.folder / "model", "cpu"),
    ),
    "a name longer than a file name": (
        lambda w: load_model("x" * 5000),
        r"\(5000 characters\) is neither .* Correct the name",
        lambda w: load_model(w.folder / "model", "cpu"),
    ),
    "an unknown device": (
        lambda w: load_model(w.folder / "model", "warp"),
        "`device` must be a device of this machine, such as '(cpu)'",
        lambda w, device: load_model(w.folder / "model", device),
    ),
    "an unknown dtype": (
        lambda w: load_model(w.folder / "model", "cpu", "int8"),
        "`dtype` must be one of (float32), (bfloat16), (float16)",
        lambda w, *dtypes: [load_model(w.folder / "model", "cpu", dtype) for dtype in dtypes],
    ),
    "an unknown option": (
        lambda w: HQSamPredictor.from_pretrained(w.folder / "model", images=3),
        "has no option `images`. Options of the class are (max_images);",
        lambda w, name: HQSamPredictor.from_pretrained(w.folder / "model", device="cpu", **{name: 3}),
    ),
    "an embedding that is not there": (
        lambda w: w.predictor.load_embedding(w.folder / "none.safetensors"),
        "is not a file. Correct the path, or save an embedding there",
        lambda w: w.predictor.load_embedding(w.folder / "image.safetensors"),
    ),
    "an embedding into no folder": (
        lambda w: w.predictor.save_embedding(w.folder / "new" / "image.safetensors"),
        "its folder does not exist. Create the folder first",
        lambda w: [(w.folder / "new").mkdir(), w.predictor.save_embedding(w.folder / "new" / "image.safetensors")],
    ),
    "a damaged embedding": (
        lambda w: [
            (w.folder / "cut.safetensors").write_bytes(b"x"),
            w.predictor.load_embedding(w.folder / "cut.safetensors"),
        ],
        "is not a complete safetensors file .* Save it again",
        lambda w: [
            w.predictor.save_embedding(w.folder / "cut.safetensors"),
            w.predictor.load_embedding(w.folder / "cut.safetensors"),
        ],
    ),
    "weights as an embedding": (
        lambda w: w.predictor.load_embedding(w.folder / "model" / "model.safetensors"),
        "is not an embedding .* Save one with `HQSamPredictor.save_embedding`",
        lambda w: w.predictor.load_embedding(w.folder / "image.safetensors"),
    ),
    "an embedding of no size": (
        lambda w: w.predictor.load_embedding(changed_embedding(w, [60, -90])),
        r"must be \[height, width\] in pixels, got .* Encode the image again",
        encode_again,
    ),
    "an embedding of a huge image": (
        lambda w: w.predictor.load_embedding(changed_embedding(w, [300_000, 300_000])),
        r"raise the limit: `load_embedding\(path, max_pixels=(\d+)\)`",
        lambda w, pixels: w.predictor.load_embedding(w.folder / "changed.safetensors", max_pixels=pixels),
    ),
    "an embedding of another shape": (
        lambda w: w.predictor.load_embedding(changed_embedding(w, [60, 90], hq_features=torch.zeros(2, 8, 8))),
        r"expected \(64, 8, 8\) and \(8, 32, 32\)\. Encode the image again",
        encode_again,
    ),
    "an embedding with infinite values": (
        lambda w: w.predictor.load_embedding(
            changed_embedding(w, [60, 90], hq_features=torch.full((8, 32, 32), float("inf")))
        ),
        "values that are not finite. Encode the image again",
        encode_again,
    ),
    "an embedding with an offloaded model": (
        lambda w: predictor_of(cpu_offload(copy.deepcopy(lively_pair(SMALL)[1]).eval(), "cpu")).load_embedding(
            w.folder / "image.safetensors"
        ),
        "is offloaded.* with a model whose `vision_encoder` and `mask_decoder` are in memory",
        lambda w: w.predictor.load_embedding(w.folder / "image.safetensors"),
    ),
    "an embedding of other weights": (
        lambda w: predictor_of(pair(SMALL)[1]).load_embedding(w.folder / "image.safetensors"),
        "was made by a model with other weights or another input size: .* Encode the image again",
        lambda w: predictor_of(pair(SMALL)[1]).set_image(IMAGE),
    ),
}


def predictor_of(model: HQSamModel) -> HQSamPredictor:
    return HQSamPredictor(model, HQSamProcessor.from_config(model.config))


def dino(w: SimpleNamespace, **options: Any) -> ZeroShotDetector:
    return ZeroShotDetector.from_pretrained(w.folder / "dino", "cpu", **options)


TEXT: dict[str, Case] = {
    "no label": (
        lambda w: split_labels(""),
        r'`text` must name objects, such as (\["dog", "leash"\]) or ("dog. leash."), got',
        lambda w, *texts: [split_labels(text) for text in texts],
    ),
    "None": (
        lambda w: HQSamTextPredictor(w.model, w.processor, dino(w)).predict(IMAGE, None),
        r'`text` must name objects, such as \["dog", "leash"\] .* got None',
        lambda w: HQSamTextPredictor(w.model, w.processor, dino(w)).predict(IMAGE, ["cup"]),
    ),
    "a full stop in a label": (
        lambda w: split_labels(["no. 5"]),
        "must not contain a full stop, which separates labels",
        lambda w: split_labels(["no 5"]),
    ),
    "a threshold above 1": (
        lambda w: dino(w, box_threshold=40),
        "`box_threshold` must be from 0 to (1)",
        lambda w, threshold: dino(w, box_threshold=threshold),
    ),
    "a threshold without effect": (
        lambda w: ZeroShotDetector.from_pretrained(w.folder / "owl", "cpu", text_threshold=0.5),
        "`text_threshold` has no effect with .* Omit it, or set `box_threshold`",
        lambda w: ZeroShotDetector.from_pretrained(w.folder / "owl", "cpu", box_threshold=0.5),
    ),
    "too many words": (
        lambda w: dino(w).detect(IMAGE, ["cup"] + [f"spoon {'red ' * 20}"]),
        "`text` is too long for the detector: .* Use fewer words",
        lambda w: dino(w).detect(IMAGE, ["cup", "spoon"]),
    ),
}


def read(w: SimpleNamespace, content: Any, name: str = "prompts.json") -> dict:
    path = w.folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_prompts(path)


PROMPT_FILES: dict[str, Case] = {
    "no file": (
        lambda w: read_prompts(w.folder / "none.csv"),
        "is not a file. Correct the path",
        lambda w: read(w, "image,box\nimage.png,1 2 3 4", "there.csv"),
    ),
    "another format": (
        lambda w: read(w, "", "prompts.xlsx"),
        r"Prompts are read from (\.csv) or (\.json) files, .* Save it as one of them",
        lambda w, csv, json: [
            read(w, "image,box\nimage.png,1 2 3 4", f"prompts{csv}"),
            read(w, [{"image": "image.png", "box": [1, 2, 3, 4]}], f"prompts{json}"),
        ],
    ),
    "no row": (
        lambda w: read(w, []),
        "holds no prompts. Give one row per object",
        lambda w: read(w, [{"image": "image.png", "box": [1, 2, 3, 4]}]),
    ),
    "JSON lines": (
        lambda w: read(w, '{"image": "image.png", "box": [1, 2, 3, 4]}\n' * 2),
        "It must be one list of objects, not one object per line",
        lambda w: read(w, [{"image": "image.png", "box": [1, 2, 3, 4]}] * 2),
    ),
    "one object": (
        lambda w: read(w, {"image": "image.png", "box": [1, 2, 3, 4]}),
        r"Put the objects into a list, \[{...}, {...}\]",
        lambda w: read(w, [{"image": "image.png", "box": [1, 2, 3, 4]}]),
    ),
    "a quote that does not end": (
        lambda w: read(w, 'image,box\nimage.png,"1 2 3 4', "prompts.csv"),
        "is not a CSV file in UTF-8 .* Save it again as such",
        lambda w: read(w, 'image,box\nimage.png,"1 2 3 4"', "prompts.csv"),
    ),
    "semicolons": (
        lambda w: read(w, "image;box\nimage.png;1 2 3 4", "prompts.csv"),
        "In CSV the first line names the columns, such as (image,box), with commas between them",
        lambda w, header: read(w, f"{header}\nimage.png,1 2 3 4", "prompts.csv"),
    ),
    "an unknown key": (
        lambda w: read(w, [{"image": "image.png", "bbox": [1, 2, 3, 4]}]),
        "unknown keys 'bbox'; the keys are image, (box), points",
        lambda w, key: read(w, [{"image": "image.png", key: [1, 2, 3, 4]}]),
    ),
    "commas in a cell": (
        lambda w: read(w, "image,box\nimage.png,1,2,3,4", "prompts.csv"),
        "Put spaces instead of commas between the numbers of a cell, or put the cell into quotes",
        lambda w: [
            read(w, "image,box\nimage.png,1 2 3 4", "prompts.csv"),
            read(w, 'image,box\nimage.png,"1,2,3,4"', "prompts.csv"),
        ],
    ),
    "no prompt": (
        lambda w: read(w, [{"image": "image.png"}]),
        "it has no prompt; give a box, points or a mask. `box` must be x1, y1, x2, y2, `points` must be x, y pairs",
        lambda w: read(
            w,
            [
                {"image": "image.png", **prompt}
                for prompt in ({"box": [1, 2, 3, 4]}, {"points": [[1, 2]]}, {"mask": "m"})
            ],
        ),
    ),
    "a number as a mask": (
        lambda w: read(w, [{"image": "image.png", "mask": 3}]),
        "`mask` must be text",
        lambda w: read(w, [{"image": "image.png", "mask": "3"}]),
    ),
    "an image in another folder": (
        lambda w: read(w, [{"image": "../image.png", "box": [1, 2, 3, 4]}]),
        "leads out of the folder .* name its folder with `--image-folder FOLDER`, or `(image_folder)` in Python",
        lambda w, name: read_prompts(w.folder / "prompts.json", **{name: w.folder.parent}),
    ),
    "a text as points": (
        lambda w: read(w, [{"image": "image.png", "points": "3 4"}]),
        r"`points` must be x, y pairs, .* Write \[\[x, y\], ...\] in JSON",
        lambda w: read(w, [{"image": "image.png", "points": [[3, 4]]}]),
    ),
    "labels of no points": (
        lambda w: read(w, [{"image": "image.png", "box": [1, 2, 3, 4], "labels": [1]}]),
        r"`labels` must hold one label per point, got \[1\] for 0 points",
        lambda w: read(w, [{"image": "image.png", "box": [1, 2, 3, 4], "labels": []}]),
    ),
    "another label": (
        lambda w: read(w, [{"image": "image.png", "points": [[3, 4]], "labels": [2]}]),
        r"`labels` must be (1) \(on the object\) or (0)",
        lambda w, *labels: [read(w, [{"image": "image.png", "points": [[3, 4]], "labels": [one]}]) for one in labels],
    ),
    "a box of five numbers": (
        lambda w: read(w, [{"image": "image.png", "box": [1, 2, 3, 4, 0.9]}]),
        "`box` must be x1, y1, x2, y2 in pixels",
        lambda w: read(w, [{"image": "image.png", "box": [1, 2, 3, 4]}]),
    ),
    "normalised": (
        lambda w: read(w, [{"image": "image.png", "box": [0.1, 0.1, 0.5, 0.5]}]),
        r"In pixels they are \[(\[9, 6, 45, 30\])\]; pass these",
        lambda w, box: read(w, [{"image": "image.png", "box": box}]),
    ),
}


def as_base64(path: Path) -> str:
    import base64

    return base64.b64encode(path.read_bytes()).decode()


def image_of_transformers(text: str) -> Image.Image:
    from transformers.image_utils import load_image as load

    return load(text)


TABLES = {
    "predict": PREDICT,
    "process": PROCESS,
    "forward": FORWARD,
    "generate": GENERATE,
    "load": LOAD,
    "text": TEXT,
    "prompt files": PROMPT_FILES,
}
CASES = [pytest.param(*case, id=f"{table}: {name}") for table, cases in TABLES.items() for name, case in cases.items()]


def error_of(world: SimpleNamespace, wrong: Callable[..., Any]) -> Exception:
    with torch.no_grad(), pytest.raises((ValueError, TypeError)) as caught:
        wrong(world)
    return caught.value


@pytest.mark.parametrize(("wrong", "advice", "right"), CASES)
def test_what_an_error_advises_works(world, wrong, advice, right):
    message = str(error_of(world, wrong))
    match = re.search(advice, message, re.DOTALL)
    assert match is not None, message
    with torch.no_grad():
        right(world, *map(literal, match.groups()))


def literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


CHECKED = [
    *(PACKAGE / "inference").glob("*.py"),
    PACKAGE / "labelling" / "prompt_files.py",
    *(PACKAGE / "model").glob("prompt_*.py"),
    *(PACKAGE / "model" / name for name in ("modeling_input_checks.py", "processing_hq_sam.py", "folder_checks.py")),
]


def test_every_error_of_these_modules_is_among_the_cases(tmp_path):
    """A new error needs a case here."""
    world = make_world(tmp_path)  # another one, because following advice changes it
    errors = [error_of(world, wrong) for cases in TABLES.values() for wrong, _, _ in cases.values()]
    errors += [error.__cause__ for error in errors if error.__cause__ is not None]
    frames = [frame for error in errors for frame in traceback.extract_tb(error.__traceback__)]
    raised = {(frame.filename, frame.lineno) for frame in frames}
    missing = []
    for path in CHECKED:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Raise) and node.exc is not None:
                lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
                if not any((str(path), line) in raised for line in lines):
                    missing.append(f"{path.name}:{node.lineno}")
    assert missing == []


@pytest.mark.parametrize(
    ("wrong", "advice", "option"),
    [
        (["--box", "50,20,10,15"], r"Then pass (50,20,60,35)\.", "--box"),
        (["--box", "50,20,10,15"], r"If its corners are in another order, pass (10,15,50,20)\.", "--box"),
        (["--point", "30.5,70"], r"move it inside, here to (30.5,60)\.", "--point"),
        (["--box", "0.1,0.1,0.5,0.5"], "In pixels they are (9,6,45,30); pass these", "--box"),
        (["--box", "1,2,30,40", "--box", "1,2,30,50", "--point", "3,4"], "omit the (points)", None),
    ],
)
def test_what_the_command_line_advises_works(world, wrong, advice, option, monkeypatch, capsys):
    monkeypatch.chdir(world.folder)
    command = ["segment", "image.png", "--model", "model", "-o", "command.png"]
    assert main([*command, *wrong]) == 1
    match = re.search(advice, capsys.readouterr().err)
    assert match is not None
    assert main([*command, option, match.group(1)] if option else [*command, *wrong[:-2]]) == 0
