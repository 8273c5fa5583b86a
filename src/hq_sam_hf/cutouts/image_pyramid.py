"""Images stored at several sizes, so that small copies are made quickly and without aliasing."""

from PIL import Image

SMALLEST_SIDE = 24  # of the smallest copy that is stored


class ImagePyramid:
    """An image and its copies at 1/2, 1/4 and so on of its size."""

    def __init__(self, image: Image.Image) -> None:
        self.levels = [image]
        while min(self.levels[-1].size) >= 2 * SMALLEST_SIDE:
            self.levels.append(self.levels[-1].reduce(2))

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the whole image."""
        return self.levels[0].size

    def level(self, scale: float) -> tuple[Image.Image, float]:
        """The smallest copy that need not be enlarged for an image of `scale` times the size, and its own scale."""
        number = 0
        while number + 1 < len(self.levels) and scale * 2 ** (number + 1) <= 1:
            number += 1
        chosen = self.levels[number]
        return chosen, chosen.width / self.levels[0].width


__all__ = ["ImagePyramid"]
