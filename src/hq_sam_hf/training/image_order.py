"""The order in which a run sees the images of its data sets."""

from collections.abc import Sequence

import numpy as np

from .random_streams import order_generator, pass_generator


class ImageOrder:
    """The images of each epoch, of one data set or of several with weights.

    parts: the number of images and the weight of each data set. An epoch sees round(weight x images) of them. With a
    weight that is no integer these are the next ones of a random order, so that in the end all are seen equally often.
    """

    def __init__(self, parts: Sequence[tuple[int, float]], seed: int) -> None:
        self.seed, self.counts = seed, [count for count, _ in parts]
        self.shares = [round(count * weight) for count, weight in parts]

    def __len__(self) -> int:
        """The number of images of an epoch."""
        return sum(self.shares)

    def epoch(self, epoch: int) -> np.ndarray:
        """The images of an epoch in order, int64 (N, 2): the pass through the data set and the image's number."""
        parts = [self._part(number, epoch) for number in range(len(self.counts))]
        images = np.concatenate(parts) if parts else np.empty((0, 2), dtype=np.int64)
        return images[order_generator(self.seed, epoch).permutation(len(images))]

    def _part(self, number: int, epoch: int) -> np.ndarray:
        count, share = self.counts[number], self.shares[number]
        if share == 0:
            return np.empty((0, 2), dtype=np.int64)
        passes, images = np.divmod(np.arange(epoch * share, (epoch + 1) * share), count)
        if share % count:
            for one in np.unique(passes):
                order = pass_generator(self.seed, number, int(one)).permutation(count)
                images[passes == one] = order[images[passes == one]]
        return np.stack([passes, images + sum(self.counts[:number])], axis=1)


__all__ = ["ImageOrder"]
