from collections import Counter

import numpy as np
import pytest

from hq_sam_hf.training.image_order import ImageOrder
from hq_sam_hf.training.loader import StepSampler


def images_of(order: ImageOrder, epoch: int) -> list[int]:
    return order.epoch(epoch)[:, 1].tolist()


def test_one_data_set_is_seen_once_an_epoch_in_an_order_of_its_own():
    order = ImageOrder([(6, 1.0)], seed=3)
    assert sorted(images_of(order, 0)) == sorted(images_of(order, 5)) == list(range(6))
    assert images_of(order, 0) != images_of(order, 5)
    assert set(order.epoch(5)[:, 0]) == {5}


def test_an_epoch_has_the_images_of_each_data_set_as_often_as_its_weight_says():
    order = ImageOrder([(4, 2.0), (6, 1.0), (10, 0.5)], seed=3)
    assert len(order) == 4 * 2 + 6 + 5
    counts = Counter(images_of(order, 1))
    assert [counts[image] for image in range(4)] == [2] * 4
    assert [counts[image] for image in range(4, 10)] == [1] * 6
    assert sum(counts[image] for image in range(10, 20)) == 5


@pytest.mark.parametrize("weight", [0.3, 0.5, 1.5, 2.25])
def test_a_fraction_shows_all_images_equally_often_in_the_end(weight):
    order = ImageOrder([(20, weight)], seed=3)
    epochs = 20  # a whole number of passes
    seen = np.concatenate([order.epoch(epoch) for epoch in range(epochs)])
    assert set(Counter(seen[:, 1].tolist()).values()) == {epochs * weight}
    assert set(Counter(map(tuple, seen.tolist())).values()) == {1}  # so that no image has the same crop twice
    assert sorted(images_of(order, 0)) != sorted(range(20))[: len(order)]  # not the first ones of the folder


def test_an_image_that_is_seen_twice_in_an_epoch_has_two_numbers():
    keys = [key for step in StepSampler(ImageOrder([(4, 2.0)], 3), 3, 4, 1, last=2) for key in step]
    assert len({(key.epoch, key.image) for key in keys}) == 8
    assert Counter(key.image for key in keys) == dict.fromkeys(range(4), 2)


def test_the_order_of_a_later_epoch_does_not_depend_on_where_a_run_was_resumed():
    fresh, later = ImageOrder([(7, 0.6), (3, 1.0)], seed=1), ImageOrder([(7, 0.6), (3, 1.0)], seed=1)
    fresh.epoch(0)
    assert np.array_equal(fresh.epoch(4), later.epoch(4))
