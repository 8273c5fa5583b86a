"""ONNX pre- and post-processing subgraphs: images of any size to pixel values, and logits to masks of that size.

The subgraphs are written in ONNX's text format, because sizes have to be computed from the inputs at run time.
Exported PyTorch code would fix them at the sizes of the example.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto

OPSET = 18  # the first opset whose Resize has antialiasing, as in Pillow

# Compute `{0}_reshaped`, the size inside the model input of an image of size `{0}_size`: the longer side becomes the
# model input size, the other one is rounded half up, as in `HQSamImageProcessor.reshaped_size`.
RESHAPED = """
  {0}_side = Constant <value = int64[1] {{{1}}}> ()
  {0}_one = Constant <value = int64[1] {{1}}> ()
  {0}_two = Constant <value = int64[1] {{2}}> ()
  {0}_longest = ReduceMax <keepdims = 1> ({0}_size)
  {0}_doubled = Mul ({0}_longest, {0}_two)
  {0}_scaled = Mul ({0}_size, {0}_side)
  {0}_scaled_doubled = Mul ({0}_scaled, {0}_two)
  {0}_numerator = Add ({0}_scaled_doubled, {0}_longest)
  {0}_quotient = Div ({0}_numerator, {0}_doubled)
  {0}_reshaped = Max ({0}_quotient, {0}_one)
