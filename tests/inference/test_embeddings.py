"""Files of embeddings that are damaged or claim what no image has are refused before anything is made of them."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from hq_sam_hf import HQSamPredictor, HQSamProcessor
from support.images import random_image
from support.oracle import SMALL, pair


@pytest.fixture(scope="module")
def predictor():
    model = pair(SMALL)[1].eval()
    predictor = HQSamPredictor(model, HQSamProcessor.from_config(model.config))
    predictor.set_image(random_image((60, 90)))
    return predictor


@pytest.fixture
def edited(predictor, tmp_path):
    """A function that saves an embedding with other metadata and tensors, and returns its path."""

    def edit(metadata=None, **tensors):
        path = tmp_path / "image.safetensors"
        predictor.save_embedding(path)
        with safe_open(path, "pt") as file:
            stored, contents = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}
        stored = {name: value for name, value in (stored | (metadata or {})).items() if value is not None}
        save_file(contents | tensors, path, stored)
        return path

    return edit


def test_an_embedding_without_changes_loads(predictor, edited):
    assert predictor.load_embedding(edited(), "name") == "name"


@pytest.mark.parametrize(
    "size",
    [None, "", "5", "null", "[60]", "[60, 90, 3]", "[60, -90]", "[0, 90]", "[60.5, 90]", "[true, 90]", '["60", 90]']
    + ["{}", "[1e400, 90]", "[NaN, 90]", "[" * 100_000, f"[{'9' * 5000}, 90]"],
    ids=lambda size: str(size)[:12],
)
def test_a_size_that_no_image_has_is_refused(size, predictor, edited):
    with pytest.raises(ValueError, match=r"its original_size must be \[height, width\] in pixels") as caught:
        predictor.load_embedding(edited({"original_size": size}))
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("size", [(300_000, 300_000), (1, 10**12), (20_000, 18_000)])
def test_a_size_that_is_too_large_is_refused_unless_the_limit_is_raised(size, predictor, edited):
    path = edited({"original_size": json.dumps(size)})
    pixels = size[0] * size[1]
    with pytest.raises(ValueError, match=rf"raise the limit: `load_embedding\(path, max_pixels={pixels}\)`"):
        predictor.load_embedding(path)
    name = predictor.load_embedding(path, max_pixels=pixels)
    assert predictor.encoded_image(name).original_size == size


def test_missing_and_wrong_metadata_are_named(predictor, edited):
    with pytest.raises(ValueError, match="its fingerprint is missing"):
        predictor.load_embedding(edited({"model": None}))
    with pytest.raises(ValueError, match="its format is 'None'"):
        predictor.load_embedding(edited({"format": None}))
    with pytest.raises(ValueError, match="its format is 'another'"):
        predictor.load_embedding(edited({"format": "another"}))


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"image_embeddings": torch.zeros(64, 8)}, r"have the shapes \(64, 8\) and"),
        ({"image_embeddings": torch.zeros(())}, "have the shapes"),
        ({"image_embeddings": torch.zeros(64, 0, 8)}, "have the shapes"),
        ({"image_embeddings": torch.zeros(32, 8, 8), "hq_features": torch.zeros(4, 32, 32)}, r"expected \(64, 8, 8\)"),
        ({"image_embeddings": torch.zeros(64, 4, 4), "hq_features": torch.zeros(8, 16, 16)}, r"expected \(64, 8, 8\)"),
        ({"hq_features": torch.zeros(8, 8, 8)}, r"and \(8, 32, 32\)"),
        ({"image_embeddings": torch.full((64, 8, 8), float("nan"))}, "values that are not finite"),
        ({"hq_features": torch.full((8, 32, 32), float("inf"))}, "values that are not finite"),
        ({"image_embeddings": torch.zeros(64, 8, 8, dtype=torch.int64)}, r"features of type torch\.int64"),
        ({"more": torch.zeros(2)}, "its tensors are 'hq_features, image_embeddings, more'"),
    ],
)
def test_tensors_that_are_no_features_are_refused(tensors, message, predictor, edited):
    with pytest.raises(ValueError, match=message):
        predictor.load_embedding(edited(**tensors))
