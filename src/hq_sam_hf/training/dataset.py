"""The training dataset: rows of any data source with augmentation and simulated prompts.

A sample is deterministic by (seed, epoch, image), and for `train: sam` also by the step.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from ..data.augmentation import augment
from ..data.prompt_simulation import random_region
from ..data.reading import Sample, read_sample
from ..masks.rle import foreground
from ..utils.threads import one_thread
from .config import TrainingConfig
from .random_streams import replacement_generator, replacement_order_generator, sample_generator


class _NoObjectError(ValueError):
    """An image without an object, which has none in later epochs either."""


class SampleKey(NamedTuple):
    """The key of a sample: image number `image` of the data, for the optimizer step `step`.

    epoch: how often its data set was seen before. With several data sets of different weights each has its own count.
    """

    epoch: int
    step: int
    image: int


class TrainingDataset(torch.utils.data.Dataset):
    """Samples by `SampleKey`; `batch.collate` makes a batch of them.

    rows: anything with a length and rows that `data.reading.read_sample` reads.
    image_size: side S of the model input. mask_size: side m of mask prompts.

    A sample has "image", uint8 (S, S, 3); "masks", float32 (P, S, S) in [0, 1]; "prompts", one for each mask;
    "seeds", int64 (P,); "name"; and "skipped", messages on unusable samples that it stands in for.
    """

    def __init__(self, rows: Any, config: TrainingConfig, image_size: int, mask_size: int) -> None:
        self.rows, self.config = rows, config
        self.objective = config.make_objective()
        self.image_size, self.mask_size = image_size, mask_size
        self._without_object: dict[int, str] = {}  # images that need not be read again, with the reason

    def __getitems__(self, keys: Sequence[SampleKey]) -> list[dict[str, Any]]:
        """The samples of a batch, all of the same step. PyTorch's loaders call this rather than `__getitem__`."""
        # PyTorch's interpolation rounds differently for each number of threads, and workers have one thread.
        with one_thread():
            return self._samples(keys)

    def __getitem__(self, key: SampleKey) -> dict[str, Any]:
        return self.__getitems__([key])[0]

    def _samples(self, keys: Sequence[SampleKey]) -> list[dict[str, Any]]:
        samples = [self._sample(key) for key in keys]
        kinds = self.objective.prompt_kinds(keys[0].step, [mask for sample in samples for mask in sample["masks"]])
        for sample in samples:
            rng = sample.pop("rng")
            sample["prompts"] = [
                self.objective.draw_prompt(self._prompted(mask, rng), kinds, rng, self.mask_size)
                for mask in sample["masks"]
            ]
            sample["seeds"] = rng.integers(2**62, size=len(sample["prompts"]))
        return samples

    def _sample(self, key: SampleKey) -> dict[str, Any]:
        """A sample without prompts, and the generator to draw them with.

        An unusable image is raised, or replaced by one that is drawn at random from all others.
        """
        skipped: list[str] = []
        for index, rng in self._draws(key):
            try:
                return {**self._augmented(index, rng), "rng": rng, "skipped": skipped}
            except (ValueError, OSError) as error:
                if self.config.bad_samples == "stop":
                    raise
                skipped.append(str(error))
        raise ValueError(
            f"None of the {len(skipped)} images can be used, such as: {skipped[0]} `hq-sam data check` lists what is "
            "wrong. To train on images without objects, set `empty_images: negative`."
        )

    def _draws(self, key: SampleKey) -> Iterator[tuple[int, np.random.Generator]]:
        """The image of a key and then all others in random order, each with the generator of its sample."""
        seed, (epoch, _, image) = self.config.seed, key
        yield image, sample_generator(seed, epoch, image)
        for other in replacement_order_generator(seed, epoch, image).permutation(len(self.rows)).tolist():
            if other != image:
                yield other, replacement_generator(seed, epoch, image, other)

    def _read_with_masks(self, index: int) -> tuple[Sample, np.ndarray]:
        """An image and the numbers of its masks that are not empty; of one empty mask for a negative."""
        if index in self._without_object:
            raise _NoObjectError(self._without_object[index])
        sample = read_sample(self.rows[index])
        filled = np.flatnonzero(foreground(sample.masks).any(axis=(1, 2)))
        if len(filled):
            return sample, filled
        if self.config.empty_images == "negative":
            sample.masks = np.zeros((1, *sample.image.shape[:2]), dtype=np.float32)
            return sample, np.zeros(1, dtype=np.int64)
        reason = f"{sample.set}/{sample.name}: the mask is empty, so there is no object to prompt for."
        self._without_object[index] = reason
        raise _NoObjectError(reason)

    def _prompted(self, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The mask that a prompt is drawn for: the mask itself, or any region for the empty mask of a negative."""
        if self.config.empty_images == "negative" and not foreground(mask).any():
            return random_region(mask.shape[-1], rng)
        return mask

    def _augmented(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        config = self.config
        sample, usable = self._read_with_masks(index)
        is_negative = not foreground(sample.masks[usable[:1]]).any()
        chosen = self.objective.choose_masks(usable, config.masks_per_image, rng)
        low, high = config.scales or (1.0, 1.0)
        image, masks = augment(
            sample.image, sample.masks[chosen], self.image_size, rng, (low, high), config.flip, config.paper_exact
        )
        if not config.paper_exact and not is_negative:
            masks = masks[foreground(masks).any(axis=(1, 2))]
        if len(masks) == 0:
            raise ValueError(
                f"{sample.set}/{sample.name}: no pixel of the object is left at {self.image_size} pixels."
            )
        return {"image": image, "masks": masks, "name": f"{sample.set}/{sample.name}"}


__all__ = ["SampleKey", "TrainingDataset"]