"""

# Values are rounded to bytes before and after the resizing, and pixels outside the image have no weight, as in Pillow.
PREPROCESSING = """
<ir_version: 8, opset_import: ["": {opset}]>
preprocess (float[height, width, 3] image) => (float[1, 3, {side}, {side}] pixel_values) {{
  in_size = Shape <end = 2> (image)
  {reshaped}
  in_low = Constant <value = float {{0.0}}> ()
  in_high = Constant <value = float {{255.0}}> ()
  in_bounded = Clip (image, in_low, in_high)
  in_whole = Round (in_bounded)
  in_bytes = Cast <to = 2> (in_whole)
  in_planes = Transpose <perm = [2, 0, 1]> (in_bytes)
  in_first = Constant <value = int64[1] {{0}}> ()
  in_batch = Unsqueeze (in_planes, in_first)
  in_channels = Constant <value = int64[2] {{1, 3}}> ()
  in_shape = Concat <axis = 0> (in_channels, in_reshaped)
  in_resized = Resize <mode = "linear", antialias = 1, exclude_outside = 1,
      coordinate_transformation_mode = "half_pixel"> (in_batch, , , in_shape)
  in_values = Cast <to = 1> (in_resized)
  in_mean = Constant <value = float[3, 1, 1] {{{mean}}}> ()
  in_std = Constant <value = float[3, 1, 1] {{{std}}}> ()
  in_centred = Sub (in_values, in_mean)
  in_normal = Div (in_centred, in_std)
  in_rest = Sub (in_side, in_reshaped)
  in_nothing = Constant <value = int64[2] {{0, 0}}> ()
  in_pads = Concat <axis = 0> (in_nothing, in_rest)
  in_zero = Constant <value = float {{0.0}}> ()
  in_axes = Constant <value = int64[2] {{2, 3}}> ()
  pixel_values = Pad (in_normal, in_pads, in_zero, in_axes)
}}
"""

# As above, for a model whose input is stretched to a square. Values are interpolated without rounding.
PREPROCESSING_STRETCHED = """
<ir_version: 8, opset_import: ["": {opset}]>
preprocess (float[height, width, 3] image) => (float[1, 3, {side}, {side}] pixel_values) {{
  in_low = Constant <value = float {{0.0}}> ()
  in_high = Constant <value = float {{255.0}}> ()
  in_bounded = Clip (image, in_low, in_high)
  in_whole = Round (in_bounded)
  in_planes = Transpose <perm = [2, 0, 1]> (in_whole)
  in_first = Constant <value = int64[1] {{0}}> ()
  in_batch = Unsqueeze (in_planes, in_first)
  in_shape = Constant <value = int64[4] {{1, 3, {side}, {side}}}> ()
  in_resized = Resize <mode = "linear", antialias = 1, exclude_outside = 1,
      coordinate_transformation_mode = "half_pixel"> (in_batch, , , in_shape)
  in_mean = Constant <value = float[3, 1, 1] {{{mean}}}> ()
  in_std = Constant <value = float[3, 1, 1] {{{std}}}> ()
  in_centred = Sub (in_resized, in_mean)
  pixel_values = Div (in_centred, in_std)
}}
"""

POSTPROCESSING_STRETCHED = """
<ir_version: 8, opset_import: ["": {opset}]>
postprocess (float[1, {masks}, {mask_side}, {mask_side}] low_res_masks, float[2] orig_im_size)
    => (float[1, {masks}, height, width] masks) {{
  out_size = Cast <to = 7> (orig_im_size)
  out_channels = Constant <value = int64[2] {{1, {masks}}}> ()
  out_shape = Concat <axis = 0> (out_channels, out_size)
  masks = Resize <mode = "linear", coordinate_transformation_mode = "half_pixel"> (low_res_masks, , , out_shape)
}}
"""

POSTPROCESSING = """
<ir_version: 8, opset_import: ["": {opset}]>
postprocess (float[1, 1, {mask_side}, {mask_side}] low_res_masks, float[2] orig_im_size)
    => (float[1, 1, height, width] masks) {{
  out_size = Cast <to = 7> (orig_im_size)
  {reshaped}
  out_channels = Constant <value = int64[2] {{1, 1}}> ()
  out_sides = Constant <value = int64[4] {{1, 1, {side}, {side}}}> ()
  out_padded = Resize <mode = "linear", coordinate_transformation_mode = "half_pixel"> (low_res_masks, , , out_sides)
  out_starts = Constant <value = int64[2] {{0, 0}}> ()
  out_axes = Constant <value = int64[2] {{2, 3}}> ()
  out_cropped = Slice (out_padded, out_starts, out_reshaped, out_axes)
  out_shape = Concat <axis = 0> (out_channels, out_size)
  masks = Resize <mode = "linear", coordinate_transformation_mode = "half_pixel"> (out_cropped, , , out_shape)
}}
"""


def preprocessing_graph(
    side: int, mean: Sequence[float], std: Sequence[float], stretched: bool = False
) -> "GraphProto":
    """The graph from image (H, W, 3), RGB from 0 to 255, to pixel_values (1, 3, side, side), as `HQSamImageProcessor`.

    mean, std: per channel, for values in [0, 1]. stretched: as `HQSam2ImageProcessor`.
    """
    numbers = {
        name: ", ".join(str(255 * value) for value in values) for name, values in (("mean", mean), ("std", std))
    }
    if stretched:
        return _parse(PREPROCESSING_STRETCHED.format(opset=OPSET, side=side, **numbers))
    return _parse(PREPROCESSING.format(opset=OPSET, side=side, reshaped=RESHAPED.format("in", side), **numbers))


def postprocessing_graph(side: int, mask_side: int, stretched: bool = False, masks: int = 1) -> "GraphProto":
    """The graph from low_res_masks (1, 1, m, m) and orig_im_size (H, W) to masks (1, 1, H, W).

    It does the same as `HQSamImageProcessor.post_process_masks` without thresholding. stretched: the same as
    `HQSam2ImageProcessor`, for `masks` masks.
    """
    if stretched:
        return _parse(POSTPROCESSING_STRETCHED.format(opset=OPSET, mask_side=mask_side, masks=masks))
    reshaped = RESHAPED.format("out", side)
    return _parse(POSTPROCESSING.format(opset=OPSET, side=side, mask_side=mask_side, reshaped=reshaped))


def _parse(text: str) -> "GraphProto":
    from onnx import parser

    return parser.parse_model(text).graph


def prepend(subgraph: "GraphProto", model: "ModelProto") -> None:
    """Put a subgraph before a model, in place. Its only output must have the name of the model's first input."""
    graph = model.graph
    _replace(graph.node, [*subgraph.node, *graph.node])
    _replace(graph.input, [*subgraph.input, *graph.input[1:]])


def append(subgraph: "GraphProto", model: "ModelProto") -> None:
    """Put a subgraph after a model, in place. Its first input must have the name of one of the model's outputs.

    The outputs of the subgraph come before those of the model.
    """
    graph = model.graph
    graph.node.extend(subgraph.node)
    graph.input.extend(subgraph.input[1:])
    _replace(graph.output, [*subgraph.output, *graph.output])


def _replace(field: Any, values: Sequence[Any]) -> None:
    copies = [type(value)() for value in values]
    for copy, value in zip(copies, values):
        copy.CopyFrom(value)
    del field[:]
    field.extend(copies)


__all__ = ["OPSET", "append", "postprocessing_graph", "prepend", "preprocessing_graph"]
