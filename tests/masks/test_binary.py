"""One rule says what a mask is, and everything public that takes a mask goes through it."""

import inspect

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFilter

import hq_sam_hf.masks
from hq_sam_hf.masks import (
    coco_annotation,
    cutout,
    deepest_pixel,
    fill_small_holes,
    find_components,
    label_map,
    mask_extent,
    mask_iou,
    mask_to_bbox,
    mask_to_geojson,
    mask_to_polygons,
    mask_to_rle,
    overlay,
    remove_small_components,
    save_coco,
    save_label_map,
    transparent_overlay,
)
from hq_sam_hf.masks.binary import as_binary_array, as_binary_mask, check_size
from hq_sam_hf.masks.cropped_mask import CroppedMask
from hq_sam_hf.masks.rle import foreground, run_lengths
from hq_sam_hf.model.mask_reading import read_binary_mask

SIZE = (9, 12)
MASK = np.zeros(SIZE, dtype=bool)
MASK[1:8, 2:9] = True
MASK[3, 4] = False  # a hole
MASK[8, 11] = True  # a component of its own
IMAGE = np.random.default_rng(0).integers(1, 255, (*SIZE, 3), dtype=np.uint8)


def read_only(mask):
    copy = mask.astype(np.uint8)
    copy.flags.writeable = False
    return copy


FORMS = {
    "uint8 of 0 and 1": lambda mask: mask.astype(np.uint8),
    "uint8 of 0 and 255": lambda mask: mask.astype(np.uint8) * 255,
    "int8": lambda mask: mask.astype(np.int8),
    "int64 of 0 and 255": lambda mask: mask.astype(np.int64) * 255,
    "uint16": lambda mask: mask.astype(np.uint16),
    "float32": lambda mask: mask.astype(np.float32),
    "float64, soft": lambda mask: np.where(mask, 0.51, 0.5),
    "float16": lambda mask: mask.astype(np.float16),
    "read only": read_only,
    "Fortran order": lambda mask: np.asfortranarray(mask),
    "every second column": lambda mask: np.repeat(mask, 2, axis=1)[:, ::2],
    "masked": lambda mask: np.ma.masked_array(np.ones(mask.shape, dtype=np.uint8), ~mask),
    "torch bool": torch.from_numpy,
    "torch uint8 of 0 and 255": lambda mask: torch.from_numpy(mask).byte() * 255,
    "torch bfloat16 with gradient": lambda mask: torch.from_numpy(mask).bfloat16().requires_grad_(),
    "torch sparse": lambda mask: torch.from_numpy(mask).float().to_sparse(),
    "rows of bool": lambda mask: mask.tolist(),
    "rows of 0 and 255": lambda mask: (mask * 255).tolist(),
    "PIL 1": Image.fromarray,
    "NumPy bool with bytes of 255": lambda mask: np.asarray(Image.fromarray(mask)),
    "PIL L": lambda mask: Image.fromarray(mask.astype(np.uint8) * 255),
    "PIL RGB": lambda mask: Image.fromarray(np.dstack([mask * np.uint8(255)] * 3)),
    "PIL alpha over one colour": lambda mask: Image.fromarray(
        np.dstack([np.full((*mask.shape, 3), 255, dtype=np.uint8), mask * np.uint8(255)])
    ),
}


def coco_file(mask, folder):
    save_coco(folder / "coco.json", [("a.jpg", SIZE, [{"segmentation": mask}])])
    return (folder / "coco.json").read_text()


def label_file(mask, folder):
    save_label_map(folder / "labels.png", [{"segmentation": mask}], SIZE)
    return (folder / "labels.png").read_bytes()


# What each function makes of a mask, in a form that can be compared. Keys are names of the package.
FUNCTIONS = {
    "as_binary_mask": lambda mask, folder: as_binary_mask(mask).tolist(),
    "coco_annotation": lambda mask, folder: coco_annotation({"segmentation": mask}, SIZE),
    "save_coco": coco_file,
    "label_map": lambda mask, folder: label_map([{"segmentation": mask}], SIZE).tolist(),
    "save_label_map": label_file,
    "cutout": lambda mask, folder: cutout(IMAGE, mask).tobytes(),
    "overlay": lambda mask, folder: overlay(IMAGE, [mask]).tobytes(),
    "transparent_overlay": lambda mask, folder: transparent_overlay(mask).convert("RGBA").tobytes(),
    "mask_to_polygons": lambda mask, folder: [
        mask_to_polygons(mask, 1, 2, name) for name in ("pixel_corners", "pixel_centres")
    ],
    "mask_to_geojson": lambda mask, folder: mask_to_geojson(mask),
    "mask_to_rle": lambda mask, folder: mask_to_rle(mask),
    "mask_to_bbox": lambda mask, folder: mask_to_bbox(mask),
    "mask_extent": lambda mask, folder: mask_extent(mask),
    "deepest_pixel": lambda mask, folder: deepest_pixel(mask),
    "find_components": lambda mask, folder: find_components(mask).areas.tolist(),
    "fill_small_holes": lambda mask, folder: fill_small_holes(mask, 2)[0].tolist(),
    "remove_small_components": lambda mask, folder: remove_small_components(mask, 2)[0].tolist(),
    "CroppedMask.of": lambda mask, folder: CroppedMask.of(mask).full(SIZE).tolist(),
    "run_lengths": lambda mask, folder: run_lengths(mask, 0, 0, SIZE),
}
# They compare only bool masks, of any number of dimensions and on any device.
BOOL_ONLY = {"boundary_iou", "mask_iou"}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_mask_in_any_form_gives_the_same_as_a_bool_mask(function, tmp_path):
    use = FUNCTIONS[function]
    expected = use(MASK, tmp_path)
    for form, change in FORMS.items():
        assert use(change(MASK), tmp_path) == expected, form


