"""Which images go into which shard and which batch. Both follow from the rows of the source alone.

So a shard has the same content whichever engine, number of workers or restart makes it: a batch is always computed as
a whole, from the same images.
"""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Shard:
    """Shard number `index` of `count`, with the rows from `start` to before `stop` of the source."""

    index: int
    count: int
    start: int
    stop: int

    @property
    def name(self) -> str:
        """The file name, as data sets of the Hub have it."""
        return f"train-{self.index:05d}-of-{self.count:05d}.parquet"

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class ShardPlan:
    """The shards of a source.

    images: rows of the source. shard_size: images per shard. batch_size: images that are encoded together.
    """

    images: int
    shard_size: int = 500
    batch_size: int = 8

    def __post_init__(self) -> None:
        for name, value in (("shard_size", self.shard_size), ("batch_size", self.batch_size)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"`{name}` must be a whole number from 1 on, got {value!r}.")

    def __len__(self) -> int:
        return -(-self.images // self.shard_size)

    def __getitem__(self, index: int) -> Shard:
        if not 0 <= index < len(self):
            raise IndexError(f"There is no shard {index} of {len(self)}.")
        start = index * self.shard_size
        return Shard(index, len(self), start, min(start + self.shard_size, self.images))

    def __iter__(self) -> Iterator[Shard]:
        return (self[index] for index in range(len(self)))

    def batches(self, shard: Shard) -> list[range]:
        """The rows of each batch of a shard. No batch has images of two shards."""
        starts = range(shard.start, shard.stop, self.batch_size)
        return [range(start, min(start + self.batch_size, shard.stop)) for start in starts]


__all__ = ["Shard", "ShardPlan"]
