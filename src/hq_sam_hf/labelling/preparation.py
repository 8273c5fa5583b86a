"""The part of labelling that needs no model: read, decode and resize the images of a batch."""

import io
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..model.image_files import open_upright
from ..model.image_processing_hq_sam import HQSamImageProcessor
from ..model.image_reading import ImageOptions, read_rgb, shortened
from .addresses import is_local, read_address
from .examples import Example, ImagePlace

# Errors that concern one image. torch.OutOfMemoryError is a RuntimeError and is handled where a model runs.
IMAGE_ERRORS = (ValueError, TypeError, OSError, MemoryError, OverflowError)


@dataclass
class PreparedImage:
    """An example that is ready for the model.

    size: (height, width) of the upright image.
    pixels: the model input, float32 (3, S, S). Size and pixels are None for an image that is decoded later, because a
        detector or crops need it at its full size.
    place: where the image is, with its bytes if anything needs them.
    seconds: how long reading, decoding and resizing took.
    """

    example: Example
    place: ImagePlace
    size: tuple[int, int] | None = None
    pixels: np.ndarray | None = None
    problem: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Preparation:
    """How images are prepared. It can be pickled, and prepares the same in every process.

    image_processor: has the model input size. image_options: how image files are read.
    has_crops: whether automatic masks are also looked for in crops of an image at its full size.
    embeds: whether the bytes of images go into the output.
    """

    image_processor: HQSamImageProcessor
    image_options: ImageOptions
    has_crops: bool = False
    embeds: bool = False

    def prepare(self, example: Example) -> PreparedImage:
        """Prepare one image. An error that concerns this image alone becomes its `problem`."""
        started = time.perf_counter()
        image = PreparedImage(example, example.place, problem=example.problem)
        if image.problem is None:
            try:
                if self.embeds or not is_local(image.place):
                    image.place = with_content(image.place)
                if not self._is_decoded_later(example):
                    self.resize(image, self.decode(image.place))
            except Exception as error:  # for damaged files, decoders raise errors of every kind
                image.problem = reason(error)
        if not self._is_decoded_later(example):
            image.place = self.output_place(image.place)
        image.seconds = time.perf_counter() - started
        return image

    def output_place(self, place: ImagePlace) -> ImagePlace:
        """The place as the output has it: with the bytes of the image, or without them."""
        return place if self.embeds else ImagePlace(place.address)

    def _is_decoded_later(self, example: Example) -> bool:
        return example.text is not None or (example.prompts is None and self.has_crops)

    def decode(self, place: ImagePlace) -> Image.Image:
        """The upright image, RGB. Raises ValueError, with its address, if it cannot be read."""
        if is_local(place) and place.content is None:
            return self.image_options.load(place.address or "")
        options = self.image_options
        try:
            file = io.BytesIO(with_content(place).content or b"")
            image = open_upright(file, options.max_pixels, all_bits=options.value_range is not None)
            rgb = read_rgb(image, value_range=options.value_range)
        except Exception as error:  # as above
            name = shortened(place.address or "its bytes")
            raise ValueError(f"`images`: cannot read {name} as an image ({error}).") from error
        return rgb if isinstance(rgb, Image.Image) else Image.fromarray(rgb)

    def resize(self, image: PreparedImage, decoded: Image.Image) -> None:
        """Set the size and the pixels."""
        image.size = (decoded.height, decoded.width)
        image.pixels = self.image_processor.preprocess(decoded)["pixel_values"][0].numpy()


def prepare_batch(examples: Sequence[Example], preparation: Preparation) -> list[PreparedImage]:
    """Prepare the images of a batch, one at a time, so that only one image is in memory at its full size."""
    return [preparation.prepare(example) for example in examples]


def with_content(place: ImagePlace) -> ImagePlace:
    """The same place with the bytes of the image."""
    if place.content is not None:
        return place
    address = place.address or ""
    if is_local(place) and not os.path.isfile(address):
        raise ValueError(f"`images` contains {shortened(address)}, which is not a file. Correct the path.")
    return ImagePlace(address, read_address(address))


def reason(error: BaseException) -> str:
    """An error in one line."""
    return " ".join(str(error).split()) or type(error).__name__


__all__ = ["IMAGE_ERRORS", "Preparation", "PreparedImage", "prepare_batch", "reason", "with_content"]
