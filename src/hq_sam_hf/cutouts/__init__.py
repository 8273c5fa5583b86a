"""Training images made from cut-out objects: pasted on backgrounds, with exact masks, reproducible from a seed.

A few hundred images of objects with a transparent background become any number of images with masks. The objects are
turned, scaled, recoloured, textured, lit, overlapped and cut off by the border, on photos or generated backgrounds.

May import: model, scenes.
"""

from .backgrounds import Backgrounds
from .composition import Composition, compose
from .dataset import CutoutGenerator, CutoutRow
from .objects import CutoutObjects

__all__ = ["Backgrounds", "Composition", "CutoutGenerator", "CutoutObjects", "CutoutRow", "compose"]
