"""Export a model as two ONNX graphs: an encoder, to run once per image, and a decoder, to run for every prompt.

The decoder has the inputs and outputs of the original's `SamOnnxModel`. The original exports no encoder.

    encoder.onnx    image (H, W, 3)                     RGB from 0 to 255, of any size
                    -> image_embeddings (1, C, h, w)
                    -> interm_embeddings (L, 1, h, w, D) of the L global-attention blocks, or in another form
    decoder.onnx    image_embeddings, interm_embeddings
                    point_coords (1, N, 2)              x, y in model input coordinates, see `HQSamImageProcessor`
                    point_labels (1, N)                 1 object, 0 background, 2 and 3 corners of a box, -1 padding
                    mask_input (1, 1, m, m)             earlier low_res_masks, used if has_mask_input (1) is 1
                    orig_im_size (2)                    height and width of the image
                    -> masks (1, 1, H, W)               logits at that size
                    -> iou_predictions (1, 1)           the IoU that SAM predicts for its own mask
                    -> low_res_masks (1, 1, m, m)       logits to feed back

All tensors are float32. H, W and N may have any value; the other sizes are fixed by the model. Points without a box
end with a padding point. The metadata of both files hold the model input size as `image_size`.
"""

import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..model.configuration_hq_sam import PADDING
from ..model.files import check_parent, whole_folder
from ..model.modeling_hq_sam import HQSamModel
from ..model.processing_hq_sam import HQSamProcessor
from .onnx_processing import OPSET, append, postprocessing_graph, prepend, preprocessing_graph
from .onnx_verification import verify_graphs

if TYPE_CHECKING:
    from onnx import ModelProto

INTERMEDIATE = ("stacked", "separate", "first")
ENCODER, DECODER, WEIGHTS = "encoder.onnx", "decoder.onnx", ".data"

# protobuf limits a file to 2 GiB. The weights of a larger graph go into a file beside it.
LARGEST_FILE = 2**31 - 2**24


class EncoderGraph(nn.Module):
    """The image encoder with its intermediate embeddings in the form that `intermediate` names."""

    def __init__(self, model: HQSamModel, intermediate: str) -> None:
        super().__init__()
        self.encoder, self.intermediate = model.vision_encoder, intermediate

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        encoded = self.encoder(pixel_values)
        levels = encoded.intermediate_embeddings
        if self.intermediate == "stacked":
            levels = (torch.stack(levels),)
        return encoded.last_hidden_state, *(levels[:1] if self.intermediate == "first" else levels)


class DecoderGraph(nn.Module):
    """The prompt encoder and mask decoder for one prompt, with labelled points in place of boxes."""

    def __init__(self, model: HQSamModel, intermediate: str, multimask_output: bool, hq_token_only: bool) -> None:
        super().__init__()
        self.model, self.intermediate = model, intermediate
        self.options = {"multimask_output": multimask_output, "hq_token_only": hq_token_only}

    def forward(
        self,
        image_embeddings: Tensor,
        interm_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor]:
        encoder, decoder = self.model.prompt_encoder, self.model.mask_decoder
        early = interm_embeddings if self.intermediate == "first" else interm_embeddings[0]
        tokens = encoder.embed_labelled(
            self.model.shared_image_embedding, point_coords, point_labels, with_corners=True
        )
        no_mask = encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
        dense = torch.where(has_mask_input[:, None, None, None] > 0, encoder.mask_embed(mask_input), no_mask)
        masks, scores = decoder(
            image_embeddings=image_embeddings,
            image_positions=self.model.image_positions(),
            hq_features=decoder.fuse_hq_features(image_embeddings, early),
            sparse_prompt_embeddings=tokens[:, None],
            absent_prompt_tokens=(point_labels == PADDING)[:, None],
            dense_prompt_embeddings=dense[:, None],
            num_prompts=1,
            **self.options,
        )
        return scores[:, 0, :1], masks[:, 0, :1]


def export_onnx(
    model: HQSamModel,
    processor: HQSamProcessor,
    destination: str | os.PathLike,
    intermediate: str = "stacked",
    multimask_output: bool = False,
    hq_token_only: bool = False,
    overwrite: bool = False,
) -> list[Path]:
    """Write encoder.onnx and decoder.onnx to a folder and verify them with ONNX Runtime. Returns their paths.

    model, processor: as loaded by `from_pretrained`, in float32 on a CPU.
    intermediate: form of the embeddings of the global-attention blocks, of which the decoder uses only the first.
        "stacked": one tensor (L, 1, h, w, D), as the original's decoder takes it. "separate": L tensors (1, h, w, D)
        from the encoder, which the program stacks for the decoder. "first": only the first, (1, h, w, D), for both.
        With the first two forms the decoder takes any L.
    multimask_output: predict the best scored of SAM's three candidates instead of its single mask.
    hq_token_only: predict the HQ mask alone instead of its sum with SAM's mask.
    overwrite: replace an existing export.

    Weights of more than 2 GiB are written beside their graph, to encoder.onnx.data. Raises ValueError for wrong
    arguments, for a missing package, and if the masks of the graphs differ from those of PyTorch.
    """
    _check_arguments(model, destination, intermediate, overwrite)
    processor.check_fit(model.config)
    model = model.eval()
    image_processor = processor.image_processor
    side, mask_side = image_processor.image_size, image_processor.mask_size["longest_edge"]

    encoder = EncoderGraph(model, intermediate)
    decoder = DecoderGraph(model, intermediate, multimask_output, hq_token_only)
    with torch.no_grad():
        image_embeddings, *levels = encoder(torch.zeros(1, 3, side, side))
        encoder_model = _export_encoder(encoder, side, len(levels))
        decoder_model = _export_decoder(decoder, image_embeddings, levels, mask_side)
    prepend(preprocessing_graph(side, image_processor.image_mean, image_processor.image_std), encoder_model)
    append(postprocessing_graph(side, mask_side), decoder_model)

    with whole_folder(destination) as folder:
        for name, onnx_model in ((ENCODER, encoder_model), (DECODER, decoder_model)):
            onnx_model.metadata_props.add(key="image_size", value=str(side))
            _save(onnx_model, folder / name)
        verify_graphs(folder / ENCODER, folder / DECODER, model, processor, decoder.options)
        written = sorted(path.name for path in folder.iterdir())
    return [Path(destination) / name for name in written]


