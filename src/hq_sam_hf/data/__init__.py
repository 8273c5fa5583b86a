"""Data sets: loading (`factory`), reading rows (`reading`), simulated prompts and augmentation.

May import: model, masks, scenes, cutouts, utils.
"""

from typing import TYPE_CHECKING

from ..utils.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from .augmentation import augment
    from .coco import load_coco
    from .custom import load_named_columns, load_paired_folders
    from .factory import load_rows, load_source
    from .hqseg44k import load_hqseg44k
    from .image_bytes import undecoded
    from .parquet import export_parquet, load_shards
    from .prepare import check_data, download_data, export_data
    from .prompt_simulation import draw_prompt
    from .reading import Sample, read_sample
    from .reading_options import ReadingOptions

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "augmentation": ["augment"],
        "coco": ["load_coco"],
        "custom": ["load_named_columns", "load_paired_folders"],
        "factory": ["load_rows", "load_source"],
        "hqseg44k": ["load_hqseg44k"],
        "image_bytes": ["undecoded"],
        "parquet": ["export_parquet", "load_shards"],
        "prepare": ["check_data", "download_data", "export_data"],
        "prompt_simulation": ["draw_prompt"],
        "reading": ["Sample", "read_sample"],
        "reading_options": ["ReadingOptions"],
    },
)

__all__ = [
    "ReadingOptions",
    "Sample",
    "augment",
    "check_data",
    "download_data",
    "draw_prompt",
    "export_data",
    "export_parquet",
    "load_coco",
    "load_hqseg44k",
    "load_named_columns",
    "load_paired_folders",
    "load_rows",
    "load_shards",
    "load_source",
    "read_sample",
    "undecoded",
]
