"""Predictor, mask generator, pipeline and text predictor can be pickled, copied and used in a DataLoader's workers."""

import copy
import os
import pickle
import threading

import numpy as np
import pytest
from torch.utils.data import DataLoader
from transformers import pipeline

from hq_sam_hf import HQSamMaskGenerator, HQSamPredictor, HQSamProcessor, HQSamTextPredictor, ZeroShotDetector
from support.images import random_image
from support.oracle import SMALL, lively_pair
from support.small_detectors import save_grounding_dino
from support.worker_datasets import MasksInWorkers, first_of_batch, predict_masks

IMAGE = random_image((40, 60))
GENERATOR_OPTIONS = {"points_per_side": 3, "pred_iou_thresh": 0.5, "stability_score_thresh": 0.3}


@pytest.fixture(scope="module")
def things(tmp_path_factory):
    """Everything that predicts, after its first use, so that caches and locks are there."""
    folder = tmp_path_factory.mktemp("detector")
    save_grounding_dino(folder)
    model = lively_pair(SMALL)[1]
    processor = HQSamProcessor.from_config(model.config)
    detector = ZeroShotDetector.from_pretrained(folder, "cpu", box_threshold=0.0)
    things = {
        "predictor": HQSamPredictor(model, processor, max_images=5),
        "generator": HQSamMaskGenerator(model, processor, **GENERATOR_OPTIONS),
        "pipeline": pipeline(
            "mask-generation",
            model=model,
            image_processor=processor.image_processor,
            device="cpu",
            points_per_crop=3,
            pred_iou_thresh=0.5,
            stability_score_thresh=0.3,
        ),
        "text predictor": HQSamTextPredictor(model, processor, detector),
    }
    return {name: (thing, predict_masks(thing, IMAGE)) for name, thing in things.items()}


NAMES = ("predictor", "generator", "pipeline", "text predictor")


def assert_same(masks, expected) -> None:
    assert len(masks) == len(expected) > 0
    assert all(np.array_equal(one, other) for one, other in zip(masks, expected))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("duplicate", [lambda thing: pickle.loads(pickle.dumps(thing)), copy.deepcopy, copy.copy])
@pytest.mark.slow
def test_a_copy_predicts_the_same(things, name, duplicate):
    thing, expected = things[name]
    again = duplicate(thing)
    assert type(again) is type(thing)
    assert_same(predict_masks(again, IMAGE), expected)
    assert_same(predict_masks(thing, IMAGE), expected)


def test_a_copy_keeps_options_and_no_images(things):
    predictor, _ = things["predictor"]
    predictor.set_image(IMAGE, "kept")
    again = pickle.loads(pickle.dumps(predictor))
    assert again.max_images == 5
    assert again.images == []
    assert "kept" in predictor.images
    with pytest.raises(ValueError, match="No image has been set. Call `set_image` first"):
        again.predict([[30, 20]])
    assert again.set_image(IMAGE) == "image 1"


def test_a_subclass_keeps_its_own_attributes(things):
    again = pickle.loads(pickle.dumps(Named(things["predictor"][0])))
    assert again.name == "mine"
    assert_same(predict_masks(again, IMAGE), things["predictor"][1])


class Named(HQSamPredictor):
    def __init__(self, other: HQSamPredictor) -> None:
        super().__init__(other.model, other.processor)
        self.name = "mine"


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_workers_of_a_data_loader_predict_the_same(things, method):
    data = MasksInWorkers({name: thing for name, (thing, _) in things.items()}, IMAGE)
    loader = DataLoader(data, num_workers=1, multiprocessing_context=method, collate_fn=first_of_batch)
    found = dict(iter(loader))
    assert tuple(found) == NAMES
    for name, masks in found.items():
        assert_same(masks, things[name][1])


def test_a_pickled_detector_shares_no_change_with_the_first(things):
    """The hooks of transformers that keep a used model from being pickled are left out of the pickle alone."""
    detector = things["text predictor"][0].detector
    hooks = {name: len(module._forward_hooks) for name, module in detector.model.named_modules()}
    again = pickle.loads(pickle.dumps(detector))
    assert hooks == {name: len(module._forward_hooks) for name, module in detector.model.named_modules()}
    assert again.detect(IMAGE, "cup") == detector.detect(IMAGE, "cup")
    assert hooks == {name: len(module._forward_hooks) for name, module in again.model.named_modules()}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_does_not_wait_for_a_thread_of_its_parent(things):
    predictor, _ = things["predictor"]
    is_held, may_end = threading.Event(), threading.Event()

    def hold() -> None:
        with predictor._lock:
            is_held.set()
            may_end.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    is_held.wait(60)
    child = os.fork()
    if child == 0:
        os._exit(0 if predictor._lock.acquire(timeout=5) else 1)
    _, status = os.waitpid(child, 0)
    may_end.set()
    thread.join()
    assert os.waitstatus_to_exitcode(status) == 0
