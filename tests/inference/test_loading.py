"""`from_pretrained` of the predictors and the mask generator: one line from a name to a ready object."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from hq_sam_hf import HQSamMaskGenerator, HQSamModel, HQSamPredictor, HQSamTextPredictor, ZeroShotDetector
from hq_sam_hf.embedded import EMBEDDED
from hq_sam_hf.inference.loading import EMBEDDED_MODEL, ModelSpec, load_model
from support.hub_server import TOKEN, Hub, Repository
from support.images import random_image
from support.oracle import SMALL, lively_pair, pair, save_folder
from support.small_detectors import save_owlvit


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_folder(lively_pair(SMALL)[1], tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def detector_folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("detector")
    save_owlvit(path)
    return path


@pytest.fixture
def make(detector_folder):
    """Call `from_pretrained` of a class. The text predictor also gets its detector."""

    def call(cls, *arguments, **options):
        if cls is HQSamTextPredictor:
            options = {"detector": detector_folder, **options}
        return cls.from_pretrained(*arguments, **options)

    return call


def model_of(made) -> HQSamModel:
    return made.predictor.model if isinstance(made, HQSamTextPredictor) else made.model


CLASSES = [HQSamPredictor, HQSamMaskGenerator, HQSamTextPredictor]


@pytest.mark.parametrize("cls", CLASSES)
def test_without_a_name_the_embedded_checkpoint_is_loaded(cls, make):
    model = model_of(make(cls))
    assert isinstance(model, HQSamModel)
    assert model.config._name_or_path == str(EMBEDDED)
    assert not model.training
    assert (model.device.type, model.dtype) == ("cuda" if torch.cuda.is_available() else "cpu", torch.float32)


def test_a_predictor_from_a_folder_predicts_the_masks_of_its_model(folder):
    image, points = random_image((60, 90)), [[30, 20]]
    predictor = HQSamPredictor.from_pretrained(folder, device="cpu", max_images=3)
    reference = HQSamPredictor(lively_pair(SMALL)[1], predictor.processor)
    for one in (predictor, reference):
        one.set_image(image)
    for output, expected in zip(predictor.predict(points), reference.predict(points)):
        assert np.array_equal(output, expected)
    assert predictor.max_images == 3


def test_a_mask_generator_gets_the_options_of_its_class(folder):
    generator = HQSamMaskGenerator.from_pretrained(folder, points_per_side=5, output_mode="coco_rle", candidates=3)
    assert len(generator.point_grids[0]) == 25
    assert (generator.output_mode, generator.candidates) == ("coco_rle", 3)


def test_a_text_predictor_takes_a_detector_by_name_or_ready_made(folder, detector_folder):
    image = random_image((60, 90))
    by_name = HQSamTextPredictor.from_pretrained(folder, detector=str(detector_folder), device="cpu")
    ready = ZeroShotDetector.from_pretrained(detector_folder, device="cpu")
    ready_made = HQSamTextPredictor.from_pretrained(folder, detector=ready, device="cpu")
    assert ready_made.detector is ready
    assert by_name.detector.detect(image, "cup. spoon.") == ready.detect(image, "cup. spoon.")
    with pytest.raises(TypeError, match="detector"):
        HQSamTextPredictor.from_pretrained(folder)


def test_a_checkpoint_file_of_the_original_is_loaded(tmp_path):
    torch.save(pair(SMALL)[0].state_dict(), tmp_path / "sam_hq.pth")
    model = HQSamPredictor.from_pretrained(tmp_path / "sam_hq.pth").model.cpu()
    for name, tensor in pair(SMALL)[1].state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("dtype", ["bfloat16", torch.bfloat16])
def test_dtype_device_and_image_size_reach_model_and_processor(cls, dtype, make, folder):
    made = make(cls, folder, device=torch.device("cpu"), dtype=dtype, image_size=96, revision="main")
    model = model_of(made)
    assert (model.dtype, model.device) == (torch.bfloat16, torch.device("cpu"))
    processor = made.predictor.processor if cls is HQSamTextPredictor else made.processor
    assert model.config.vision_config.image_size == processor.image_processor.image_size == 96


def test_options_of_loading_reach_the_model(folder):
    predictor = HQSamPredictor.from_pretrained(folder, device="cpu", attn_implementation="eager")
    assert predictor.model.config._attn_implementation == "eager"


def test_a_subfolder_is_loaded(tmp_path):
    save_folder(pair(SMALL)[1], tmp_path / "weights" / "small")
    model = HQSamPredictor.from_pretrained(tmp_path / "weights", device="cpu", subfolder="small").model
    assert sum_of_weights(model) == sum_of_weights(pair(SMALL)[1])


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"name": "./nothing"}, ValueError, "'./nothing' is neither an existing folder or file nor a Hub repository"),
        ({"device": "gpu"}, ValueError, "`device` must be a device of this machine, .* got 'gpu'"),
        ({"dtype": "int8"}, ValueError, "`dtype` must be one of float32, bfloat16, float16, .* got 'int8'"),
        ({"dtype": torch.int8}, ValueError, "`dtype` must be one of .* got torch.int8"),
        ({"image_size": 100}, ValueError, "`image_size` must be a positive multiple of 16, got 100"),
        (
            {"box_threshold": 0.3},
            TypeError,
            "from_pretrained` has no option `box_threshold`.* of loading are .*revision",
        ),
    ],
)
def test_wrong_arguments_are_named(cls, arguments, error, message, make, folder):
    with pytest.raises(error, match=message):
        make(cls, **{"name": folder, **arguments})


def test_the_error_for_an_unknown_option_lists_the_options_of_the_class(folder):
    with pytest.raises(TypeError, match="no option `points_per_sid`. Options of the class are points_per_side, "):
        HQSamMaskGenerator.from_pretrained(folder, points_per_sid=5)
    with pytest.raises(TypeError, match="`ZeroShotDetector.from_pretrained` has no option `threshold`"):
        ZeroShotDetector.from_pretrained(folder, threshold=0.3)


def test_a_model_spec_loads_what_it_names_and_lists_what_masks_depend_on(folder):
    spec = ModelSpec(folder, device="cpu", dtype="bfloat16", image_size=96)
    model, processor = spec.load()
    assert (model.dtype, processor.image_processor.image_size) == (torch.bfloat16, 96)
    assert spec.as_options() == {"model": str(folder), "dtype": "bfloat16", "image_size": 96}
    assert ModelSpec(folder).load("cpu")[0].device == torch.device("cpu")
    assert EMBEDDED_MODEL.as_options()["model"] == str(EMBEDDED)
    assert load_model(device="cpu")[0].config._name_or_path == str(EMBEDDED)


def sum_of_weights(model) -> float:
    return sum(float(tensor.sum()) for tensor in model.state_dict().values())


FROM_THE_HUB = """
import json
from hq_sam_hf import HQSamMaskGenerator, HQSamPredictor
old = HQSamPredictor.from_pretrained("maker/small", device="cpu", revision="v1", token=TOKEN)
new = HQSamMaskGenerator.from_pretrained("maker/small", device="cpu", token=TOKEN, points_per_side=2)
offline = HQSamPredictor.from_pretrained("maker/small", device="cpu", local_files_only=True)
try:
    error = HQSamPredictor.from_pretrained("maker/none", device="cpu")
except (OSError, ValueError) as reason:
    error = str(reason)
sums = [sum(float(tensor.sum()) for tensor in made.model.state_dict().values()) for made in (old, new, offline)]
print(json.dumps({"sums": sums, "error": error}))
"""


@pytest.mark.slow  # starts a process that imports torch and transformers
def test_a_hub_repository_is_loaded_by_revision_and_token(tmp_path, folder):
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    save_folder(pair(SMALL)[1], tmp_path / "old")
    old_files = {path.name: path.read_bytes() for path in (tmp_path / "old").iterdir()}
    with Hub({"maker/small": Repository({"main": files, "v1": old_files}, private=True)}) as hub:
        environment = {
            **os.environ,
            "HF_ENDPOINT": hub.address,
            "HF_HOME": str(tmp_path / "hf_home"),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1",
        }
        code = f"TOKEN = {TOKEN!r}\n{FROM_THE_HUB}"
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr[-3000:]
    found = json.loads(result.stdout.splitlines()[-1])
    old, new = (sum_of_weights(model) for model in (pair(SMALL)[1], lively_pair(SMALL)[1]))
    assert found["sums"] == pytest.approx([old, new, new], abs=1e-3)
    assert abs(old - new) > 1
    assert "maker/none" in found["error"]
