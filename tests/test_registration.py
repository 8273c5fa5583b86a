"""transformers' auto classes load HQ-SAM, in every order of imports, and from pushed code without the package."""

import os
import site
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForMaskGeneration, AutoProcessor

from hq_sam_hf import (
    HQSam2Config,
    HQSam2ImageProcessor,
    HQSam2Model,
    HQSam2Processor,
    HQSamConfig,
    HQSamImageProcessor,
    HQSamModel,
    HQSamProcessor,
)
from support.hub_server import Hub, Repository
from support.oracle import SMALL, TINY, build_original, pair, port
from support.oracle_sam2 import sam2_pair


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    model = pair(SMALL)[1]
    model.save_pretrained(folder)
    HQSamProcessor.from_config(model.config).save_pretrained(folder)
    return folder


def test_auto_classes_load_the_classes_of_this_package(folder):
    assert type(AutoConfig.from_pretrained(folder)) is HQSamConfig
    assert type(AutoModel.from_pretrained(folder)) is HQSamModel
    assert type(AutoModelForMaskGeneration.from_pretrained(folder)) is HQSamModel
    processor = AutoProcessor.from_pretrained(folder)
    assert type(processor) is HQSamProcessor
    assert type(processor.image_processor) is HQSamImageProcessor


def run(code: str, *arguments: object) -> str:
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