def _export_encoder(encoder: EncoderGraph, side: int, num_levels: int) -> "ModelProto":
    names = ["interm_embeddings"]
    if encoder.intermediate == "separate":
        names = [f"interm_embeddings_{i}" for i in range(num_levels)]
    return _to_onnx(encoder, {"pixel_values": torch.zeros(1, 3, side, side)}, ["image_embeddings", *names])


def _export_decoder(
    decoder: DecoderGraph, image_embeddings: Tensor, levels: list[Tensor], mask_side: int
) -> "ModelProto":
    """image_embeddings, levels: example outputs of the encoder graph."""
    inputs = {
        "image_embeddings": image_embeddings,
        "interm_embeddings": torch.stack(levels) if decoder.intermediate == "separate" else levels[0],
        "point_coords": torch.zeros(1, 3, 2),
        "point_labels": torch.zeros(1, 3),
        "mask_input": torch.zeros(1, 1, mask_side, mask_side),
        "has_mask_input": torch.zeros(1),
    }
    num_points: Any = torch.export.Dim("num_points", min=1)
    dynamic_sizes = {"point_coords": {1: num_points}, "point_labels": {1: num_points}}
    if decoder.intermediate != "first" and len(inputs["interm_embeddings"]) > 1:
        dynamic_sizes["interm_embeddings"] = {0: torch.export.Dim("num_levels", min=1)}
    return _to_onnx(decoder, inputs, ["iou_predictions", "low_res_masks"], dynamic_sizes)


def _check_arguments(model: HQSamModel, destination: str | os.PathLike, intermediate: str, overwrite: bool) -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f'The export needs onnx, onnxscript and onnxruntime: pip install "hq-sam-hf[export]" ({error}).'
        ) from error
    if intermediate not in INTERMEDIATE:
        raise ValueError(f"`intermediate` must be one of {', '.join(INTERMEDIATE)}, got {intermediate!r}.")
    if model.dtype != torch.float32 or model.device.type != "cpu":
        raise ValueError(
            f"The model must be in float32 on a CPU to be exported, got {model.dtype} on {model.device}. "
            "Call `model.float().cpu()` first."
        )
    folder = Path(destination)
    check_parent(folder)
    if folder.is_file():
        raise ValueError(f"The destination must be a folder, but {str(destination)!r} is a file. Name a folder.")
    existing = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if existing and not overwrite:
        raise ValueError(f"{str(destination)!r} is not empty. Choose another folder or pass --overwrite.")
    foreign = sorted(existing - {ENCODER, DECODER, ENCODER + WEIGHTS, DECODER + WEIGHTS})
    if foreign:
        raise ValueError(
            f"{str(destination)!r} holds other files than an export, such as {foreign[0]!r}, which would be lost. "
            "Choose another folder."
        )


def _to_onnx(
    graph: nn.Module,
    inputs: dict[str, Tensor],
    output_names: Sequence[str],
    dynamic_sizes: dict[str, dict[int, Any]] | None = None,
) -> "ModelProto":
    """Export a module to an ONNX model.

    inputs: example inputs by name. dynamic_sizes: the dimensions that may have other sizes than in the example.
    """
    import onnx

    with _silence(), tempfile.TemporaryDirectory() as folder:
        program: Any = torch.onnx.export(
            graph,
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=list(output_names),
            opset_version=OPSET,
            dynamo=True,
            dynamic_shapes={**dict.fromkeys(inputs), **dynamic_sizes} if dynamic_sizes else None,
            custom_translation_table={torch.ops.aten.sort.stable: _stable_sort},
            verbose=False,
        )
        program.save(Path(folder) / "graph.onnx", external_data=True)
        return onnx.load(Path(folder) / "graph.onnx")


@contextmanager
def _silence() -> Iterator[None]:
    """Hide the exporter's warnings about itself and about optional packages."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _stable_sort(values: Any, stable: bool | None = None, dim: int = -1, descending: bool = False) -> Any:
    """`Tensor.sort(stable=True)` in ONNX: TopK keeps equal values in their order."""
    from onnxscript import opset18

    number = opset18.Shape(values, start=dim, end=dim + 1)
    return opset18.TopK(values, number, axis=dim, largest=int(descending), sorted=1)


def _save(model: "ModelProto", path: Path) -> None:
    import onnx

    size = sum(len(weight.raw_data) for weight in model.graph.initializer)
    onnx.save_model(model, path, save_as_external_data=size > LARGEST_FILE, location=path.name + WEIGHTS)


__all__ = ["INTERMEDIATE", "export_onnx"]
