"""Export to other formats: checkpoint layouts, ONNX and model cards, verified against the original implementation.

May import: model, utils.
"""

from typing import TYPE_CHECKING

from ..utils.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from .conversion import convert
    from .onnx_export import export_onnx
    from .reference import build_original, import_original, run_original

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "conversion": ["convert"],
        "onnx_export": ["export_onnx"],
        "reference": ["build_original", "import_original", "run_original"],
    },
)

__all__ = ["build_original", "convert", "export_onnx", "import_original", "run_original"]
