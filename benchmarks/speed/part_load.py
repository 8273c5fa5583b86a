"""Part `load`: load a model from files in the disk cache."""

import contextlib
import io
import tempfile
from pathlib import Path

import torch

from hq_sam_hf import HQSamModel
from hq_sam_hf.export.reference import import_original

from .contenders import Options, build, named
from .measuring import alternate, peaks
from .report import Row


def measure(options: Options) -> list[Row]:
    contenders = build(options)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        contenders.ours.save_pretrained(folder / "ours")
        torch.save(contenders.original.state_dict(), folder / "original.pth")
        if contenders.transformers is not None:
            contenders.transformers.save_pretrained(folder / "transformers")

        def load_original() -> object:
            with contextlib.redirect_stdout(io.StringIO()):  # it prints a report of keys
                return import_original().sam_model_registry[options.backbone](str(folder / "original.pth"))

        def load_transformers() -> object:
            from transformers import SamHQModel

            return SamHQModel.from_pretrained(folder / "transformers")

        tasks = named(
            lambda: HQSamModel.from_pretrained(folder / "ours"),
            load_original if options.backbone.startswith("vit") else None,
            load_transformers if contenders.transformers is not None else None,
        )
        loaded, expected = tasks["ours"]().state_dict(), contenders.ours.state_dict()
        equal = all(torch.equal(loaded[key], tensor) for key, tensor in expected.items())
        work = (
            f"load {options.backbone} from {'safetensors' if equal else 'WRONG safetensors'}; the original from .pth"
        )
        return [
            Row(
                work,
                alternate(tasks, options.rounds, options.clock),
                peaks(tasks, "cpu"),
                "equal weights" if equal else "NO",
            )
        ]
