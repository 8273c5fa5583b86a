"""Generated images with exact masks, reproducible from a seed, for training and tests without any data set.

A scene shows one to four objects. Each object belongs to a family, such as "apple" or "ladder". Each family belongs to
one of two groups: "solid" (objects with a body) or "thin" (objects made of thin parts). Some families are held out of
training.

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
