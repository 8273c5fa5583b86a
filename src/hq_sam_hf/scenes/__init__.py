"""Seeded pictures with exact masks, to train and to test on where no data can be had.

NumPy and Pillow are all it needs; `scene_dataset` also needs datasets.
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
