"""A data set that predicts in the workers of a DataLoader, importable by processes that are spawned."""

from typing import Any

import numpy as np
from torch.utils.data import Dataset


class MasksInWorkers(Dataset):
    """Masks of an image from each of several objects that predict, as one bool array per object.

    predict_masks: how each of them is called.
    """

    def __init__(self, things: dict[str, Any], image: np.ndarray) -> None:
        self.things = things
        self.image = image

    def __len__(self) -> int:
        return len(self.things)

    def __getitem__(self, index: int) -> tuple[str, list[np.ndarray]]:
        name, thing = list(self.things.items())[index]
        return name, predict_masks(thing, self.image)


def predict_masks(thing: Any, image: np.ndarray) -> list[np.ndarray]:
    """The masks that a predictor, mask generator, pipeline or text predictor finds."""
    if hasattr(thing, "set_image"):
        thing.set_image(image)
        return list(thing.predict([[30, 20]])[0])
    if hasattr(thing, "generate"):
        return [record["segmentation"] for record in thing.generate(image)]
    if hasattr(thing, "detector"):
        return [record["segmentation"] for record in thing.predict(image, "cup")]
    return thing(image)["masks"]


def first_of_batch(batch: list) -> Any:
    return batch[0]
