"""A model as two ONNX graphs, for programs without Python: an encoder, run once per picture, and a decoder, per click.

The decoder has the inputs and outputs of the original's `SamOnnxModel`; the original exports no encoder.

    encoder.onnx    image (H, W, 3)                     RGB from 0 to 255, of any size
                    -> image_embeddings (1, C, h, w)
                    -> interm_embeddings, of L global-attention blocks: (L, 1, h, w, D); or separate or the first alone
    decoder.onnx    image_embeddings, interm_embeddings
                    point_coords (1, N, 2)              x, y in pixels of the frame, see `HQSamImageProcessor`
                    point_labels (1, N)                 1 object, 0 background, 2 and 3 corners of a box, -1 no point
                    mask_input (1, 1, m, m)             logits of an earlier answer, used if has_mask_input (1) is 1
                    orig_im_size (2)                    height and width of the picture
                    -> masks (1, 1, H, W)               logits at that size
                    -> iou_predictions (1, 1)           SAM's estimate for its own mask
                    -> low_res_masks (1, 1, m, m)       logits to feed back

All are float32, all sizes but H, W and N are the model's. Points without a box end with one of label -1. The metadata
of both files name the side of the frame, image_size.
"""

import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ..model.configuration_hq_sam import PADDING
from ..model.files import check_parent, whole_folder
from ..model.modeling_hq_sam import HQSamModel
from ..model.processing_hq_sam import HQSamProcessor
from .onnx_processing import OPSET, mask_end, picture_end, put_before, put_behind

if TYPE_CHECKING:
    from onnx import ModelProto

INTERMEDIATE = ("stacked", "separate", "first")
ENCODER, DECODER, WEIGHTS = "encoder.onnx", "decoder.onnx", ".data"

# A file in the format of protobuf has less than 2 GiB; the weights of a larger graph go into a file beside it.
LARGEST_FILE = 2**31 - 2**24

# Largest difference of logits to PyTorch's, as a share of the largest of them, that rounding explains.
TOLERANCE = 1e-3


class EncoderGraph(nn.Module):
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
    """Write encoder.onnx and decoder.onnx into a folder, after ONNX Runtime has given the masks of PyTorch.

    model, processor: as loaded by `from_pretrained`, in float32 on a CPU.
    intermediate: how the encoder gives the embeddings of its global-attention blocks, of which the decoder needs the
        first alone: "stacked", in one tensor as the original's decoder takes them; "separate", a tensor (1, h, w, D)
        for each, to be stacked by the program; "first", that one alone, (1, h, w, D), which the decoder then takes.
        With the other two the decoder takes (L, 1, h, w, D) of any L.
    multimask_output: answer with the best scored of SAM's three candidates in place of its single mask.
    hq_token_only: with the HQ mask alone in place of its sum with SAM's.
    overwrite: replace an export that is there.

    Weights of more than 2 GiB lie beside their graph, in encoder.onnx.data. Gives the paths of the files. Raises
    ValueError for wrong arguments, where a package is missing, or if masks differ.
    """
    _check(model, destination, intermediate, overwrite)
    processor.check_fit(model.config)
    model = model.eval()
    pictures = processor.image_processor
    side, mask_side = pictures.image_size, pictures.mask_size["longest_edge"]
    pixels = torch.zeros(1, 3, side, side)
    with torch.no_grad():
        encoder = EncoderGraph(model, intermediate)
        embeddings, *levels = encoder(pixels)
        names = [f"interm_embeddings_{i}" for i in range(len(levels))]
        names = names if intermediate == "separate" else ["interm_embeddings"]
        encoder_model = _to_onnx(encoder, {"pixel_values": pixels}, ["image_embeddings", *names])
        put_before(picture_end(side, pictures.image_mean, pictures.image_std), encoder_model)

        inputs = {
            "image_embeddings": embeddings,
            "interm_embeddings": torch.stack(levels) if intermediate == "separate" else levels[0],
            "point_coords": torch.zeros(1, 3, 2),
            "point_labels": torch.zeros(1, 3),
            "mask_input": torch.zeros(1, 1, mask_side, mask_side),
            "has_mask_input": torch.zeros(1),
        }
        number: Any = torch.export.Dim("num_points", min=1)
        any_number = {"point_coords": {1: number}, "point_labels": {1: number}}
        if intermediate != "first" and len(inputs["interm_embeddings"]) > 1:
            any_number["interm_embeddings"] = {0: torch.export.Dim("num_levels", min=1)}
        decoder = DecoderGraph(model, intermediate, multimask_output, hq_token_only)
        decoder_model = _to_onnx(decoder, inputs, ["iou_predictions", "low_res_masks"], any_number)
        put_behind(mask_end(side, mask_side), decoder_model)

    with whole_folder(destination) as folder:
        for name, onnx_model in ((ENCODER, encoder_model), (DECODER, decoder_model)):
            onnx_model.metadata_props.add(key="image_size", value=str(side))
            _save(onnx_model, folder / name)
        _verify(folder, model, processor, intermediate == "separate", decoder.options)
        written = sorted(path.name for path in folder.iterdir())
    return [Path(destination) / name for name in written]


