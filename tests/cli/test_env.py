"""`hq-sam env`: one line for each version and for the device, whatever is installed."""

import importlib.metadata
import platform
import subprocess
import sys

import pytest
import torch

import hq_sam_hf
from hq_sam_hf.cli import main

NAMES = [
    "hq-sam-hf",
    "Python",
    "torch",
    "transformers",
    "accelerate",
    "datasets",
    "huggingface-hub",
    "safetensors",
    "Pillow",
    "NumPy",
    "torchvision",
    "peft",
    "onnx",
    "onnxruntime",
    "gradio",
    "OS",
    "device",
]


@pytest.fixture
def env(capsys):
    """Run `hq-sam env`. Returns its lines as a dictionary, in order."""

    def run() -> dict[str, str]:
        assert main(["env"]) == 0
        printed = capsys.readouterr()
        assert printed.err == ""
        return dict(line.split(": ", 1) for line in printed.out.splitlines())

    return run


def test_each_version_is_on_a_line_of_its_own(env):
    lines = env()
    assert list(lines) == NAMES
    assert lines["hq-sam-hf"] == hq_sam_hf.__version__
    assert lines["Python"] == platform.python_version()
    assert lines["torch"] == torch.__version__
    assert lines["OS"] == platform.platform()


@pytest.mark.parametrize("name", ["gradio", "peft", "accelerate"])
def test_a_missing_package_is_reported_as_not_installed(name, env, monkeypatch):
    version = importlib.metadata.version

    def without(wanted: str) -> str:
        if wanted == name:
            raise importlib.metadata.PackageNotFoundError(wanted)
        return version(wanted)

    monkeypatch.setattr(importlib.metadata, "version", without)
    assert env()[name] == "not installed"


def test_the_device_is_the_cpu_with_its_threads_where_there_is_no_gpu(env, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert env()["device"].startswith(f"CPU, {torch.get_num_threads()} thread")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert env()["device"].endswith("; MPS with --device mps")


def test_each_gpu_is_named(env, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"GPU {index}")
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    assert env()["device"].startswith("CUDA 12.8, GPU 0, GPU 1; CPU, ")


def test_a_torch_that_cannot_be_imported_is_reported(env, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert env()["device"].startswith("unknown, since torch cannot be imported (")


def test_versions_are_read_without_importing_the_packages():
    code = (
        "import sys; from hq_sam_hf.cli import main; sys.modules['torch'] = None; main(['env']); "
        "assert not {'transformers', 'datasets', 'accelerate', 'numpy', 'PIL'} & sys.modules.keys()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
