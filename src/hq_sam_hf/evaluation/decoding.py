"""What a model answers to the prompts of an evaluation: one pass of the encoder, then every prompt and output."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..data.prompt_simulation import next_click
from ..model.modeling_hq_sam import HQSamImageFeatures, HQSamModel
from ..model.prompt_batching import PromptArrays, pad_points, pad_prompts
from .dataset import Picture, Question
from .prompts import Prompt
from .protocols import EvaluationProtocol

# How `HQSamModel.forward` is asked for each output.
OUTPUTS: dict[str, dict[str, bool]] = {"sam": {"sam_only": True}, "hq": {"hq_token_only": True}, "sum": {}}

# Prompts of a picture that are decoded together; each holds its own copy of the picture's embedding.
PROMPTS_AT_ONCE = 32


@dataclass
class Answer:
    """The answer to one question about one mask: masks of the picture, bool (O, H, W), and scores, for O outputs.

    picture, mask: positions in the batch and in the picture. prompt: name of the question; of clicks, with their
    number so far. asked: the prompt of each output in the frame of prompts; clicks differ from output to output.
    """

    picture: int
    mask: int
    prompt: str
    trial: int
    asked: list[Prompt]
    masks: Tensor
    scores: list[float]


@dataclass
class _Decoded:
    """Per picture: logits (P, m, m) and scores (P,), float32, for the P masks of a picture."""

    logits: list[Tensor]
    scores: list[Tensor]


def answer(
    model: HQSamModel,
    protocol: EvaluationProtocol,
    pictures: Sequence[Picture],
    questions: Sequence[Question],
    outputs: Sequence[str],
    multimask_output: bool = False,
) -> Iterator[Answer]:
    """Ask all questions about all masks of a batch of pictures. Call it without gradients."""
    if not pictures:
        return
    pixel_values = torch.stack([picture.framed.pixel_values for picture in pictures]).to(model.device)
    features = model.get_image_features(pixel_values)
    for plan, trial in questions:
        first = [picture.prompts[plan, trial] for picture in pictures]
        asked = dict.fromkeys(outputs, first)
        previous: dict[str, list[Tensor] | None] = dict.fromkeys(outputs)
        for clicks in range(1, max(plan.count, 1) + 1) if plan.kind == "clicks" else (0,):
            decoded = {
                output: _decode(model, features, pictures, asked[output], previous[output], output, multimask_output)
                for output in outputs
            }
            name = f"clicks-{clicks}" if clicks else plan.name
            yield from _answers(protocol, pictures, asked, decoded, name, trial)
            if clicks and clicks < plan.count:
                for output in outputs:
                    previous[output] = decoded[output].logits
                    asked[output] = _with_next_clicks(protocol, pictures, asked[output], decoded[output])


def _answers(
    protocol: EvaluationProtocol,
    pictures: Sequence[Picture],
    asked: dict[str, list[list[Prompt]]],
    decoded: dict[str, _Decoded],
    name: str,
    trial: int,
) -> Iterator[Answer]:
    for i, picture in enumerate(pictures):
        for k in range(len(picture.truths)):
            logits = torch.stack([one.logits[i][k] for one in decoded.values()])
            yield Answer(
                picture=i,
                mask=k,
                prompt=name,
                trial=trial,
                asked=[prompts[i][k] for prompts in asked.values()],
                masks=protocol.picture_masks(logits, picture.framed),
                scores=[one.scores[i][k].item() for one in decoded.values()],
            )


def _with_next_clicks(
    protocol: EvaluationProtocol, pictures: Sequence[Picture], asked: list[list[Prompt]], decoded: _Decoded
) -> list[list[Prompt]]:
    corrected = []
    for picture, prompts, logits in zip(pictures, asked, decoded.logits):
        clicks = [
            next_click(protocol.prompt_mask(one, picture.framed), truth)
            for one, truth in zip(logits, picture.framed.prompt_masks)
        ]
        corrected.append(
            [prompt if click is None else prompt.with_click(*click) for prompt, click in zip(prompts, clicks)]
        )
    return corrected


def _decode(
    model: HQSamModel,
    features: HQSamImageFeatures,
    pictures: Sequence[Picture],
    prompts: list[list[Prompt]],
    previous: list[Tensor] | None,
    output: str,
    multimask_output: bool,
) -> _Decoded:
    counts = [len(item) for item in prompts]
    chunks = []
    for start in range(0, max(counts), PROMPTS_AT_ONCE):
        part = slice(start, start + PROMPTS_AT_ONCE)
        inputs = _inputs([item[part] for item in prompts], [picture.framed.scale for picture in pictures])
        if previous is not None:
            inputs["input_masks"] = pad_prompts([logits[part].cpu() for logits in previous], _longest(prompts, part))
        inputs = {name: value.to(model.device) for name, value in inputs.items()}
        chunks.append(model(image_features=features, multimask_output=multimask_output, **inputs, **OUTPUTS[output]))
    logits = torch.cat([chunk.pred_masks[:, :, 0] for chunk in chunks], dim=1).float()  # the best of several is first
    scores = torch.cat([chunk.iou_scores[:, :, 0] for chunk in chunks], dim=1).float()
    decoded = _Decoded(*([one[:count] for one, count in zip(values, counts)] for values in (logits, scores)))
    if not all(torch.isfinite(one).all() for one in decoded.logits):
        names = ", ".join(picture.about[0]["name"] for picture in pictures)
        raise ValueError(
            f"The model's logits are not finite for {names} (output {output!r}, {model.dtype}). Use float32 or "
            "bfloat16, or another checkpoint."
        )
    return decoded


def _longest(prompts: Sequence[list[Prompt]], part: slice) -> int:
    return max(len(item[part]) for item in prompts)


def _inputs(prompts: Sequence[list[Prompt]], scales: Sequence[np.ndarray]) -> dict[str, Tensor]:
    """The prompts of a batch as the model takes them; all are of the same kind."""
    num_prompts = max(map(len, prompts))
    if any(prompt.box is not None for item in prompts for prompt in item):
        boxes = [
            np.array([prompt.box * np.tile(scale, 2) for prompt in item]).reshape(-1, 4)
            for item, scale in zip(prompts, scales)
        ]
        return {"input_boxes": pad_prompts(boxes, num_prompts)}
    points = [
        PromptArrays(
            points=[np.asarray(prompt.points * scale, dtype=np.float64) for prompt in item],
            labels=[prompt.labels for prompt in item],
        )
        for item, scale in zip(prompts, scales)
    ]
    coordinates, labels = pad_points(points, num_prompts)
    return {"input_points": coordinates, "input_labels": labels}


__all__ = ["OUTPUTS", "Answer", "answer"]
