"""The predictor: parity with the original's predictor, several images, embeddings in files, threads."""

import gc
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

from hq_sam_hf import HQSamPredictor, HQSamProcessor
from hq_sam_hf.export.reference import import_original
from hq_sam_hf.inference.predictor import EncodedImage
from support.images import random_image
from support.oracle import NARROW, SMALL, TINY, build_original, lively_pair, pair, port

SIZES = [(60, 90), (97, 40), (128, 128), (33, 150)]


def make_predictor(model=None, **options) -> HQSamPredictor:
    model = model or pair(SMALL)[1]
    return HQSamPredictor(model, HQSamProcessor.from_config(model.config), **options)


@pytest.fixture
def predictor():
    return make_predictor()


@pytest.fixture
def ready(predictor):
    """A predictor with one encoded image."""
    predictor.set_image(random_image((60, 90)), name="image")
    return predictor


class PromptSequence:
    """A random sequence of prompts for one image. Each step adds a point and refines the mask of the step before."""

    def __init__(self, size: tuple[int, int], seed: int) -> None:
        self.random = np.random.default_rng(seed)
        height, width = size
        self.size = np.array([width, height])
        corners = np.sort(self.random.uniform(0, 1, (2, 2)), axis=0) * self.size
        self.box = corners.ravel() if self.random.random() < 0.5 else None
        self.points = np.zeros((0, 2))
        self.labels = np.zeros(0, dtype=int)
        self.steps = int(self.random.integers(2, 4))

    def prompts(self) -> dict:
        """The box and all points so far. Each step adds a point, except that the first step may be a box alone."""
        if self.box is None or len(self.points) or self.random.random() < 0.5:
            self.points = np.vstack([self.points, self.random.uniform(0, 1, 2) * (self.size - 1)])
            self.labels = np.append(self.labels, self.random.integers(0, 2))
        given = len(self.points) > 0
        return {"points": self.points if given else None, "labels": self.labels if given else None, "box": self.box}

    def options(self) -> dict:
        return {
            "multimask_output": bool(self.random.random() < 0.5),
            "hq_token_only": bool(self.random.random() < 0.5),
        }


def predict_original(original, prompts, mask, options, **more):
    return original.predict(
        point_coords=prompts["points"],
        point_labels=prompts["labels"],
        box=prompts["box"],
        mask_input=mask,
        multimask_output=options["multimask_output"],
        hq_token_only=options["hq_token_only"],
        **more,
    )


# As a share of the largest logit. The sign of an original logit nearer to zero than this is rounding noise, so a pixel
# there may be inside or outside of the mask.
NOISE = 1e-5


