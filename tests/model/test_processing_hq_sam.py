"""Prompts of any number and nesting: the tensors they become, padding that changes nothing, and errors."""

import itertools

import numpy as np
import pytest
import torch
from PIL import Image

from hq_sam_hf import HQSam2Processor, HQSamModel, HQSamProcessor
from support.oracle import SMALL, pair
from support.oracle_sam2 import sam2_pair


@pytest.fixture(scope="module")
def model() -> HQSamModel:
    return pair(SMALL)[1]


@pytest.fixture(scope="module")
def processor(model) -> HQSamProcessor:
    return HQSamProcessor.from_config(model.config)


@pytest.fixture(scope="module", params=["HQ-SAM", "HQ-SAM 2"])
def either(request, model, processor) -> tuple:
    """A model of either family and its processor."""
    if request.param == "HQ-SAM":
        return model, processor
    other = sam2_pair("small")[1]
    return other, HQSam2Processor.from_config(other.config)


@pytest.fixture(scope="module")
def images(photo) -> list[Image.Image]:
    """Three images of different shapes."""
    return [photo, photo.crop((100, 0, 400, 400)), photo.resize((128, 128))]


def test_coordinates_are_scaled_to_the_model_input(processor, photo):
    inputs = processor(photo, input_points=[[[300, 200]]], input_boxes=[[[0, 0, 600, 400]]])
    assert inputs["reshaped_input_sizes"].tolist() == [[85, 128]]
    assert inputs["input_points"][0, 0, 0].tolist() == pytest.approx([64, 42.5])
    assert inputs["input_boxes"][0, 0].tolist() == pytest.approx([0, 0, 128, 85])


SHALLOW_POINTS = [
    [[[30, 40], [50.5, 60]]],
    (((30, 40), (50.5, 60)),),
    [np.array([[30, 40], [50.5, 60]])],
    np.array([[[30, 40], [50.5, 60]]]),
    [[torch.tensor([30.0, 40.0]), (np.float32(50.5), np.int64(60))]],
]
DEEP_POINTS = [
    [[[[30, 40], [50.5, 60]]]],
    [[np.array([[30, 40], [50.5, 60]])]],
    torch.tensor([[[[30, 40], [50.5, 60]]]], requires_grad=True),
]
SHALLOW_LABELS = [[[1, 0]], np.array([[1, 0]]), [(True, False)], [torch.tensor([1.0, 0.0])]]
DEEP_LABELS = [[[[1, 0]]], torch.tensor([[[1, 0]]]), [np.array([[1, 0]], dtype=np.uint8)]]


@pytest.mark.parametrize(
    ("points", "labels"),
    [*itertools.product(SHALLOW_POINTS, SHALLOW_LABELS), *itertools.product(DEEP_POINTS, DEEP_LABELS)],
    ids=lambda value: type(value).__name__,
)
def test_points_and_labels_of_every_form_give_the_same_tensors(processor, photo, points, labels):
    inputs = processor(photo, input_points=points, input_labels=labels)
    assert (inputs["input_points"].dtype, inputs["input_labels"].dtype) == (torch.float32, torch.int64)
    expected = torch.tensor([[[[30, 40], [50.5, 60]]]]) * torch.tensor([128 / 600, 85 / 400])
    torch.testing.assert_close(inputs["input_points"], expected)
    assert inputs["input_labels"].tolist() == [[[1, 0]]]


@pytest.mark.parametrize(
    "boxes", [[[[1, 2, 30, 40]]], np.array([[[1, 2, 30, 40]]]), torch.tensor([[[1, 2, 30, 40]]]), [[(1, 2, 30, 40)]]]
)
def test_boxes_of_every_form_give_the_same_tensor(processor, photo, boxes):
    inputs = processor(photo, input_boxes=boxes)
    assert inputs["input_boxes"].dtype == torch.float32
    assert inputs["input_boxes"].shape == (1, 1, 4)
    assert inputs["input_boxes"][0, 0, 3].item() == pytest.approx(40 * 85 / 400)


