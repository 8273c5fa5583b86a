"""Random generators of a training run, one for each purpose, so that no two uses share random numbers.

What is drawn depends on the seed, the epoch, the step and the image alone. The batches of a run are the same for any
number of workers, processes and accumulated forward passes.
"""

import numpy as np

_ORDER, _SAMPLE, _PROMPT_KIND, _PASS, _REPLACEMENT_ORDER, _REPLACEMENT = range(6)


def order_generator(seed: int, epoch: int) -> np.random.Generator:
    """For the order of the images in an epoch."""
    return np.random.default_rng([seed, _ORDER, epoch])


def pass_generator(seed: int, part: int, number: int) -> np.random.Generator:
    """For the order of the images in pass `number` through data set `part` of several, if its weight is no integer."""
    return np.random.default_rng([seed, _PASS, part, number])


def sample_generator(seed: int, epoch: int, image: int) -> np.random.Generator:
    """For the masks, augmentation and prompts of an image in an epoch."""
    return np.random.default_rng([seed, _SAMPLE, epoch, image])


def replacement_order_generator(seed: int, epoch: int, image: int) -> np.random.Generator:
    """For the order in which others are tried in the place of an unusable image."""
    return np.random.default_rng([seed, _REPLACEMENT_ORDER, epoch, image])


def replacement_generator(seed: int, epoch: int, image: int, other: int) -> np.random.Generator:
    """Like `sample_generator`, for another image in the place of an unusable one."""
    return np.random.default_rng([seed, _REPLACEMENT, epoch, image, other])


def prompt_kind_generator(seed: int, step: int) -> np.random.Generator:
    """For the one kind of prompt of a step."""
    return np.random.default_rng([seed, _PROMPT_KIND, step])


__all__ = [
    "order_generator",
    "pass_generator",
    "prompt_kind_generator",
    "replacement_generator",
    "replacement_order_generator",
    "sample_generator",
]
