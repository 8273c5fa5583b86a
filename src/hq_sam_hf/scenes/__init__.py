"""Generated images with exact masks, reproducible by their seed, for training and tests where no data can be had.

NumPy and Pillow are enough; `scene_dataset` also needs datasets.

May import: no other package.
"""

from .coarse import coarse_mask
from .contrast import boundary_contrast
from .dataset import SceneGenerator, SceneRow, scene_dataset
from .families import FAMILIES, GROUPS, HELD_OUT, trained_families
from .scene import Materials, Scene, generate_scene

__all__ = [
    "FAMILIES",
    "GROUPS",
    "HELD_OUT",
    "Materials",
    "Scene",
    "SceneGenerator",
    "SceneRow",
    "boundary_contrast",
    "coarse_mask",
    "generate_scene",
    "scene_dataset",
    "trained_families",
]