MIXTURES = [[], ["points"], ["boxes"], ["masks"], ["points", "boxes"], ["boxes", "masks"], ["points", "masks"]]


def random_prompts(generator: np.random.Generator, size: tuple[int, int], mask_size: int) -> dict:
    """Prompts of one image of (width, height) size, in its pixels: any mixture of points, boxes and masks, or none."""
    width, height = size
    kinds = MIXTURES[generator.integers(len(MIXTURES))]
    count = int(generator.integers(1, 5))
    prompts = {}
    if "points" in kinds:
        numbers = generator.integers(1, 6, count)
        prompts["points"] = [(generator.random((n, 2)) * [width, height]).tolist() for n in numbers]
        prompts["labels"] = [generator.integers(0, 2, n).tolist() for n in numbers]
    if "boxes" in kinds:
        corners = np.sort(generator.random((count, 2, 2)), axis=1) * [width, height]
        prompts["boxes"] = corners.reshape(count, 4).tolist()
    if "masks" in kinds:
        prompts["masks"] = (20 * generator.random((count, mask_size, mask_size)) - 10).astype(np.float32)
    return prompts


@pytest.mark.parametrize("seed", range(20))
def test_a_ragged_batch_gives_the_same_masks_as_separate_calls(either, images, seed):
    model, processor = either
    generator = np.random.default_rng(seed)
    mask_size = processor.image_processor.mask_side
    prompts = [random_prompts(generator, image.size, mask_size) for image in images]
    prompts[seed % 3] = {}  # one image without any prompt
    names = {"input_points": "points", "input_labels": "labels", "input_boxes": "boxes", "input_masks": "masks"}

    def arguments(chosen):
        lists = {argument: [p.get(name) for p in chosen] for argument, name in names.items()}
        return {
            argument: entries for argument, entries in lists.items() if any(entry is not None for entry in entries)
        }

    multimask_output, hq_token_only = bool(seed & 1), bool(seed & 2)
    options = {"multimask_output": multimask_output, "hq_token_only": hq_token_only}
    inputs = processor(images, **arguments(prompts))
    with torch.no_grad():
        together = model(**inputs, **options)
    masks = processor.post_process_masks(together, inputs)
    for i, image in enumerate(images):
        alone_inputs = processor(image, **arguments([prompts[i]]))
        with torch.no_grad():
            alone = model(**alone_inputs, **options)
        count = alone.pred_masks.shape[1]
        assert inputs.get("prompt_counts", torch.ones(3, dtype=torch.long))[i] == count
        torch.testing.assert_close(together.pred_masks[i, :count], alone.pred_masks[0], atol=5e-6, rtol=0)
        torch.testing.assert_close(together.iou_scores[i, :count], alone.iou_scores[0], atol=1e-6, rtol=0)
        expected = processor.post_process_masks(alone, alone_inputs)[0]
        assert masks[i].shape == expected.shape
        assert (masks[i] == expected).float().mean() > 0.9999


@pytest.mark.parametrize("count", [1, 3, 10])
def test_padded_points_change_nothing(either, photo, count):
    model, processor = either
    points, labels = [[100, 120], [300, 200]], [1, 0]
    padded = processor(photo, input_points=[points + [[0, 0]] * count], input_labels=[labels + [-10] * count])
    plain = processor(photo, input_points=[points], input_labels=[labels])
    with torch.no_grad():
        first, second = model(**padded).pred_masks, model(**plain).pred_masks
    torch.testing.assert_close(first, second, atol=5e-6, rtol=0)


def test_no_prompt_gives_one_mask_and_an_empty_list_gives_none(either, images):
    model, processor = either
    inputs = processor(images, input_boxes=[[[1, 2, 30, 40], [5, 5, 60, 70]], None, []])
    assert inputs["prompt_counts"].tolist() == [2, 1, 0]
    masks = processor.post_process_masks(model(**inputs), inputs)
    assert [mask.shape[:2] for mask in masks] == [(2, 3), (1, 3), (0, 3)]
    for arguments in ({"input_boxes": [[]]}, {"input_points": [[]]}, {"input_boxes": torch.zeros(1, 0, 4)}):
        nothing = processor(images[0], **arguments)
        assert nothing["prompt_counts"].tolist() == [0]
        assert processor.post_process_masks(model(**nothing), nothing)[0].shape == (0, 3, 400, 600)


