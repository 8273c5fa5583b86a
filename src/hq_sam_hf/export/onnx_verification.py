"""Verify exported ONNX graphs: compare their masks and scores in ONNX Runtime with those of the model in PyTorch."""

from pathlib import Path

import numpy as np
import torch

from ..model.modeling_hq_sam import HQSamModel
from ..model.modeling_hq_sam2 import HQSam2Model
from ..model.processing_hq_sam import HQSamProcessor

# Largest difference to PyTorch that rounding explains, relative to the largest value.
TOLERANCE = 1e-3


@torch.no_grad()
def verify_graphs(
    encoder: Path,
    decoder: Path,
    model: HQSamModel | HQSam2Model,
    processor: HQSamProcessor,
    options: dict[str, bool],
) -> None:
    """Predict the mask of a box and a point on a random image with both. Raises ValueError if the results differ.

    encoder, decoder: the files of the graphs. options: the arguments of `HQSamModel.forward` that they were exported
    with.
    """
    side = processor.image_processor.image_size
    size = max(1, side * 3 // 4), side  # fits the model input, so it is not resized
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    corners, point = [[0.2 * side, 0.1 * side], [0.7 * side, 0.6 * side]], [0.4 * side, 0.3 * side]

    # To pixels of the image: HQ-SAM's model input has the same scale, that of HQ-SAM 2 is stretched.
    scale = [size[1] / side, size[0] / side if isinstance(model, HQSam2Model) else 1.0]
    (x1, y1), (x2, y2), (x, y) = ([x * scale[0], y * scale[1]] for x, y in (*corners, point))
    inputs = processor(image, input_boxes=[[[x1, y1, x2, y2]]], input_points=[[[x, y]]])
    outputs = model(**inputs, **options)
    results = _run_graphs(encoder, decoder, image, points=[point, *corners], labels=[1, 2, 3])
    count = results[1].shape[1]
    masks = processor.image_processor.post_process_masks(
        outputs.pred_masks[0, :, :count], inputs["original_sizes"], inputs["reshaped_input_sizes"], binarize=False
    )
    expected = {"masks": masks[0][None], "scores": outputs.iou_scores[0, :, :count]}
    for (name, values), exported in zip(expected.items(), results):
        difference, largest = np.abs(values.numpy() - exported).max(), np.abs(values.numpy()).max()
        if not difference <= TOLERANCE * largest:
            raise ValueError(
                f"The exported graphs must give the {name} of the model, but they differ by {difference:.2g} of "
                f"{largest:.2g}. Nothing was written. Please report it with the versions of torch, onnx, onnxscript "
                "and onnxruntime."
            )


def _run_graphs(
    encoder: Path, decoder: Path, image: np.ndarray, points: list[list[float]], labels: list[int]
) -> list[np.ndarray]:
    """The outputs of the decoder for one prompt. image: uint8 (H, W, 3). points: in model input coordinates."""
    import onnxruntime

    encoder_session, decoder_session = (
        onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]) for path in (encoder, decoder)
    )
    names = [one.name for one in encoder_session.get_outputs()]
    features = dict(zip(names, encoder_session.run(None, {"image": image.astype(np.float32)})))
    if "interm_embeddings_0" in features:
        levels = [features.pop(name) for name in names[1:]]
        features["interm_embeddings"] = np.stack(levels)
    mask_input = next(one for one in decoder_session.get_inputs() if one.name == "mask_input")
    return decoder_session.run(
        None,
        {
            **features,
            "point_coords": np.array([points], dtype=np.float32),
            "point_labels": np.array([labels], dtype=np.float32),
            "mask_input": np.zeros(mask_input.shape, dtype=np.float32),
            "has_mask_input": np.zeros(1, dtype=np.float32),
            "orig_im_size": np.array(image.shape[:2], dtype=np.float32),
        },
    )


__all__ = ["verify_graphs"]
