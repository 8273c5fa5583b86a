"""Every module of the package can be imported first, in any order with transformers' registries.

One process forgets the modules of the package and of the registries before each sequence of imports. A fresh process
for each sequence would import torch more than a hundred times.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import hq_sam_hf

PACKAGE = Path(hq_sam_hf.__file__).parent
MODULES = sorted(
    ".".join(["hq_sam_hf", *path.relative_to(PACKAGE).with_suffix("").parts])
    for path in PACKAGE.rglob("*.py")
    if path.stem not in ("__init__", "__main__")
)
REGISTRIES = [
    "transformers.models.auto.configuration_auto",
    "transformers.models.auto.image_processing_auto",
    "transformers.models.auto.processing_auto",
    "transformers.models.auto.modeling_auto",
    "transformers.pipelines",
]
REGISTERED = [
    "hq_sam_hf.model.configuration_hq_sam",
    "hq_sam_hf.model.image_processing_hq_sam",
    "hq_sam_hf.model.modeling_hq_sam",
    "hq_sam_hf.model.processing_hq_sam",
    "hq_sam_hf.inference.pipeline",
]
EXTRAS = {"gradio", "matplotlib", "onnx", "onnxruntime", "onnxscript", "peft", "tensorboard"}

# Imports each sequence after all modules named below were forgotten, then asks transformers' registries for HQ-SAM.
SCRIPT = f"""
import importlib, json, sys, traceback
import torch, transformers.modeling_utils, transformers.processing_utils, transformers.image_processing_utils

FORGOTTEN = ("hq_sam_hf", "transformers.models.auto", "transformers.models.sam", "transformers.pipelines")

def forget():
    for name in list(sys.modules):
        if name.startswith(FORGOTTEN):
            del sys.modules[name]
            parent, _, child = name.rpartition(".")
            if parent in sys.modules:
                vars(sys.modules[parent]).pop(child, None)
    sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__module__ != "hq_sam_hf.registration"]

def check_registered():
    from transformers.models.auto.configuration_auto import AutoConfig
    from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASK_GENERATION_MAPPING, MODEL_MAPPING
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING
    from transformers.pipelines import PIPELINE_REGISTRY
    config_class = type(AutoConfig.for_model("hq_sam"))
    assert config_class.__module__ == "hq_sam_hf.model.configuration_hq_sam"
    for mapping in (IMAGE_PROCESSOR_MAPPING, MODEL_FOR_MASK_GENERATION_MAPPING, MODEL_MAPPING, PROCESSOR_MAPPING):
        assert config_class in mapping, mapping
    pipeline_class = PIPELINE_REGISTRY.check_task("mask-generation")[1]["impl"]
    assert getattr(pipeline_class, "__module__", None) == "hq_sam_hf.inference.pipeline", pipeline_class

failures = {{}}
for sequence in json.loads(sys.stdin.read()):
    forget()
    try:
        for name in sequence:
            try:
                importlib.import_module(name)
            except ModuleNotFoundError as error:
                if error.name not in {EXTRAS}:
                    raise
        check_registered()
    except Exception as error:
        failures[" ".join(sequence)] = traceback.format_exc()[-1500:]
print(json.dumps(failures))
"""


def failures_of(sequences: list[list[str]]) -> dict[str, str]:
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT], input=json.dumps(sequences), capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout)


@pytest.mark.slow
def test_modules_with_registered_classes_can_be_imported_first():
    assert failures_of([[module] for module in REGISTERED]) == {}


@pytest.mark.slow
def test_every_module_can_be_imported_first():
    assert len(MODULES) > 80
    assert failures_of([[module] for module in MODULES]) == {}


@pytest.mark.slow
def test_registries_may_be_imported_before_between_and_after():
    sequences = []
    for module in REGISTERED:
        for registry in REGISTRIES:
            sequences += [[registry, module], ["hq_sam_hf", registry, module], [module, registry]]
    assert failures_of(sequences) == {}


def test_the_package_imports_neither_torch_nor_transformers():
    code = "import hq_sam_hf, sys; print([name for name in ('torch', 'transformers', 'numpy') if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
