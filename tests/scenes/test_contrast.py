import numpy as np
import pytest

from hq_sam_hf.scenes import boundary_contrast


def test_contrast_of_grey_squares():
    image = np.full((20, 20, 3), 100, dtype=np.uint8)
    mask = np.zeros((20, 20), dtype=np.float32)
    mask[5:15, 5:15] = 1
    assert boundary_contrast(image, mask) == 0
    image[5:15, 5:15] = 130
    assert boundary_contrast(image, mask) == pytest.approx(30, abs=0.01)
    image[:, 10:] = 130  # half of the outline is no longer visible
    assert boundary_contrast(image, mask) == 0
    assert boundary_contrast(image, np.ones((20, 20))) == float("inf")