def check_sequences(arch, number: int, at_least: int) -> None:
    """Run both predictors on the same prompt sequences and compare their outputs.

    at_least: how many of the masks must cover between 1 % and 99 % of the image.
    """
    sam, model = lively_pair(arch)
    original, ours = import_original().SamPredictor(sam), make_predictor(model)
    names = ours.set_images([random_image(size) for size in SIZES])
    compared = 0
    for name, size in zip(names, SIZES):
        original.set_image(random_image(size))
        for seed in range(number // len(SIZES)):
            sequence = PromptSequence(size, seed)
            expected_logits = our_logits = None
            for _ in range(sequence.steps):
                prompts, options = sequence.prompts(), sequence.options()
                expected, expected_scores, next_logits = predict_original(original, prompts, expected_logits, options)
                masks, scores, logits = ours.predict(
                    prompts["points"], prompts["labels"], prompts["box"], mask=our_logits, image=name, **options
                )
                largest = np.abs(next_logits).max()
                np.testing.assert_allclose(logits[:1], next_logits, atol=1e-4 * largest, rtol=0)
                np.testing.assert_allclose(scores[:1], expected_scores, atol=1e-5, rtol=0)
                different = masks[:1] != expected
                if different.any():
                    full, _, _ = predict_original(original, prompts, expected_logits, options, return_logits=True)
                    assert np.abs(full[different]).max() < NOISE * largest
                compared += bool(0.01 < expected.mean() < 0.99)
                expected_logits, our_logits = next_logits, logits[:1]
    assert compared >= at_least


@pytest.mark.slow
def test_200_random_prompt_sequences_with_refinement_equal_the_original_predictor():
    check_sequences(NARROW, 200, at_least=400)


@pytest.mark.slow
@pytest.mark.parametrize(("arch", "number"), [(SMALL, 200), (TINY, 20)], ids=["small", "tiny"])
def test_prompt_sequences_equal_the_original_on_other_architectures(arch, number):
    check_sequences(arch, number, at_least=2 * number)


def test_outputs_have_an_object_axis_only_for_several_objects(ready):
    box, boxes = [10, 5, 60, 50], [[10, 5, 60, 50], [0, 0, 90, 60], [30, 20, 31, 21]]
    for arguments, shape in [
        ({}, (1,)),
        ({"points": [[30, 20]]}, (1,)),
        ({"points": [[30, 20], [5, 5]], "labels": [1, 0], "boxes": box}, (1,)),
        ({"points": [[30, 20]], "multimask_output": True}, (3,)),
        ({"points": [[30, 20]], "multimask_output": True, "hq_token_only": True}, (1,)),
        ({"points": [[30, 20]], "multimask_output": True, "sam_only": True}, (3,)),
        ({"boxes": boxes}, (3, 1)),
        ({"boxes": boxes, "multimask_output": True}, (3, 3)),
        ({"boxes": [box]}, (1, 1)),
        ({"boxes": np.zeros((0, 4))}, (0, 1)),
        ({"points": [[[30, 20]], [[5, 5], [80, 40]], [[1, 1]]], "boxes": boxes}, (3, 1)),
        ({"mask": np.ones((60, 90), dtype=bool)}, (1,)),
        ({"mask": np.ones((2, 60, 90), dtype=bool)}, (2, 1)),
        ({"mask": [np.ones((60, 90), dtype=bool)]}, (1, 1)),
    ]:
        masks, scores, logits = ready.predict(**arguments)
        assert masks.shape == (*shape, 60, 90), arguments
        assert scores.shape == shape
        assert logits.shape == (*shape, 32, 32)
        assert (masks.dtype, scores.dtype, logits.dtype) == (np.bool_, np.float32, np.float32)


EMPTY_PROMPTS = {
    "points": [[], (), [[]], np.zeros(0), np.zeros((0, 2)), np.zeros((0, 3, 2)), torch.zeros(0, 1, 2)],
    "boxes": [[], (), [[]], np.zeros(0), np.zeros((0, 4)), torch.zeros(0, 4)],
    "mask": [
        [],
        (),
        np.zeros(0),
        np.zeros((0, 32, 32), np.float32),
        np.zeros((0, 60, 90), dtype=bool),
        torch.zeros(0, 1, 32, 32),
        torch.zeros(0, 3, 32, 32),
    ],
}


@pytest.mark.parametrize("name", EMPTY_PROMPTS)
def test_empty_prompts_of_every_form_mean_that_there_is_no_object(ready, name):
    for empty in EMPTY_PROMPTS[name]:
        masks, scores, logits = ready.predict(**{name: empty})
        assert (masks.shape, scores.shape, logits.shape) == ((0, 1, 60, 90), (0, 1), (0, 1, 32, 32)), repr(empty)
    assert ready.predict(**{name: []}, multimask_output=True)[0].shape == (0, 3, 60, 90)


def test_empty_labels_and_all_kinds_of_empty_prompts_together(ready):
    for labels in (None, [], [[]], np.zeros(0), np.zeros((0, 1)), torch.zeros(0)):
        assert ready.predict(np.zeros((0, 2)), labels)[0].shape == (0, 1, 60, 90)
    assert ready.predict([], [], np.zeros((0, 4)), [])[0].shape == (0, 1, 60, 90)
    assert np.array_equal(ready.predict(labels=[])[0], ready.predict()[0])  # no labels are no prompt


def test_several_objects_equal_separate_calls(ready):
    boxes = [[10, 5, 60, 50], [0, 0, 90, 60], [30, 20, 31, 21]]
    points = [[[30, 20]], [[5, 5], [80, 40]], [[31, 21]]]
    masks, scores, logits = ready.predict(points, [[1], [1, 0], [1]], boxes)
    refined, _, _ = ready.predict(points, boxes=boxes, mask=logits)
    for i in range(3):
        mask, score, low = ready.predict(points[i], [[1], [1, 0], [1]][i], boxes[i])
        np.testing.assert_allclose(logits[i], low, atol=2e-6)
        np.testing.assert_allclose(scores[i], score, atol=1e-6)
        assert (masks[i] != mask).sum() <= 1
        again, _, _ = ready.predict(points[i], boxes=boxes[i], mask=low)
        assert (refined[i] != again).sum() <= 1


def test_prompts_and_outputs_may_be_lists_arrays_or_tensors(ready):
    points, labels, box = [[30, 20], [50, 40]], [1, 0], [10, 5, 60, 50]
    expected = ready.predict(points, labels, box)
    for convert in (np.array, torch.tensor, tuple):
        for output, reference in zip(ready.predict(convert(points), convert(labels), convert(box)), expected):
            assert np.array_equal(output, reference)
    tensors = ready.predict(points, labels, box, return_tensors="pt")
    for output, reference in zip(tensors, expected):
        assert isinstance(output, torch.Tensor)
        assert not output.requires_grad
        assert np.array_equal(output.numpy(), reference)
    logits = ready.predict(points, labels, box, return_logits=True)[0]
    assert logits.dtype == np.float32
    assert np.array_equal(logits > 0, expected[0])
    refined = ready.predict(points, labels, box, mask=expected[2])[2]
    assert np.array_equal(ready.predict(points, labels, box, mask=tensors[2])[2], refined)


def test_masks_of_another_output_size_are_a_preview(ready):
    prompts = {"points": [[40, 30]], "return_logits": True}
    full, scores, logits = ready.predict(**prompts)
    preview, preview_scores, preview_logits = ready.predict(**prompts, output_size=(30, 45))
    assert full.shape == (1, 60, 90)
    assert preview.shape == (1, 30, 45)
    assert np.array_equal(scores, preview_scores)
    assert np.array_equal(logits, preview_logits)
    # A pixel of the preview covers four pixels of the full mask, and both are interpolated from the same logits.
    between = full.reshape(30, 2, 45, 2).mean(axis=(1, 3))
    assert np.abs(preview[0] - between).max() < 0.1 * np.ptp(full)


def test_sam_only_hq_only_and_their_sum_differ(ready):
    box = [10, 5, 60, 50]
    both, hq = ready.predict(boxes=box)[2], ready.predict(boxes=box, hq_token_only=True)[2]
    sam = ready.predict(boxes=box, sam_only=True)[2]
    assert not np.array_equal(both, hq)
    assert not np.array_equal(both, sam)


def test_candidates_are_sorted_by_score_and_one_of_them_can_be_refined(ready):
    masks, scores, logits = ready.predict([[30, 20]], multimask_output=True)
    assert (np.diff(scores) <= 0).all()
    refined, _, _ = ready.predict([[30, 20], [60, 40]], mask=logits[2])
    assert refined.shape == (1, 60, 90)
    with pytest.raises(ValueError, match="3 in `mask`"):
        ready.predict([[30, 20]], mask=logits)
    with pytest.raises(ValueError, match="Choose one of the candidates"):
        ready.predict(
            boxes=[[1, 2, 30, 40]] * 2, mask=ready.predict(boxes=[[1, 2, 30, 40]] * 2, multimask_output=True)[2]
        )


ERRORS = {
    "a single point": ({"points": [30, 20]}, r"`points` must be \[\[x, y\], ...\] for one object .* got 1 levels"),
    "a box too deep": ({"boxes": [[[1, 2, 3, 4]]]}, "`boxes` must be .* got 3 levels"),
    "labels alone": ({"labels": [1]}, "`labels` were given without `points`"),
    "too many labels": ({"points": [[3, 4]], "labels": [1, 0]}, "`labels` must be nested like `points`"),
    "outside": ({"points": [[300, 20]]}, "`points` must lie inside the image"),
    "x, y, width, height": ({"boxes": [50, 20, 10, 10]}, "`boxes` must be .* Is it"),
    "two and one": ({"points": [[3, 4]], "boxes": [[1, 2, 3, 4]] * 2}, "1 in `points`, 2 in `boxes`"),
    "floats that are not logits": ({"mask": np.zeros((60, 90), np.float32)}, "`mask` of floats must be logits"),
    "an unknown tensor type": ({"return_tensors": "tf"}, "'np' or 'pt', got 'tf'"),
    "both exclusive options": ({"sam_only": True, "hq_token_only": True}, "exclude each other"),
    "an unknown image": (
        {"image": "other"},
        "'other' has not been set or was dropped: the predictor keeps 32 images .* 'image'",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_wrong_prompts_are_named(ready, case):
    arguments, message = ERRORS[case]
    with pytest.raises(ValueError, match=message):
        ready.predict(**arguments)


def test_predict_before_set_image_is_an_error(predictor):
    with pytest.raises(ValueError, match="Call `set_image` first"):
        predictor.predict([[1, 1]])


def test_model_and_processor_must_fit():
    small, narrow = pair(SMALL)[1], pair(NARROW)[1]
    with pytest.raises(ValueError, match="`model` expects images of 128 x 128 .* `processor` makes 96"):
        HQSamPredictor(small, HQSamProcessor.from_config(narrow.config))
    with pytest.raises(ValueError, match="`max_images`"):
        make_predictor(max_images=0)


def test_several_images_are_kept_and_the_least_recently_used_is_dropped():
    predictor = make_predictor(max_images=3)
    images = {name: random_image((50, 70 + i), seed=i) for i, name in enumerate("abcd")}
    alone = {}
    for name, image in images.items():
        single = make_predictor()
        single.set_image(image)
        alone[name] = single.predict([[20, 20]])[0]
    for name in "abc":
        assert predictor.set_image(images[name], name) == name
    for name in "abc":
        assert np.array_equal(predictor.predict([[20, 20]], image=name)[0], alone[name])
    assert np.array_equal(predictor.predict([[20, 20]])[0], alone["c"])  # the one set last
    predictor.predict([[20, 20]], image="a")
    predictor.set_image(images["d"], "d")
    assert predictor.images == ["c", "a", "d"]
    predictor.set_image(images["b"], "a")  # another image with the same name
    assert np.array_equal(predictor.predict([[20, 20]], image="a")[0], alone["b"])
    predictor.forget_image("c")
    assert predictor.images == ["d", "a"]
    predictor.forget_image()
    with pytest.raises(ValueError, match="'a' has not been set or was dropped"):
        predictor.predict([[1, 1]])
    assert predictor.encoded_image("d").original_size == (50, 73)


def test_a_batch_of_images_is_encoded_together():
    predictor, single = make_predictor(max_images=5), make_predictor()
    images = [random_image(size) for size in SIZES]
    names = predictor.set_images(images, batch_size=3)
    assert len(set(names)) == 4
    for name, image in zip(names, images):
        single.set_image(image)
        np.testing.assert_allclose(predictor.predict(image=name)[2], single.predict()[2], atol=5e-6)
    assert predictor.encoded_image(names[0]).features.image_embeddings.untyped_storage().nbytes() == 64 * 8 * 8 * 4
    with pytest.raises(ValueError, match="1 to 5 images, got 6"):
        predictor.set_images(images[:1] * 6)
    with pytest.raises(ValueError, match="a different name for each of the 2 images"):
        predictor.set_images(images[:2], ["a", "a"])
    with pytest.raises(ValueError, match="`batch_size` must be at least 1"):
        predictor.set_images(images, batch_size=0)


def test_to_moves_the_encoded_images_with_the_model():
    model = port(build_original(SMALL), SMALL)
    predictor = HQSamPredictor(model, HQSamProcessor.from_config(model.config))
    predictor.set_image(random_image((60, 90)))
    expected = predictor.predict([[30, 20]])[2]
    assert predictor.to(torch.bfloat16) is predictor
    assert predictor.encoded_image().features.hq_features.dtype == torch.bfloat16
    logits = predictor.predict([[30, 20]])[2]
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, expected, atol=0.1)


def test_an_embedding_loads_into_a_model_with_the_same_weights(ready, tmp_path):
    path = tmp_path / "image.safetensors"
    ready.save_embedding(path)
    model = port(build_original(SMALL), SMALL)
    other = HQSamPredictor(model, HQSamProcessor.from_config(model.config))
    assert other.load_embedding(path, name="loaded") == "loaded"
    for output, reference in zip(other.predict([[30, 20]]), ready.predict([[30, 20]])):
        assert np.array_equal(output, reference)
    kept, fresh = other.encoded_image().features, ready.encoded_image().features
    assert kept.keys() == fresh.keys()  # so no call computes the projections again
    other.to(torch.bfloat16)
    assert other.load_embedding(path) in other.images  # the same weights, rounded
    with torch.no_grad():
        other.model.mask_decoder.compress_vit_conv2.bias += 0.1
    with pytest.raises(ValueError, match="made by a model with other weights .* Encode the image again"):
        other.load_embedding(path)


def test_an_embedding_of_another_input_size_is_refused_even_if_the_weights_are_equal(tmp_path):
    model = port(build_original(TINY), TINY)
    model.resize_image(256)
    small = make_predictor(model)
    small.set_image(random_image((60, 90)))
    small.save_embedding(tmp_path / "image.safetensors")
    model.resize_image(512)
    with pytest.raises(ValueError, match="other weights or another input size"):
        make_predictor(model).load_embedding(tmp_path / "image.safetensors")


def test_files_that_are_not_embeddings_are_refused(ready, tmp_path):
    path = tmp_path / "image.safetensors"
    ready.save_embedding(path)
    content = path.read_bytes()
    for damaged in (content[:-9], b"", b"no tensors"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="is not a complete safetensors file"):
            ready.load_embedding(path)
    ready.model.save_pretrained(tmp_path / "model")
    with pytest.raises(ValueError, match="is not an embedding saved by HQSamPredictor"):
        ready.load_embedding(tmp_path / "model" / "model.safetensors")
    with pytest.raises(ValueError, match="is not a file"):
        ready.load_embedding(tmp_path / "none")
    with pytest.raises(ValueError, match="its folder does not exist"):
        ready.save_embedding(tmp_path / "none" / "image.safetensors")


ANOTHER_PROCESS = """
import sys, numpy as np
from hq_sam_hf import HQSamModel, HQSamPredictor, HQSamProcessor
folder, embedding, output = sys.argv[1:]
predictor = HQSamPredictor(HQSamModel.from_pretrained(folder), HQSamProcessor.from_pretrained(folder))
predictor.load_embedding(embedding)
np.save(output, predictor.predict([[30, 20]])[2])
"""


@pytest.mark.slow
def test_an_embedding_loads_in_another_process(ready, tmp_path):
    ready.model.save_pretrained(tmp_path / "model")
    ready.processor.save_pretrained(tmp_path / "model")
    ready.save_embedding(tmp_path / "image.safetensors")
    files = [str(tmp_path / name) for name in ("model", "image.safetensors", "logits.npy")]
    subprocess.run([sys.executable, "-c", ANOTHER_PROCESS, *files], check=True)
    assert np.array_equal(np.load(tmp_path / "logits.npy"), ready.predict([[30, 20]])[2])


def test_each_thread_uses_the_image_that_it_set(ready):
    expected = ready.predict([[20, 20]])[0]
    results = {}

    def other_thread():
        results["inherited"] = ready.predict([[20, 20]])[0]
        ready.set_image(random_image((40, 40), seed=3))
        results["own"] = ready.predict([[20, 20]])[0]

    thread = threading.Thread(target=other_thread)
    thread.start()
    thread.join()
    assert np.array_equal(results["inherited"], expected)
    assert results["own"].shape == (1, 40, 40)
    assert np.array_equal(ready.predict([[20, 20]])[0], expected)


def mixed_calls(predictor, images, results, seed: int, number: int, folder, failures: list) -> None:
    """The calls of one thread: set images with and without names, predict, save and load embeddings, forget."""
    random = np.random.default_rng(seed)
    try:
        for _ in range(number):
            index, kind = int(random.integers(len(images))), random.random()
            name = f"thread {seed}"
            if kind < 0.35:
                predictor.set_image(images[index])
            elif kind < 0.6:
                predictor.set_image(images[index], name)
            elif kind < 0.8:
                predictor.set_image(images[index])
                file = folder / f"{seed}.safetensors"
                predictor.save_embedding(file)
                predictor.load_embedding(file, name)
            else:
                predictor.set_image(images[index])
                predictor.forget_image()
                predictor.set_image(images[index])
            which = int(random.integers(len(results[index])))
            prompt, expected = results[index][which]
            for output, reference in zip(predictor.predict(**prompt), expected):
                if not np.array_equal(output, reference):
                    failures.append((seed, index, which))
            if len(predictor.images) > predictor.max_images:
                failures.append("too many images are kept")
    except Exception as error:
        failures.append(error)


@pytest.mark.parametrize(
    ("threads", "number"), [(4, 15), pytest.param(8, 500, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_threads_share_a_predictor_without_a_wrong_mask(threads, number, tmp_path):
    predictor = make_predictor(max_images=4 * threads)  # so that none is dropped before its thread predicts
    images = [random_image(SIZES[i % 4], seed=i) for i in range(6)]
    prompts = [
        {"points": [[20, 20]]},
        {"boxes": [5, 5, 30, 30], "hq_token_only": True},
        {"boxes": [[5, 5, 30, 30], [1, 2, 33, 20]], "multimask_output": True},
        {"points": [[20, 20], [3, 3]], "labels": [1, 0], "return_logits": True},
    ]
    results = []
    for image in images:
        predictor.set_image(image)
        results.append([(prompt, predictor.predict(**prompt)) for prompt in prompts])
    failures: list = []
    workers = [
        threading.Thread(target=mixed_calls, args=(predictor, images, results, seed, number, tmp_path, failures))
        for seed in range(threads)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert failures == []
    gc.collect()
    kept = [thing for thing in gc.get_objects() if type(thing) is EncodedImage]
    assert len(kept) == len(predictor.images) == 4 * threads