def test_the_table_has_every_public_function_that_takes_a_mask():
    public = {name: getattr(hq_sam_hf.masks, name) for name in hq_sam_hf.masks.__all__}
    taking = {
        name
        for name, value in public.items()
        if {"mask", "masks", "pred", "labels", "record", "records"} & inspect.signature(value).parameters.keys()
    }
    assert taking | {"save_coco"} == (FUNCTIONS.keys() & public.keys()) | BOOL_ONLY


# No masks: the value, a part of the message, and what the message advises.
NO_MASKS = {
    "label map": (MASK * np.uint8(1) + MASK[::-1] * np.uint8(1), "from 0 to 2.*`{name} == 1`", lambda m: m == 1),
    "0 and 2": (MASK * 2, "from 0 to 2.*`{name} == 2`", lambda m: m == 2),
    "0, 1 and 255 to ignore": (
        np.where(MASK, 1, np.eye(*SIZE, dtype=np.int64) * 255),
        "from 0 to 255.*`{name} == 1`",
        lambda m: m == 1,
    ),
    "all 7": (np.full(SIZE, 7), "from 7 to 7.*`{name} == 7`", lambda m: m == 7),
    "int8 after an overflow": (-MASK.astype(np.int8), "from -1 to 0.*`{name} != 0`", lambda m: m != 0),
    "soft mask of 0..255": (MASK * np.uint8(200) + np.uint8(20), "`{name} > 127`", lambda m: m > 127),
    "logits": (np.where(MASK, 3.5, -3.5), "-3.5 to 3.5.*`{name} > 0`", lambda m: m > 0),
    "logits of torch": (torch.from_numpy(np.where(MASK, 3.5, -3.5)), "-3.5 to 3.5.*`{name} > 0`", lambda m: m > 0),
    "floats of 0..255": (MASK * 255.0, "0.0 to 255.0.*`{name} > 127`", lambda m: m > 127),
    "infinite": (np.where(MASK, np.inf, 0), "0.0 to inf.*`{name} > 0`", lambda m: m > 0),
    "complex": (MASK * 1j, r"complex.*`{name}.astype\(bool\)`", lambda m: m.astype(bool)),
    "objects": (MASK.astype(object), r"object.*`{name}.astype\(bool\)`", lambda m: m.astype(bool)),
    "several masks": (MASK[None], r"\(1, 9, 12\).*`{name}\[0\]`", lambda m: m[0]),
    "channels": (np.dstack([MASK] * 3), r"\(9, 12, 3\).*`{name}\[..., 0\]`", lambda m: m[..., 0]),
    "colours and another alpha": (
        Image.fromarray(np.dstack([MASK[::-1] * np.uint8(255)] * 3 + [MASK * np.uint8(255)])),
        r"by its alpha.*getchannel\('A'\)",
        lambda m: m.getchannel("A"),
    ),
    "label map of PIL": (
        Image.fromarray(np.where(MASK, 7, np.eye(*SIZE, dtype=int)).astype(np.uint8)),
        "from 0 to 7.*`mask == 7`",
        lambda m: np.asarray(m) == 7,
    ),
}


@pytest.mark.parametrize("case", NO_MASKS)
def test_anything_else_is_refused_by_name_and_the_advice_helps(case):
    value, message, advice = NO_MASKS[case]
    with pytest.raises(ValueError, match=message.format(name="thing")):
        as_binary_mask(value, "thing")
    assert as_binary_mask(advice(value)).shape == SIZE


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_function_refuses_what_is_no_mask(function, tmp_path):
    are_labels = ("0 and 2", "soft mask of 0..255") if function == "transparent_overlay" else ()
    for case in {"0 and 2", "soft mask of 0..255", "logits", "logits of torch", "several masks"}.difference(
        are_labels
    ):
        with pytest.raises(ValueError, match=r"`(mask|masks\[0\]|segmentation|pixels|labels)`"):
            FUNCTIONS[function](NO_MASKS[case][0], tmp_path)
    assert not list(tmp_path.iterdir())


