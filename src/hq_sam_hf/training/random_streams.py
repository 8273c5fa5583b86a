"""Random generators of a training run, one for each purpose, so that no two uses share random numbers.

What is drawn depends on the seed, the epoch, the step and the image alone. The batches of a run are the same for any
number of workers, processes and accumulated forward passes.
"""

import numpy as np

_ORDER, _SAMPLE, _PROMPT_KIND, _PASS = range(4)


def order_generator(seed: int, epoch: int) -> np.random.Generator:
    """For the order of the images in an epoch."""
    return np.random.default_rng([seed, _ORDER, epoch])


def pass_generator(seed: int, part: int, number: int) -> np.random.Generator:
    """For the order of the images in pass `number` through data set `part` of several, if its weight is no integer."""
    return np.random.default_rng([seed, _PASS, part, number])


def sample_generator(seed: int, epoch: int, image: int) -> np.random.Generator:
    """For the masks, augmentation and prompts of an image in an epoch."""
    return np.random.default_rng([seed, _SAMPLE, epoch, image])


def prompt_kind_generator(seed: int, step: int) -> np.random.Generator:
    """For the one kind of prompt of a step."""
    return np.random.default_rng([seed, _PROMPT_KIND, step])


__all__ = ["order_generator", "pass_generator", "prompt_kind_generator", "sample_generator"]
