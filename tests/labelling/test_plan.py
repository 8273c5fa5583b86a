"""Which images go into which shard and batch."""

import pytest

from hq_sam_hf.labelling.plan import ShardPlan


def test_shards_and_batches_cover_every_row_once_and_in_order():
    plan = ShardPlan(images=10, shard_size=4, batch_size=3)
    assert [(shard.start, shard.stop) for shard in plan] == [(0, 4), (4, 8), (8, 10)]
    assert [shard.name for shard in plan][0] == "train-00000-of-00003.parquet"
    assert [list(rows) for rows in plan.batches(plan[1])] == [[4, 5, 6], [7]]
    assert [row for shard in plan for rows in plan.batches(shard) for row in rows] == list(range(10))


def test_a_source_without_images_has_no_shards():
    assert list(ShardPlan(images=0)) == []


@pytest.mark.parametrize("size", [0, -1, 2.0, True])
def test_sizes_are_positive_whole_numbers(size):
    with pytest.raises(ValueError, match="`batch_size` must be a whole number from 1 on"):
        ShardPlan(5, batch_size=size)


def test_there_is_no_shard_beyond_the_last():
    with pytest.raises(IndexError, match="no shard 2 of 2"):
        ShardPlan(5, shard_size=3)[2]