def test_nan_is_refused_and_the_advice_helps():
    soft = np.where(MASK, 1.0, np.nan)
    with pytest.raises(ValueError, match=r"NaN.*`mask\[mask != mask\] = 0`"):
        as_binary_mask(soft)
    soft[soft != soft] = 0
    assert np.array_equal(as_binary_mask(soft), MASK)


@pytest.mark.parametrize("value", [None, "mask.png", b"\0", {"size": [1, 1]}, 3, [[True], [True, False]], [["a"]]])
def test_what_is_no_array_is_refused(value):
    with pytest.raises(ValueError, match="`mask`"):
        as_binary_mask(value)


@pytest.mark.parametrize("value", [np.zeros((0, 5), dtype=np.uint8), np.zeros((4, 0)), np.zeros((0, 0), dtype=bool)])
def test_masks_without_pixels_are_masks(value):
    assert as_binary_mask(value).shape == value.shape
    assert mask_to_bbox(value) == [0, 0, 0, 0]


def test_pil_images_are_read_as_mask_files_are_with_soft_edges(tmp_path):
    soft = Image.new("L", (60, 60))
    ImageDraw.Draw(soft).ellipse((10, 10, 50, 45), fill=255)
    soft = soft.filter(ImageFilter.GaussianBlur(1))
    soft.save(tmp_path / "mask.png")
    expected = read_binary_mask(tmp_path / "mask.png", "mask")
    assert np.array_equal(as_binary_mask(soft), expected)
    assert np.array_equal(as_binary_mask(np.asarray(soft) > 128), expected)
    with pytest.raises(ValueError, match="`mask > 127`"):
        as_binary_mask(np.asarray(soft))


def test_bool_masks_are_not_copied_and_arrays_keep_their_shape():
    assert as_binary_mask(MASK) is MASK
    assert as_binary_array(np.stack([MASK, ~MASK]) * 255).shape == (2, *SIZE)


def test_masks_must_have_the_size_of_the_image():
    for draw in (lambda mask: cutout(IMAGE, mask), lambda mask: overlay(IMAGE, [MASK, mask])):
        with pytest.raises(ValueError, match=r"its image, \(9, 12\), got \(12, 9\)"):
            draw(MASK.T)


def test_labels_of_a_label_map_are_no_mask_and_floats_are_no_labels():
    labels = MASK * np.uint8(3)
    colours = np.asarray(transparent_overlay(labels).convert("RGBA"))
    assert not np.array_equal(colours, np.asarray(transparent_overlay(MASK).convert("RGBA")))
    assert np.array_equal(colours, np.asarray(transparent_overlay(torch.from_numpy(labels)).convert("RGBA")))
    with pytest.raises(ValueError, match="`labels` must hold floats from 0 to 1"):
        transparent_overlay(labels.astype(np.float32))


def test_soft_masks_of_data_keep_their_own_threshold_and_integers_follow_the_rule():
    grey = np.arange(256, dtype=np.float32) / 255
    assert np.array_equal(foreground(grey), np.arange(256) > 128)
    assert np.array_equal(foreground(MASK * np.uint8(255)), MASK)
    with pytest.raises(ValueError, match="from 0 to 2"):
        foreground(MASK * 2)
    assert foreground(np.float32([1 + 1e-6, -1e-6])).tolist() == [True, False]  # after resizing
    for no_mask in (np.where(MASK, 3.0, -3.0), MASK * 255.0, np.where(MASK, np.nan, 0)):
        with pytest.raises(ValueError, match="must hold floats from 0 to 1"):
            foreground(no_mask)


def test_the_advice_of_the_metrics_helps():
    for form in (MASK * np.uint8(1), MASK * np.uint8(255)):
        with pytest.raises(ValueError, match="`as_binary_array"):
            mask_iou(form, MASK)
        assert mask_iou(as_binary_array(form), MASK) == 1
    pred, ground_truth = np.stack([MASK] * 2), np.stack([MASK] * 3)
    with pytest.raises(ValueError, match=r"\(2, 9, 12\) and \(3, 9, 12\).*`pred\[:, None\]`"):
        mask_iou(pred, ground_truth)
    assert mask_iou(pred[:, None], ground_truth[None]).shape == (2, 3)


def test_points_are_drawn_without_labels_and_refused_with_too_few():
    assert overlay(IMAGE, [], points=[(3, 4)]) == overlay(IMAGE, [], points=[(3, 4)], labels=[1])
    with pytest.raises(ValueError, match="1 labels for 2 points"):
        overlay(IMAGE, [], points=[(3, 4), (5, 6)], labels=[1])


@pytest.mark.parametrize("size", [(-1, 5), (4.5, 5), (None, 5), ("4", "5"), (4,), 4, None, (float("nan"), 4)])
def test_sizes_that_are_none_are_refused(size):
    with pytest.raises(ValueError, match=r"`size` must be \(height, width\)"):
        check_size(size)


def test_whole_sizes_of_any_type_are_taken():
    for size in ([4, 5], (np.int64(4), np.float32(5)), np.array([4, 5]), torch.Size([4, 5])):
        assert check_size(size) == (4, 5)