ORDERS = {
    "this package first": "import hq_sam_hf; from transformers import AutoModel as Auto, AutoProcessor",
    "transformers first": "from transformers import AutoModel as Auto, AutoProcessor; import hq_sam_hf",
    "processor first": "import hq_sam_hf; from transformers import AutoProcessor, AutoModelForMaskGeneration as Auto",
    "pipelines between": (
        "import hq_sam_hf, transformers.pipelines; from transformers import AutoModel as Auto, AutoProcessor"
    ),
    "base classes between": (
        "import hq_sam_hf; from transformers import Trainer, SamModel, AutoModel as Auto, AutoProcessor"
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("order", ORDERS)
def test_any_order_of_imports_works(order, folder):
    code = f"{ORDERS[order]}; import sys; f = sys.argv[1]"
    loads = "; print(type(AutoProcessor.from_pretrained(f)).__module__, type(Auto.from_pretrained(f)).__module__)"
    assert run(code + loads, folder).split() == [
        "hq_sam_hf.model.processing_hq_sam",
        "hq_sam_hf.model.modeling_hq_sam",
    ]


@pytest.mark.slow
def test_a_configuration_that_was_created_before_the_auto_classes_were_imported_has_a_model():
    code = (
        "import torch; from hq_sam_hf.model.configuration_hq_sam import HQSamConfig; config = HQSamConfig(); "
        "from hq_sam_hf.model.configuration_hq_sam2 import HQSam2Config; other = HQSam2Config(); "
        "from transformers import AutoModel; torch.set_default_device('meta'); "
        "print(type(AutoModel.from_config(config)).__name__, type(AutoModel.from_config(other)).__name__)"
    )
    assert run(code).split() == ["HQSamModel", "HQSam2Model"]


# Runs without the package: loads each model by trust_remote_code and saves its masks in the working directory.
REMOTE = """
import sys
sys.path += sys.argv[1].split(":")
try:
    import hq_sam_hf
except ModuleNotFoundError:
    pass
else:
    raise SystemExit(f"the package must not be importable here, but it was found at {hq_sam_hf.__file__}")
import numpy, torch
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoProcessor

torch.set_num_threads(1)
photo, *sources = sys.argv[2:]
for i, source in enumerate(sources):
    load = {"pretrained_model_name_or_path": source, "trust_remote_code": True}
    config, image_processor = AutoConfig.from_pretrained(**load), AutoImageProcessor.from_pretrained(**load)
    model, processor = AutoModel.from_pretrained(**load), AutoProcessor.from_pretrained(**load)
    for loaded in (config, image_processor, model, processor):
        assert type(loaded).__module__.startswith("transformers_modules."), type(loaded).__module__
    assert processor.image_processor.to_dict() == image_processor.to_dict()
    inputs = processor(photo, input_boxes=[[[165, 15, 415, 310]]])
    with torch.no_grad():
        outputs = model(**inputs, multimask_output=False)
    numpy.save(f"masks_{i}.npy", processor.post_process_masks(outputs, inputs)[0].numpy())
"""


@pytest.fixture
def registered_for_auto_classes():
    """`save_pretrained` and `push_to_hub` write the code of the classes too."""
    auto_classes = {
        HQSamConfig: "AutoConfig",
        HQSamModel: "AutoModel",
        HQSamProcessor: "AutoProcessor",
        HQSamImageProcessor: "AutoImageProcessor",
        HQSam2Config: "AutoConfig",
        HQSam2Model: "AutoModel",
        HQSam2Processor: "AutoProcessor",
        HQSam2ImageProcessor: "AutoImageProcessor",
    }
    for cls, auto_class in auto_classes.items():
        cls.register_for_auto_class(auto_class)
    yield
    for cls in auto_classes:
        if "_auto_class" in vars(cls):  # `register_for_auto_class` sets it; there is no public way back
            del cls._auto_class


@pytest.mark.slow  # starts a process that imports torch and transformers
def test_pushed_code_gives_the_same_masks_without_the_package(tmp_path, photo_path, registered_for_auto_classes):
    expected = []
    models = {arch: port(build_original(arch), arch) for arch in (SMALL, TINY)}
    for name, model in (("vit", models[SMALL]), ("tiny_vit", models[TINY]), ("hiera", sam2_pair("small")[1])):
        processor_class = HQSam2Processor if name == "hiera" else HQSamProcessor
        processor = processor_class.from_config(model.config)
        model.save_pretrained(tmp_path / name)
        processor.save_pretrained(tmp_path / name)
        inputs = processor(photo_path, input_boxes=[[[165, 15, 415, 310]]])
        with single_thread(), torch.no_grad():
            outputs = model(**inputs, multimask_output=False)
        expected.append(processor.post_process_masks(outputs, inputs)[0].numpy())
    pushed = {path.name: path.read_bytes() for path in (tmp_path / "vit").iterdir()}
    assert "modeling_hq_sam.py" in pushed
    assert "compatibility.py" in pushed
    with Hub({"org/vit": Repository({"main": pushed})}) as hub:
        # -S skips the .pth files of the environment, and with them an editable install of the package.
        others = [tmp_path / "tiny_vit", tmp_path / "hiera"]
        arguments = [site_packages_without_the_package(tmp_path), photo_path, "org/vit", *others]
        result = subprocess.run(
            [sys.executable, "-S", "-W", "ignore", "-c", REMOTE, *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={
                "HF_ENDPOINT": hub.address,
                "HF_HOME": str(tmp_path / "cache"),
                "HF_HUB_DISABLE_XET": "1",
                "HF_HUB_DISABLE_TELEMETRY": "1",
                "NO_PROXY": "127.0.0.1",
                "PATH": os.environ["PATH"],
            },
        )
    assert result.returncode == 0, result.stderr[-3000:]
    for i, masks in enumerate(expected):
        assert 0 < masks.mean() < 1
        assert np.array_equal(np.load(tmp_path / f"masks_{i}.npy"), masks)


class single_thread:
    """Within the block torch computes as the other process does, bit for bit."""

    def __enter__(self):
        self.threads = torch.get_num_threads()
        torch.set_num_threads(1)

    def __exit__(self, *_):
        torch.set_num_threads(self.threads)


def site_packages_without_the_package(tmp_path: Path) -> str:
    """A copy of the environment's site-packages, by links, that lacks hq_sam_hf."""
    links = tmp_path / "site-packages"
    links.mkdir()
    for folder in site.getsitepackages():
        for entry in Path(folder).iterdir():
            if not entry.name.startswith(("hq_sam_hf", "__editable__")):
                (links / entry.name).symlink_to(entry)
    return str(links)
