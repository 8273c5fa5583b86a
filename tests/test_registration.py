"""transformers' auto classes know "hq_sam", in every order of imports and in a fresh process."""

import subprocess
import sys

import pytest
from transformers import AutoConfig, AutoModel, AutoModelForMaskGeneration, AutoProcessor

from hq_sam_hf import HQSamConfig, HQSamImageProcessor, HQSamModel, HQSamProcessor
from support.oracle import SMALL, build_original, pair, port


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    model = pair(SMALL)[1]
    model.save_pretrained(folder)
    HQSamProcessor.from_config(model.config).save_pretrained(folder)
    return folder


def test_auto_classes_load_ours(folder):
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
    "ours first": "import hq_sam_hf; from transformers import AutoModel as Auto, AutoProcessor",
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


REMOTE = """
import importlib.util, sys
assert importlib.util.find_spec("hq_sam_hf") is None, "the package must not be importable here"
from transformers import AutoModel, AutoProcessor
folder, photo = sys.argv[1:]
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
model = AutoModel.from_pretrained(folder, trust_remote_code=True)
inputs = processor(photo, input_boxes=[[[165, 15, 415, 310]]])
masks = processor.post_process_masks(model(**inputs, multimask_output=False), inputs)
print(type(model).__module__, int(masks[0].sum()))
"""


@pytest.mark.slow  # starts a process that imports torch and transformers
def test_a_pushed_folder_loads_with_remote_code_in_a_fresh_process(tmp_path, photo_path):
    model = port(build_original(SMALL), SMALL)
    processor = HQSamProcessor.from_config(model.config)
    classes = {HQSamConfig: "AutoConfig", HQSamModel: "AutoModel", HQSamProcessor: "AutoProcessor"}
    try:
        for cls, auto in {**classes, HQSamImageProcessor: "AutoImageProcessor"}.items():
            cls.register_for_auto_class(auto)
        model.save_pretrained(tmp_path / "pushed")
        processor.save_pretrained(tmp_path / "pushed")
    finally:
        for cls in (*classes, HQSamImageProcessor):
            cls._auto_class = None
    inputs = processor(photo_path, input_boxes=[[[165, 15, 415, 310]]])
    masks = processor.post_process_masks(model(**inputs, multimask_output=False), inputs)

    # -S leaves out the environment's .pth files, and with them an editable install of the package
    code = "import site, sys; sys.path += [p for p in sys.argv.pop(1).split(':')]\n" + REMOTE
    libraries = without_the_package(tmp_path)
    environment = {"HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin"}
    result = subprocess.run(
        [sys.executable, "-S", "-c", code, libraries, str(tmp_path / "pushed"), str(photo_path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    module, area = result.stdout.split()
    assert module.startswith("transformers_modules.")
    assert int(area) == int(masks[0].sum())


def without_the_package(tmp_path) -> str:
    """A copy of the environment's site-packages, by links, that lacks hq_sam_hf."""
    import site
    from pathlib import Path

    links = tmp_path / "site-packages"
    links.mkdir()
    for folder in site.getsitepackages():
        for entry in Path(folder).iterdir():
            if not entry.name.startswith(("hq_sam_hf", "__editable__")):
                (links / entry.name).symlink_to(entry)
    return str(links)
