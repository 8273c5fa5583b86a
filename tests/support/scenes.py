"""Scenes that several tests share, because generating them takes long."""

import functools

import pytest

from hq_sam_hf.scenes import Materials, Scene, generate_scene
from hq_sam_hf.scenes import scene as scene_module


@functools.cache
def scenes_before_noise(materials: Materials) -> list[Scene]:
    """60 scenes of 96 x 96 pixels without noise and JPEG."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scene_module, "add_noise", lambda rng, image: image)
        return [generate_scene(13, 96, key=(i,), materials=materials) for i in range(60)]
