"""`hq-sam env`: versions and device, for reports of bugs."""

import argparse
import importlib.metadata
import os
import platform

import hq_sam_hf

from .arguments import add_command

REQUIRED = ("torch", "transformers", "accelerate", "datasets", "huggingface-hub", "safetensors", "Pillow", "NumPy")
OPTIONAL = ("torchvision", "peft", "onnx", "onnxruntime", "gradio")

EXAMPLES = """\
example: hq-sam env
"""


def add_env_command(commands: argparse._SubParsersAction) -> None:
    parser = add_command(
        commands,
        "env",
        help="print versions and device, for a bug report",
        description="Print the versions of Python and of the packages, the operating system and the device, a line "
        "each.",
        examples=EXAMPLES,
    )
    parser.set_defaults(run=run_env)


def run_env(arguments: argparse.Namespace) -> None:
    lines = {"hq-sam-hf": hq_sam_hf.__version__, "Python": platform.python_version()}
    lines |= {name: _version(name) for name in (*REQUIRED, *OPTIONAL)}
    lines |= {"OS": platform.platform(), "device": _device()}
    for name, value in lines.items():
        print(f"{name}: {value}")


def _version(name: str) -> str:
    """The version of an installed package, from its metadata, since importing it takes long."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _device() -> str:
    """The device that the commands use by default, and what else torch can use."""
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a shared library does not load
        return f"unknown, since torch cannot be imported ({' '.join(str(error).split())})"
    threads = torch.get_num_threads()
    cpu = f"CPU, {threads} thread{'s' if threads > 1 else ''} on {os.cpu_count()} cores"
    if torch.cuda.is_available():
        gpus = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        return f"CUDA {torch.version.cuda or torch.version.hip}, {gpus}; {cpu}"
    if torch.backends.mps.is_available():
        return f"{cpu}; MPS with --device mps"
    return cpu


__all__ = ["add_env_command"]
