"""`HQSamPredictor` with HQ-SAM 2 gives the masks of Meta's image predictor, and does all that it does with HQ-SAM."""

import numpy as np
import pytest
import torch

from hq_sam_hf import HQSamPredictor
from hq_sam_hf.model.processing_hq_sam2 import HQSam2Processor
from support.oracle_sam2 import import_sam2, sam2_pair

# Meta's code compiles its preprocessing with a function that PyTorch has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")

HEIGHT, WIDTH = 60, 90
OPTIONS = {"sum": {}, "hq": {"hq_token_only": True}, "sam": {"sam_only": True}}


def make_image(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


@pytest.fixture
def predictor():
    model = sam2_pair("small")[1]
    return HQSamPredictor(model, HQSam2Processor.from_config(model.config))


def metas_predictor(source):
    sam = sam2_pair("small")[0]
    sam.sam_mask_decoder.source = source
    predictor = import_sam2().sam2_image_predictor.SAM2ImagePredictor(sam)
    size = sam.image_size
    predictor._bb_feat_sizes = [(size // 4, size // 4), (size // 8, size // 8), (size // 16, size // 16)]
    predictor.set_image(make_image())
    return predictor


def random_rounds(rng):
    """Prompts of a sequence: a first one, then each time one more click."""
    points = rng.uniform((0, 0), (WIDTH, HEIGHT), (4, 2))
    labels = np.array([1, *rng.integers(0, 2, 3)])
    corners = np.sort(rng.uniform((0, 0), (WIDTH, HEIGHT), (2, 2)), axis=0)
    box = corners.ravel() if rng.random() < 0.5 else None
    return [(points[:number], labels[:number], box) for number in range(1, 5)]


@pytest.mark.parametrize("source", OPTIONS)
@pytest.mark.slow
def test_sequences_with_refinement_give_the_masks_of_metas_predictor(predictor, source):
    rng, oracle = np.random.default_rng(3), metas_predictor(source)
    predictor.set_image(make_image())
    for _ in range(5):
        mask = metas_mask = None
        for points, labels, box in random_rounds(rng):
            multimask = mask is None
            expected, scores, low = oracle.predict(
                points, labels, box, metas_mask, multimask_output=multimask, return_logits=True
            )
            order = np.argsort(-scores, kind="stable")
            scores = scores[order]
            if len(expected) > 1:  # the HQ mask alone is one mask, beside the scores of three
                expected, low = expected[order], low[order]
            logits, our_scores, our_low = predictor.predict(
                points, labels, box, mask, multimask, return_logits=True, **OPTIONS[source]
            )
            assert np.abs(our_scores - scores[: len(our_scores)]).max() <= 1e-6
            assert np.abs(logits - expected).max() <= 5e-6
            masks, _, _ = predictor.predict(points, labels, box, mask, multimask, **OPTIONS[source])
            different = masks != (expected > 0)
            assert not different.any() or np.abs(logits[different]).max() <= 5e-6
            mask, metas_mask = our_low[:1], low[:1]


def test_several_objects_equal_separate_calls(predictor):
    predictor.set_image(make_image())
    points = [[[10, 20]], [[50, 30], [70, 40]], [[80, 5]]]
    together = predictor.predict(points)
    for i, own in enumerate(points):
        for one, many in zip(predictor.predict(own), together):
            assert np.allclose(one, many[i], atol=5e-6)


def test_an_embedding_on_the_disk_gives_the_same_masks(predictor, tmp_path):
    predictor.set_image(make_image())
    expected = predictor.predict(boxes=[10, 10, 60, 50])
    predictor.save_embedding(tmp_path / "image.safetensors")
    model = sam2_pair("small")[1]
    other = HQSamPredictor(model, HQSam2Processor.from_config(model.config))
    other.load_embedding(tmp_path / "image.safetensors")
    for one, two in zip(expected, other.predict(boxes=[10, 10, 60, 50])):
        assert np.allclose(one, two, atol=1e-6)
    uneven = sam2_pair("uneven")[1]
    with pytest.raises(ValueError, match="was made by a model with other weights or another input size"):
        HQSamPredictor(uneven, HQSam2Processor.from_config(uneven.config)).load_embedding(
            tmp_path / "image.safetensors"
        )


def test_from_pretrained_recognises_the_model(predictor, tmp_path):
    predictor.model.save_pretrained(tmp_path)
    predictor.processor.save_pretrained(tmp_path)
    loaded = HQSamPredictor.from_pretrained(tmp_path)
    for one in (predictor, loaded):
        one.set_image(make_image())
    assert all(np.array_equal(*pair) for pair in zip(predictor.predict([[9, 9]]), loaded.predict([[9, 9]])))
    assert loaded.to(dtype=torch.float64).predict([[9, 9]])[0].shape == (1, HEIGHT, WIDTH)
