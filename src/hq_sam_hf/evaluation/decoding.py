"""Predictions of an evaluation: each image is encoded once, then every prompt is decoded for every output."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..data.prompt_simulation import next_click
from ..model.modeling_hq_sam import HQSamImageFeatures, HQSamModel
from ..model.prompt_batching import PromptArrays, pad_points, pad_prompts
from .dataset import PromptedImage, PromptTrial
from .prompts import Prompt
from .protocols import EvaluationProtocol

# The arguments of `HQSamModel.forward` that select each output.
OUTPUTS: dict[str, dict[str, bool]] = {"sam": {"sam_only": True}, "hq": {"hq_token_only": True}, "sum": {}}

# Prompts of an image that are decoded together. Each holds its own copy of the image embedding.
PROMPTS_AT_ONCE = 32


@dataclass
class Prediction:
    """The predicted masks of one prompt for one object, one per output.

    image, mask: positions of the image in the batch and of the object in the image.
    prompt: name of the prompt; for clicks with their number so far, such as "clicks-2".
    prompts: the prompt of each output. They differ for clicks, which depend on earlier predictions.
    masks: bool (O, H, W) at the image size, for O outputs. scores: the predicted IoU of each output.
    """

    image: int
    mask: int
    prompt: str
    trial: int
    prompts: list[Prompt]
    masks: Tensor
    scores: list[float]


@dataclass
class _Decoded:
    """Logits (P, m, m) and scores (P,) of each image, float32, for its P masks."""

    logits: list[Tensor]
    scores: list[Tensor]


def predict(
    model: HQSamModel,
    protocol: EvaluationProtocol,
    images: Sequence[PromptedImage],
    prompt_trials: Sequence[PromptTrial],
    outputs: Sequence[str],
    multimask_output: bool = False,
) -> Iterator[Prediction]:
    """Predict all masks of a batch of images from every prompt trial. Call it under `torch.no_grad`."""
    if not images:
        return
    pixel_values = torch.stack([image.prepared.pixel_values for image in images]).to(model.device)
    features = model.get_image_features(pixel_values)
    for plan, trial in prompt_trials:
        # For each output, a list of prompts per image.
        prompts = dict.fromkeys(outputs, [image.prompts[plan, trial] for image in images])
        previous: dict[str, list[Tensor] | None] = dict.fromkeys(outputs)
        for clicks in range(1, max(plan.count, 1) + 1) if plan.kind == "clicks" else (0,):
            decoded = {
                output: _decode(model, features, images, prompts[output], previous[output], output, multimask_output)
                for output in outputs
            }
            name = f"clicks-{clicks}" if clicks else plan.name
            yield from _predictions(protocol, images, prompts, decoded, name, trial)
            if clicks and clicks < plan.count:
                for output in outputs:
                    previous[output] = decoded[output].logits
                    prompts[output] = _with_next_clicks(protocol, images, prompts[output], decoded[output])


def _predictions(
    protocol: EvaluationProtocol,
    images: Sequence[PromptedImage],
    prompts: dict[str, list[list[Prompt]]],
    decoded: dict[str, _Decoded],
    name: str,
    trial: int,
) -> Iterator[Prediction]:
    for i, image in enumerate(images):
        for k in range(image.num_objects):
            logits = torch.stack([one.logits[i][k] for one in decoded.values()])
            yield Prediction(
                image=i,
                mask=k,
                prompt=name,
                trial=trial,
                prompts=[of_output[i][k] for of_output in prompts.values()],
                masks=protocol.image_masks(logits, image.prepared),
                scores=[one.scores[i][k].item() for one in decoded.values()],
            )


def _with_next_clicks(
    protocol: EvaluationProtocol,
    images: Sequence[PromptedImage],
    prompts: list[list[Prompt]],
    decoded: _Decoded,
) -> list[list[Prompt]]:
    """The prompts with one more click each, at the largest error; unchanged where a prediction has no error."""
    extended = []
    for image, of_image, logits in zip(images, prompts, decoded.logits):
        clicks = [
            next_click(protocol.prompt_mask(one, image.prepared), ground_truth)
            for one, ground_truth in zip(logits, image.prepared.prompt_masks)
        ]
        extended.append(
            [prompt if click is None else prompt.with_click(*click) for prompt, click in zip(of_image, clicks)]
        )
    return extended


def _decode(
    model: HQSamModel,
    features: HQSamImageFeatures,
    images: Sequence[PromptedImage],
    prompts: list[list[Prompt]],
    previous: list[Tensor] | None,
    output: str,
    multimask_output: bool,
) -> _Decoded:
    """Decode the prompts of a batch in chunks. previous: logits of each image, fed back as mask prompts."""
    counts = [len(of_image) for of_image in prompts]
    chunks = []
    for start in range(0, max(counts), PROMPTS_AT_ONCE):
        part = slice(start, start + PROMPTS_AT_ONCE)
        inputs = _model_inputs([of_image[part] for of_image in prompts], [one.prepared.prompt_scale for one in images])
        if previous is not None:
            longest = max(len(of_image[part]) for of_image in prompts)
            inputs["input_masks"] = pad_prompts([logits[part].cpu() for logits in previous], longest)
        inputs = {name: value.to(model.device) for name, value in inputs.items()}
        chunks.append(model(image_features=features, multimask_output=multimask_output, **inputs, **OUTPUTS[output]))
    # With `multimask_output` the candidates are sorted by score, so the first is the best.
    logits = torch.cat([chunk.pred_masks[:, :, 0] for chunk in chunks], dim=1).float()
    scores = torch.cat([chunk.iou_scores[:, :, 0] for chunk in chunks], dim=1).float()
    # Padded prompts come last.
    decoded = _Decoded(*([one[:count] for one, count in zip(values, counts)] for values in (logits, scores)))
    if not all(torch.isfinite(one).all() for one in decoded.logits):
        names = ", ".join(image.name for image in images)
        raise ValueError(
            f"The model's logits must be finite, but they are not for {names} (output {output!r}, {model.dtype}). Use "
            "float32 or bfloat16, or another checkpoint."
        )
    return decoded


def _model_inputs(prompts: Sequence[list[Prompt]], scales: Sequence[np.ndarray]) -> dict[str, Tensor]:
    """The prompts of a batch, all boxes or all masks or all points, padded and in model input coordinates.

    scales: for each image, `PreparedImage.prompt_scale`.
    """
    num_prompts = max(map(len, prompts))
    if any(prompt.mask_logits is not None for of_image in prompts for prompt in of_image):
        logits = [
            [prompt.mask_logits for prompt in of_image if prompt.mask_logits is not None] for of_image in prompts
        ]
        return {"input_masks": pad_prompts([torch.stack(one) if one else None for one in logits], num_prompts)}
    if any(prompt.box is not None for of_image in prompts for prompt in of_image):
        boxes = [
            np.array([prompt.box * np.tile(scale, 2) for prompt in of_image]).reshape(-1, 4)
            for of_image, scale in zip(prompts, scales)
        ]
        return {"input_boxes": pad_prompts(boxes, num_prompts)}
    points = [
        PromptArrays(
            points=[np.asarray(prompt.points * scale, dtype=np.float64) for prompt in of_image],
            labels=[prompt.labels for prompt in of_image],
        )
        for of_image, scale in zip(prompts, scales)
    ]
    coordinates, labels = pad_points(points, num_prompts)
    return {"input_points": coordinates, "input_labels": labels}


__all__ = ["OUTPUTS", "Prediction", "predict"]
