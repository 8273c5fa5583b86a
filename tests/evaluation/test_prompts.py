import numpy as np
import pytest

from hq_sam_hf.data.prompt_simulation import next_click
from hq_sam_hf.evaluation.prompts import make_prompt, parse_prompt


@pytest.fixture
def mask() -> np.ndarray:
    """A square from (10, 5) to (30, 25), both inside; its centre is (20, 15)."""
    square = np.zeros((40, 60), dtype=bool)
    square[5:26, 10:31] = True
    return square


def prompt_for(name: str, mask: np.ndarray, seed: int = 0):
    return make_prompt(parse_prompt(name), mask, np.random.default_rng(seed))


def test_every_name_gives_its_prompt(mask):
    assert prompt_for("box", mask).box.tolist() == [10, 5, 30, 25]
    assert prompt_for("centre", mask).points.tolist() == [[20, 15]]
    assert prompt_for("clicks-3", mask).points.tolist() == [[20, 15]]
    noisy = prompt_for("box-noise-0.4", mask).box
    assert 0 < np.abs(noisy - [10, 5, 30, 25]).max() <= 8
    assert len(prompt_for("points-4", mask).points) == 4
    points = prompt_for("points-5+3", mask)
    assert points.labels.tolist() == [1] * 5 + [0] * 3
    inside = mask[points.points[:, 1].astype(int), points.points[:, 0].astype(int)]
    assert inside.tolist() == [True] * 5 + [False] * 3


def test_empty_masks_have_no_prompt(mask):
    for name in ("box", "box-noise-0.2", "points-3", "centre", "clicks-2"):
        assert prompt_for(name, np.zeros_like(mask)) is None


def test_only_noisy_boxes_and_points_are_random():
    random = {
        name: parse_prompt(name).is_random for name in ("box", "box-noise-0.2", "points-1", "centre", "clicks-9")
    }
    assert random == {"box": False, "box-noise-0.2": True, "points-1": True, "centre": False, "clicks-9": False}


@pytest.mark.parametrize(
    "name", ["", "boxes", "box-noise", "box-noise-2", "points", "points-0", "points-3+0", "clicks"]
)
def test_unknown_names_raise_an_error_that_lists_the_forms(name):
    with pytest.raises(ValueError, match="one of box, box-noise-SCALE, points-COUNT"):
        parse_prompt(name)


def test_the_next_click_is_in_the_largest_error(mask):
    point, label = next_click(np.zeros_like(mask), mask)
    assert (point.tolist(), label) == ([20, 15], 1)
    predicted = mask.copy()
    predicted[5:26, 10:15] = False  # 5 columns are missing
    predicted[30:40, 40:60] = True  # 10 rows are false positives
    point, label = next_click(predicted, mask)
    assert label == 0
    assert 30 <= point[1] < 40
    predicted[30:40, 40:60] = False
    point, label = next_click(predicted, mask)
    assert (point[0], label) == (12, 1)
    assert next_click(mask, mask) is None