EMPTY_FORMS = {
    "input_points": [
        [[]],
        [()],
        [[[]]],
        [np.zeros((0, 2))],
        np.zeros((1, 0, 2)),
        torch.zeros(1, 0, 3, 2),
        [np.zeros(0)],
    ],
    "input_boxes": [[[]], [()], [[[]]], [np.zeros((0, 4))], np.zeros((1, 0, 4)), torch.zeros(1, 0, 4), [np.zeros(0)]],
    "input_masks": [
        [[]],
        [()],
        [np.zeros((0, 32, 32))],
        [np.zeros((0, 400, 600), dtype=bool)],
        torch.zeros(1, 0, 32, 32),
    ],
}


@pytest.mark.parametrize("name", EMPTY_FORMS)
def test_empty_prompts_of_every_form_mean_that_there_is_no_object(either, photo, name):
    model, processor = either
    for form in EMPTY_FORMS[name]:
        inputs = processor(photo, **{name: form})
        assert inputs["prompt_counts"].tolist() == [0]
        with torch.no_grad():
            outputs = model(**inputs)
        assert processor.post_process_masks(outputs, inputs)[0].shape == (0, 3, 400, 600)


def test_empty_labels_and_ground_truth_go_with_empty_prompts(either, photo):
    processor = either[1]
    for labels in (None, [[]], [[[]]], [np.zeros(0)], torch.zeros(1, 0, 2)):
        inputs = processor(photo, input_points=[np.zeros((0, 2))], input_labels=labels)
        assert inputs["prompt_counts"].tolist() == [0]
    for maps in ([[]], np.zeros((1, 0, 400, 600), dtype=bool)):
        inputs = processor(photo, input_boxes=[[]], segmentation_maps=maps)
        assert (inputs["labels"] == -100).all()
    assert "input_points" not in processor(photo, input_labels=[[]])  # no labels are no prompt


def test_all_kinds_of_prompts_may_be_empty_together(either, photo):
    processor = either[1]
    inputs = processor(photo, input_points=[[]], input_labels=[[]], input_boxes=[[]], input_masks=[[]])
    assert inputs["prompt_counts"].tolist() == [0]


def test_one_mask_prompt_is_used_for_all_boxes_of_its_image(either, images):
    model, processor = either
    boxes = [[[1, 2, 30, 40], [5, 5, 60, 70]], [[5, 5, 60, 70]]]
    mask = np.random.default_rng(0).normal(size=(32, 32)).astype(np.float32)
    shared = processor(images[:2], input_boxes=boxes, input_masks=[mask, None])
    repeated = processor(images[:2], input_boxes=boxes, input_masks=[np.stack([mask, mask]), None])
    assert torch.equal(model(**shared).pred_masks, model(**repeated).pred_masks)


def test_a_bool_mask_prompt_has_the_size_of_the_image(processor, photo):
    mask = np.zeros((400, 600), dtype=bool)
    mask[100:300, 200:400] = True
    inputs = processor(photo, input_masks=[mask])
    assert inputs["input_masks"].shape == (1, 1, 32, 32)
    assert inputs["input_masks"].max() == 10
    assert inputs["input_masks"].min() == -10
    share = (inputs["input_masks"] > 0).float().mean().item()
    assert share == pytest.approx(mask.mean() * 85 / 128, abs=0.02)


def test_predicted_logits_can_be_passed_as_mask_prompts(either, photo):
    model, processor = either
    first = model(**processor(photo, input_boxes=[[[10, 20, 300, 200]]]), multimask_output=False)
    again = processor(photo, input_boxes=[[[10, 20, 300, 200]]], input_masks=[first.pred_masks[0, :, 0]])
    assert torch.equal(again["input_masks"], first.pred_masks[:, :, 0])


