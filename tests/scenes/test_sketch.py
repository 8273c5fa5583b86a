import numpy as np
import pytest

from hq_sam_hf.scenes.sketch import Part, Sketch, draw, warp


def test_coverage_is_one_inside_a_square_and_a_half_where_it_cuts_a_pixel():
    square = [Part(np.array([(2, 2), (6.49, 2), (6.49, 5.99), (2, 5.99)]))]
    drawing = draw(square, 8, 9)
    coverage = np.zeros((8, 9))
    coverage[drawing.window] = drawing.coverage
    expected = np.zeros((8, 9))
    expected[2:6, 2:6] = 1
    expected[2:6, 6] = 0.5  # the outline ends in the middle of this column
    assert np.array_equal(coverage.round(2), expected)


def test_a_hole_is_not_part_of_the_object():
    pen = Sketch()
    pen.ellipse(0, 0, 1)
    pen.ellipse(0, 0, 0.5, erase=True)
    drawing = draw(warp(pen, np.eye(2), np.zeros(2), 40, np.array([50, 50])), 100, 100)
    assert drawing.coverage.sum() == pytest.approx(np.pi * (40**2 - 20**2), rel=0.02)