def _check(model: HQSamModel, destination: str | os.PathLike, intermediate: str, overwrite: bool) -> None:
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
        raise ValueError(f"The export is a folder, and {str(destination)!r} is a file. Name another.")
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if there and not overwrite:
        raise ValueError(f"{str(destination)!r} is not empty. Choose another folder or pass --overwrite.")
    foreign = sorted(there - {ENCODER, DECODER, ENCODER + WEIGHTS, DECODER + WEIGHTS})
    if foreign:
        raise ValueError(
            f"{str(destination)!r} holds more than an export, such as {foreign[0]!r}, which would be lost. Choose "
            "another folder."
        )


def _to_onnx(
    graph: nn.Module,
    inputs: dict[str, Tensor],
    output_names: Sequence[str],
    any_number: dict[str, dict[int, Any]] | None = None,
) -> "ModelProto":
    """The ONNX model of a module; any_number tells the dimensions that may have another size than in the inputs."""
    import onnx

    with _silence(), tempfile.TemporaryDirectory() as folder:
        program: Any = torch.onnx.export(
            graph,
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=list(output_names),
            opset_version=OPSET,
            dynamo=True,
            dynamic_shapes={**dict.fromkeys(inputs), **any_number} if any_number else None,
            custom_translation_table={torch.ops.aten.sort.stable: _stable_sort},
            verbose=False,
        )
        program.save(Path(folder) / "graph.onnx", external_data=True)
        return onnx.load(Path(folder) / "graph.onnx")


@contextmanager
def _silence() -> Iterator[None]:
    """Without what the exporter says of itself and of packages that are not needed."""
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
    """`Tensor.sort` in ONNX: of equal values its TopK gives the first one first."""
    from onnxscript import opset18

    number = opset18.Shape(values, start=dim, end=dim + 1)
    return opset18.TopK(values, number, axis=dim, largest=int(descending), sorted=1)


def _save(model: "ModelProto", path: Path) -> None:
    import onnx

    size = sum(len(weight.raw_data) for weight in model.graph.initializer)
    onnx.save_model(model, path, save_as_external_data=size > LARGEST_FILE, location=path.name + WEIGHTS)


@torch.no_grad()
def _verify(
    folder: Path, model: HQSamModel, processor: HQSamProcessor, separate: bool, options: dict[str, bool]
) -> None:
    """Ask both about a picture of noise."""
    import onnxruntime

    side, mask_side = processor.image_processor.image_size, processor.image_processor.mask_size["longest_edge"]
    size = max(1, side * 3 // 4), side  # as large as the frame, so that it is not resized
    random = np.random.default_rng(0)
    picture = random.integers(0, 256, (*size, 3), dtype=np.uint8)
    corners, point = [[0.2 * side, 0.1 * side], [0.7 * side, 0.6 * side]], [0.4 * side, 0.3 * side]
    inputs = processor(picture, input_boxes=[[sum(corners, [])]], input_points=[[point]])
    expected = model(**inputs, **options)
    masks = processor.image_processor.post_process_masks(
        expected.pred_masks[0, :, :1], inputs["original_sizes"], inputs["reshaped_input_sizes"], binarize=False
    )

    run = [
        onnxruntime.InferenceSession(folder / name, providers=["CPUExecutionProvider"]).run
        for name in (ENCODER, DECODER)
    ]
    embeddings, *levels = run[0](None, {"image": picture.astype(np.float32)})
    answer = run[1](
        None,
        {
            "image_embeddings": embeddings,
            "interm_embeddings": np.stack(levels) if separate else levels[0],
            "point_coords": np.array([[point, *corners]], dtype=np.float32),
            "point_labels": np.array([[1, 2, 3]], dtype=np.float32),
            "mask_input": np.zeros((1, 1, mask_side, mask_side), dtype=np.float32),
            "has_mask_input": np.zeros(1, dtype=np.float32),
            "orig_im_size": np.array(size, dtype=np.float32),
        },
    )
    named = ("masks", masks[0][None]), ("scores", expected.iou_scores[0, :, :1])
    for (name, ours), theirs in zip(named, answer):
        difference, largest = np.abs(ours.numpy() - theirs).max(), np.abs(ours.numpy()).max()
        if not difference <= TOLERANCE * largest:
            raise ValueError(
                f"The exported graphs give other {name} than the model, by {difference:.2g} of {largest:.2g}. Nothing "
                "was written. Please report it with the versions of torch, onnx, onnxscript and onnxruntime."
            )


__all__ = ["INTERMEDIATE", "export_onnx"]
