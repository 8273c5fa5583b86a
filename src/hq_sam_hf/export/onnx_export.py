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

Of an HQ-SAM 2 the features are image_embed (1, C, h, w), high_res_feats_0 (1, C / 8, 4h, 4w) and high_res_feats_1
(1, C / 4, 2h, 2w), the names that exporters of SAM 2 use. M masks and scores are predicted: three with
`multimask_output`, the best first, else one.

All tensors are float32. H, W and N may have any value; the other sizes are fixed by the model. Points without a box
end with a padding point; the graph of HQ-SAM 2 adds one itself. The metadata of both files hold the model input size
as `image_size`.
"""

import logging
import mmap
import os
import re
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..model.destinations import check_output_folder, first_foreign
from ..model.files import check_parent, check_place, remove_leftovers, whole_folder
from ..model.modeling_hq_sam import HQSamModel
from ..model.modeling_hq_sam2 import HQSam2Model
from ..model.processing_hq_sam import HQSamProcessor
from ..utils.output_lock import output_lock
from .onnx_graphs import INTERMEDIATE, Graphs, make_graphs
from .onnx_processing import OPSET, append, postprocessing_graph, prepend, preprocessing_graph
from .onnx_verification import verify_graphs

if TYPE_CHECKING:
    from onnx import ModelProto

ENCODER, DECODER, WEIGHTS = "encoder.onnx", "decoder.onnx", ".data"
EXPORT_FILES = re.compile(r"(encoder|decoder)\.onnx(\.data)?")
IMAGE_SIZE = re.compile(rb"\nimage_size\x12.\d")  # as protobuf stores this entry of the metadata

# protobuf limits a file to 2 GiB. The weights of a larger graph go into a file beside it.
LARGEST_FILE = 2**31 - 2**24


def export_onnx(
    model: HQSamModel | HQSam2Model,
    processor: HQSamProcessor,
    destination: str | os.PathLike,
    intermediate: str = "stacked",
    multimask_output: bool = False,
    hq_token_only: bool = False,
    overwrite: bool = False,
) -> list[Path]:
    """Write encoder.onnx and decoder.onnx to a folder and verify them with ONNX Runtime. Returns their paths.

    model, processor: as loaded by `from_pretrained`, in float32 on a CPU.
    intermediate: form of the embeddings of the global-attention blocks, of which HQ-SAM's decoder uses only the first.
        "stacked": one tensor (L, 1, h, w, D), as the original's decoder takes it. "separate": L tensors (1, h, w, D)
        from the encoder, which the program stacks for the decoder. "first": only the first, (1, h, w, D), for both.
        With the first two forms the decoder takes any L.
    multimask_output: predict the best scored of SAM's three candidates instead of its single mask; of HQ-SAM 2 all
        three, the best first.
    hq_token_only: predict the HQ mask alone instead of its sum with SAM's mask.
    overwrite: replace an earlier export. A folder with other files is never replaced.

    Weights of more than 2 GiB are written beside their graph, to encoder.onnx.data. Raises ValueError for wrong
    arguments, for a missing package, if the masks of the graphs differ from those of PyTorch, and if another process
    is writing the folder.
    """
    target = Path(destination)
    with lock_export(target, overwrite):
        _check_arguments(model, intermediate)
        processor.check_fit(model.config)
        return _export(model.eval(), processor, target, intermediate, multimask_output, hq_token_only)


@contextmanager
def lock_export(destination: Path, overwrite: bool, inputs: Sequence[str | os.PathLike | None] = ()) -> Iterator[None]:
    """Let no other process export to the folder during the block.

    Raises ValueError if the folder cannot be written, or if more than an earlier export would be lost.
    inputs: files and folders that must stay.
    """
    check_parent(destination)
    check_place(destination)
    with output_lock(destination, beside=True):
        check_output_folder(destination, "an export", _find_foreign, overwrite, inputs)
        remove_leftovers(destination)
        yield


def _export(
    model: HQSamModel | HQSam2Model,
    processor: HQSamProcessor,
    destination: Path,
    intermediate: str,
    multimask_output: bool,
    hq_token_only: bool,
) -> list[Path]:
    image_processor = processor.image_processor
    side, mask_side = image_processor.image_size, image_processor.mask_side
    stretched = isinstance(model, HQSam2Model)
    with torch.no_grad():
        graphs = make_graphs(model, intermediate, multimask_output, hq_token_only)
        pixels = {"pixel_values": torch.zeros(1, 3, side, side)}
        encoder_model = _to_onnx(graphs.encoder, pixels, graphs.encoder_outputs)
        decoder_model = _export_decoder(graphs, mask_side)
    mean, std = image_processor.image_mean, image_processor.image_std
    prepend(preprocessing_graph(side, mean, std, stretched), encoder_model)
    append(postprocessing_graph(side, mask_side, stretched, graphs.num_masks), decoder_model)

    options = {"multimask_output": multimask_output, "hq_token_only": hq_token_only}
    with whole_folder(destination, _check_unchanged) as folder:
        for name, onnx_model in ((ENCODER, encoder_model), (DECODER, decoder_model)):
            onnx_model.metadata_props.add(key="image_size", value=str(side))
            _save(onnx_model, folder / name)
        verify_graphs(folder / ENCODER, folder / DECODER, model, processor, options)
        written = sorted(path.name for path in folder.iterdir())
    return [destination / name for name in written]


def _export_decoder(graphs: Graphs, mask_side: int) -> "ModelProto":
    inputs = {
        **graphs.decoder_features,
        "point_coords": torch.zeros(1, 3, 2),
        "point_labels": torch.zeros(1, 3),
        "mask_input": torch.zeros(1, 1, mask_side, mask_side),
        "has_mask_input": torch.zeros(1),
    }
    num_points: Any = torch.export.Dim("num_points", min=1)
    dynamic_sizes = {
        "point_coords": {1: num_points},
        "point_labels": {1: num_points},
        **graphs.dynamic_features,
    }
    return _to_onnx(graphs.decoder, inputs, ["iou_predictions", "low_res_masks"], dynamic_sizes)


def _check_arguments(model: HQSamModel | HQSam2Model, intermediate: str) -> None:
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
    if isinstance(model, HQSam2Model) and intermediate != INTERMEDIATE[0]:
        raise ValueError(
            f"`intermediate` is for HQ-SAM, got {intermediate!r} for an HQ-SAM 2, whose decoder uses no intermediate "
            "embeddings. Leave it out."
        )
    if model.dtype != torch.float32 or model.device.type != "cpu":
        raise ValueError(
            f"The model must be in float32 on a CPU to be exported, got {model.dtype} on {model.device}. "
            "Call `model.float().cpu()` first."
        )


def _find_foreign(folder: Path) -> str | None:
    """The name of an entry that an export has not written; None if it has written all of them."""
    foreign = first_foreign(folder, EXPORT_FILES)
    graphs = [name for name in (ENCODER, DECODER) if not _is_own_graph(folder / name)]
    return foreign or next(iter(graphs), None)


def _is_own_graph(path: Path) -> bool:
    """Whether a file has the metadata of an export. Other programs' models have these file names too."""
    if not path.is_file() or not path.stat().st_size:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return IMAGE_SIZE.search(content) is not None


def _check_unchanged(destination: Path) -> None:
    """Raise ValueError if other files have come into the folder during the export."""
    check_output_folder(destination, "an export", _find_foreign, overwrite=True)


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


__all__ = ["INTERMEDIATE", "export_onnx", "lock_export"]