def test_segmentation_maps_become_labels_of_zeros_and_ones(model, processor, images):
    maps = [np.zeros((2, 400, 600), dtype=bool), np.zeros((400, 300), dtype=np.uint8)]
    maps[0][0, :200] = True
    maps[0][1, :, 300:] = True
    maps[1][:, :150] = 255
    inputs = processor(images[:2], input_boxes=[[[0, 0, 9, 9], [0, 0, 9, 9]], [[0, 0, 9, 9]]], segmentation_maps=maps)
    labels = inputs["labels"]
    assert labels.dtype == torch.int64
    assert labels.shape == (2, 2, 128, 128)
    assert labels[0].unique().tolist() == [0, 1]
    assert (labels[1, 1] == -100).all()  # the second image has one object
    height, width = 85, 128
    assert labels[0, 0].sum() == pytest.approx(height // 2 * width, abs=width)
    assert labels[0, 1].sum() == height * width // 2
    assert labels[1, 0].sum() == 128 * 48
    assert model(**inputs).loss.isfinite()


def test_both_signatures_of_post_process_masks_agree(model, processor, images):
    inputs = processor(images, input_boxes=[[[1, 2, 30, 40]]] * 3)
    output = model(**inputs)
    ours = processor.post_process_masks(output, inputs)
    theirs = processor.post_process_masks(output.pred_masks, inputs["original_sizes"], inputs["reshaped_input_sizes"])
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs))
    with pytest.raises(ValueError, match="takes \\(outputs, inputs\\) or"):
        processor.post_process_masks(output.pred_masks, inputs["original_sizes"])
    with pytest.raises(ValueError, match="needs the inputs that this processor returned"):
        processor.post_process_masks(output, {"pixel_values": 1})


def test_a_saved_processor_loads_the_same(processor, tmp_path, photo):
    processor.save_pretrained(tmp_path)
    again = HQSamProcessor.from_pretrained(tmp_path)
    assert torch.equal(again(photo)["pixel_values"], processor(photo)["pixel_values"])
    assert again.image_processor.mask_size == {"longest_edge": 32}


def test_return_tensors_np_gives_numpy_arrays(processor, photo):
    inputs = processor(photo, input_points=[[[3, 4]]], return_tensors="np")
    assert isinstance(inputs["input_points"], np.ndarray)


