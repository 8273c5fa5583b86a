"""Part `prompts`: decode prompts on an encoded image."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from hq_sam_hf import HQSamPredictor
from hq_sam_hf.export.reference import import_original, run_original

from .contenders import Contenders, Options, build, named
from .measuring import alternate, peaks
from .part_pictures import photo
from .report import Row


class Encoded:
    """The embedding of one image, in the form that each contender keeps."""

    def __init__(self, contenders: Contenders, options: Options) -> None:
        self.contenders, self.options = contenders, options
        pixels = torch.randn(1, 3, contenders.side, contenders.side, generator=torch.Generator().manual_seed(1))
        pixels = pixels.to(options.device, options.torch_dtype)
        self.embeddings = contenders.ours.get_image_embeddings(pixels)
        self.features = contenders.ours.get_image_features(pixels)

    def tasks(self, points: Tensor | None = None, boxes: Tensor | None = None) -> dict[str, Callable[[], tuple]]:
        """Tasks that return logits and scores for points (P, N, 2) or boxes (P, 4), one mask per prompt."""
        points, boxes = (None if each is None else each.to(self.options.device) for each in (points, boxes))
        batch = {
            "input_points": None if points is None else points[None],
            "input_boxes": None if boxes is None else boxes[None],
        }
        labelled = None if points is None else (points, torch.ones(points.shape[:2], device=points.device))
        embeddings, intermediate = self.embeddings

        def decode_ours() -> tuple:
            output = self.contenders.ours(image_features=self.features, **batch, multimask_output=False)
            return output.pred_masks[0], output.iou_scores[0]

        def decode_original() -> tuple:
            with _autocast(self.options):
                return run_original(
                    self.contenders.original, None, labelled, boxes, encoded=(embeddings, list(intermediate))
                )

        def decode_transformers() -> tuple:
            output = self.contenders.transformers(  # type: ignore[misc]
                image_embeddings=embeddings,
                intermediate_embeddings=list(intermediate),
                **batch,
                multimask_output=False,
            )
            return output.pred_masks[0], output.iou_scores[0]

        # The original's prompt encoder does not support half precision; that of transformers mixes dtypes and fails.
        half = self.options.dtype != "float32"
        without = self.contenders.transformers is None or half
        return named(decode_ours, decode_original, None if without else decode_transformers)


@contextmanager
def _autocast(options: Options) -> Iterator[None]:
    with torch.autocast(options.device, dtype=options.torch_dtype, enabled=options.dtype != "float32"):
        yield


@torch.no_grad()
def measure(options: Options) -> list[Row]:
    contenders = build(options)
    encoded, side = Encoded(contenders, options), contenders.side
    if options.dtype != "float32":
        contenders.original.float()
    generator = torch.Generator().manual_seed(2)
    points = torch.rand(64, 1, 2, generator=generator) * side
    corners = (torch.rand(1000, 2, 2, generator=generator) * side).sort(dim=1).values.flatten(1)

    rows = []
    for work, tasks, rounds in (
        ("one click on a cached image", encoded.tasks(points=points[:1]), 4 * options.rounds),
        ("16 boxes on a cached image", encoded.tasks(boxes=corners[:16]), options.rounds),
        ("64 points on a cached image", encoded.tasks(points=points), max(2, options.rounds // 2)),
    ):
        rows.append(
            Row(work, alternate(tasks, rounds, options.clock), peaks(tasks, options.device), _agreement(tasks))
        )
    rows.append(_first_click(encoded, points[:1], options))
    if options.dtype == "float32" and options.device == "cpu":
        rows.append(_click_on_photo(contenders, options))
    thousand = {"ours": encoded.tasks(boxes=corners)["ours"]}
    rows.append(Row("1000 boxes on one image", alternate(thousand, 1, options.clock), peaks(thousand, options.device)))
    return rows


def _agreement(tasks: dict[str, Callable[[], tuple]]) -> str:
    (ours, our_scores), (theirs, their_scores) = tasks["ours"](), tasks["original"]()
    difference = (ours.float() - theirs.float()).abs().max()
    scores = (our_scores.float() - their_scores.float()).abs().max()
    return f"logits {difference:.1g} where they reach {theirs.abs().max():.2g}, scores {scores:.1g}"


def _first_click(encoded: Encoded, points: Tensor, options: Options) -> Row:
    """The first prompt on a new embedding, for which nothing is cached yet."""
    embeddings, intermediate = encoded.embeddings
    points = points.to(options.device)

    def first() -> object:
        return encoded.contenders.ours(
            image_embeddings=embeddings,
            intermediate_embeddings=intermediate,
            input_points=points[None],
            multimask_output=False,
        )

    tasks = {**encoded.tasks(points=points), "ours": first}
    return Row(
        "first click on a new embedding",
        alternate(tasks, 2 * options.rounds, options.clock),
        peaks(tasks, options.device),
    )


def _click_on_photo(contenders: Contenders, options: Options) -> Row:
    """A click with the predictor on a photo of 12 megapixels that is already set, to the mask at its full size."""
    image = np.asarray(photo())
    ours = HQSamPredictor(contenders.ours, contenders.processor)
    original = import_original().SamPredictor(contenders.original)
    ours.set_image(image)
    original.set_image(image)
    point, label = np.array([[2000, 1300]]), np.array([1])
    tasks = named(
        lambda: ours.predict(points=point, labels=label, multimask_output=False)[0],
        lambda: original.predict(point_coords=point, point_labels=label, multimask_output=False)[0],
    )
    differing = int((np.asarray(tasks["ours"]()).reshape(3000, 4000) != tasks["original"]()[0]).sum())
    agreement = f"{differing} of 12,000,000 pixels differ"
    return Row(
        "one click, to the mask of a photo of 12 Mpx",
        alternate(tasks, 2 * options.rounds, options.clock),
        peaks(tasks, "cpu"),
        agreement,
    )