NAN, INF = float("nan"), float("inf")
BAD_PROMPTS = {
    "points: one [x, y]": ({"input_points": [3, 4]}, "`input_points`.*`input_points` has 2 entries for 1 image"),
    "points: flat": ({"input_points": [[3, 4]]}, "`input_points` must be nested"),
    "points: too deep": ({"input_points": [[[[[3, 4]]]]]}, "`input_points` must be nested"),
    "points: three numbers": (
        {"input_points": [[[3, 4, 5]]]},
        "`input_points` must be nested.*image 0 has \\[3, 4, 5\\]",
    ),
    "points: one number": ({"input_points": [[[3]]]}, "`input_points` must be nested"),
    "points: string": ({"input_points": "3,4"}, "`input_points` must be nested.*got a str"),
    "points: strings": ({"input_points": [[["3", "4"]]]}, "`input_points` must be nested"),
    "points: a number": ({"input_points": 3}, "`input_points` must be nested.*got a int"),
    "points: NaN": ({"input_points": [[[NAN, 4]]]}, "`input_points`.*must be finite"),
    "points: infinite": ({"input_points": [[[3, INF]]]}, "`input_points`.*must be finite"),
    "points: right of the image": ({"input_points": [[[601, 4]]]}, "`input_points` must lie inside.*600 wide"),
    "points: left of the image": ({"input_points": [[[-1, 4]]]}, "`input_points` must lie inside"),
    "points: x and y swapped": (
        {"input_points": [[[350, 450]]]},
        "`input_points` must lie inside.*got \\(350, 450\\)",
    ),
    "points: for two images": ({"input_points": [[[3, 4]], [[3, 4]]]}, "`input_points` has 2 entries"),
    "points: empty list": ({"input_points": []}, "`input_points` has 0 entries"),
    "points: object without point": ({"input_points": [[[], [[3, 4]]]]}, "object without a point"),
    "points: None for an object": ({"input_points": [[None, [[3, 4]]]]}, "object without a point"),
    "points: None inside": ({"input_points": [[[None, 4]]]}, "`input_points` must be nested"),
    "points: mixed depth": ({"input_points": [[[3, 4], [[5, 6]]]]}, "`input_points` must be nested"),
    "points: booleans": ({"input_points": [[[True, False]]]}, "`input_points` must be nested"),
    "points: dictionary": ({"input_points": {"x": 3}}, "`input_points` must be nested.*got a dict"),
    "labels: without points": ({"input_labels": [[1]]}, "`input_labels` were given without `input_points`"),
    "labels: too few": (
        {"input_points": [[[3, 4], [5, 6]]], "input_labels": [[1]]},
        "image 0 has 2 points and the labels \\[1\\]",
    ),
    "labels: too many": ({"input_points": [[[3, 4]]], "input_labels": [[1, 0]]}, "image 0 has 1 points"),
    "labels: too deep": ({"input_points": [[[3, 4]]], "input_labels": [[[1]]]}, "`input_labels` must be"),
    "labels: flat": ({"input_points": [[[[3, 4]]]], "input_labels": [[1]]}, "`input_labels` must be nested"),
    "labels: 7": ({"input_points": [[[3, 4]]], "input_labels": [[7]]}, "`input_labels` must be 1 .*has 7"),
    "labels: box corners": ({"input_points": [[[3, 4]]], "input_labels": [[2]]}, "Pass boxes as `input_boxes`"),
    "labels: half": ({"input_points": [[[3, 4]]], "input_labels": [[0.5]]}, "`input_labels` must be 1"),
    "labels: string": ({"input_points": [[[3, 4]]], "input_labels": [["1"]]}, "`input_labels` must be 1"),
    "labels: None": ({"input_points": [[[3, 4]]], "input_labels": [[None]]}, "`input_labels` must be 1"),
    "labels: a number": ({"input_points": [[[3, 4]]], "input_labels": 1}, "`input_labels` must be nested.*got a int"),
    "labels: empty": ({"input_points": [[[3, 4]]], "input_labels": []}, "`input_labels` has 0 entries"),
    "labels: for no points": (
        {"input_points": [None], "input_labels": [[1]]},
        "`input_labels` has labels for image 0",
    ),
    "boxes: one box": ({"input_boxes": [1, 2, 3, 4]}, "`input_boxes` has 4 entries"),
    "boxes: one box per image": (
        {"input_boxes": [[1, 2, 3, 4]]},
        "for a single box, pass \\[\\[\\[x1, y1, x2, y2\\]\\]\\]",
    ),
    "boxes: too deep": ({"input_boxes": [[[[1, 2, 3, 4]]]]}, "`input_boxes` must be nested"),
    "boxes: three numbers": ({"input_boxes": [[[1, 2, 3]]]}, "`input_boxes` must be nested"),
    "boxes: ragged": ({"input_boxes": [[[1, 2, 3, 4], [1, 2]]]}, "`input_boxes` must be nested"),
    "boxes: string": ({"input_boxes": [["1,2,3,4"]]}, "`input_boxes` must be nested"),
    "boxes: NaN": ({"input_boxes": [[[1, 2, NAN, 4]]]}, "`input_boxes`.*must be finite"),
    "boxes: x2 < x1": ({"input_boxes": [[[30, 2, 3, 4]]]}, "x1 <= x2.*Is it \\(x, y, width, height\\)"),
    "boxes: y2 < y1": ({"input_boxes": [[[3, 20, 30, 4]]]}, "y1 <= y2"),
    "boxes: outside": ({"input_boxes": [[[700, 2, 800, 40]]]}, "`input_boxes` must touch the image"),
    "boxes: left of it": ({"input_boxes": [[[-50, 2, -10, 40]]]}, "`input_boxes` must touch the image"),
    "boxes: None inside": ({"input_boxes": [[None]]}, "`input_boxes` must be nested"),
    "boxes: empty list": ({"input_boxes": []}, "`input_boxes` has 0 entries"),
    "boxes: a set": ({"input_boxes": {1, 2}}, "`input_boxes` must be nested.*got a set"),
    "masks: logits of the wrong size": (
        {"input_masks": [np.zeros((256, 256), np.float32)]},
        "logits of the mask size 32 x 32",
    ),
    "masks: bool of the wrong size": (
        {"input_masks": [np.zeros((32, 32), bool)]},
        "`input_masks` must have the size of their image",
    ),
    "masks: NaN": ({"input_masks": [np.full((32, 32), np.nan)]}, "`input_masks` must be finite"),
    "masks: rank 4": (
        {"input_masks": [np.zeros((1, 1, 32, 32))]},
        "`input_masks` must have shape \\(height",
    ),
    "masks: empty": ({"input_masks": []}, "`input_masks` must have one entry per image"),
    "masks: of two sizes": (
        {"input_masks": [[np.zeros((5, 5)), np.zeros((6, 6))]]},
        "`input_masks` of image 0 must be one or more masks",
    ),
    "masks: for two images": ({"input_masks": [None, None]}, "got 2 entries for 1 image"),
    "masks: instance map": ({"input_masks": [np.arange(240000).reshape(400, 600) % 9]}, "`input_masks` must hold 0/1"),
    "masks: a missing file": ({"input_masks": ["nothing.png"]}, "'nothing.png', which is not a file"),
    "masks: strings": ({"input_masks": [np.array([["a"]])]}, "`input_masks`"),
    "counts: boxes and points": (
        {"input_boxes": [[[1, 2, 3, 4], [1, 2, 3, 4]]], "input_points": [[[3, 4]]]},
        "image 0 has 1 in `input_points`, 2 in `input_boxes`",
    ),
    "counts: boxes and masks": (
        {"input_boxes": [[[1, 2, 3, 4]]], "input_masks": [np.zeros((2, 32, 32))]},
        "1 in `input_boxes`, 2 in `input_masks`",
    ),
    "ground truth: wrong size": ({"segmentation_maps": [np.zeros((5, 5))]}, "`segmentation_maps` must have the size"),
    "ground truth: too many": ({"segmentation_maps": [np.zeros((2, 400, 600))]}, "image 0 has 2 masks for 1 prompts"),
    "ground truth: instance map": (
        {"segmentation_maps": [np.full((400, 600), 5)]},
        "`segmentation_maps` must hold 0/1",
    ),
    "ground truth: for two images": (
        {"segmentation_maps": np.zeros((2, 400, 600))},
        "`segmentation_maps` must have one entry per image",
    ),
}


@pytest.mark.parametrize("case", BAD_PROMPTS)
def test_errors_about_prompts_name_the_argument(either, photo, case):
    processor = either[1]
    arguments, message = BAD_PROMPTS[case]
    with pytest.raises((ValueError, TypeError), match=message):
        processor(photo, **arguments)


def test_prompts_without_an_image_are_refused(either):
    processor = either[1]
    with pytest.raises(ValueError, match="`images` must be given"):
        processor(input_points=[[[3, 4]]])


def test_a_misspelt_argument_raises_type_error(either, photo):
    processor = either[1]
    with pytest.raises(TypeError, match="input_box"):
        processor(photo, input_box=[[[1, 2, 3, 4]]])


def test_boxes_may_extend_beyond_the_image_and_be_one_pixel(either, photo):
    processor = either[1]
    inputs = processor(photo, input_boxes=[[[-5, 10, 610, 405], [7, 7, 7, 7]]])
    assert inputs["input_boxes"][0, 0, 0] < 0  # not clipped, as in the original
