"""Benchmarks with a mask image per image: HQSeg-44K's four validation sets, and BIG."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..data.hqseg44k import find_sets
from ..data.image_bytes import file_name
from .parts import BenchmarkImage, BenchmarkPart

OBJECT: dict[str, Any] = {"id": 1, "name": "object"}
IMAGE_END, MASK_END, COARSE_END = "_im", "_gt.png", "_seg.png"


def load_hqseg_parts(root: Path, sets: Sequence[str] | None = None) -> list[BenchmarkPart]:
    """The validation sets of HQSeg-44K in their published layout, unpacked or as zip archives.

    Raises ValueError for sets that are missing, and for a folder with an export to Parquet.
    """
    parts = []
    for found in find_sets(root, "validation", sets):
        if found.shards:
            raise ValueError(
                f"{str(root)!r} holds HQSeg-44K as Parquet. The benchmark reads the published files; evaluate the "
                f"Parquet with `--data {root}`."
            )
        parts.append(_part(found.name, found.pairs, notes=found.problems))
    return parts


def load_big_parts(root: Path) -> list[BenchmarkPart]:
    """The test images of BIG: NAME_im.jpg (or .png) with NAME_gt.png, in the folder itself or in its folder test/.

    Raises ValueError if there is none, or if an image lacks its mask.
    """
    folder = root / "test" if (root / "test").is_dir() else root
    images = sorted(path for path in folder.iterdir() if path.stem.endswith(IMAGE_END) and path.is_file())
    if not images:
        raise ValueError(f"{str(folder)!r} has no image. BIG has pairs of NAME_im.jpg and NAME_gt.png there.")
    pairs = [(str(image), str(mask_beside(image, MASK_END))) for image in images]
    missing = [mask for _, mask in pairs if not Path(mask).is_file()]
    if missing:
        raise ValueError(
            f"{len(missing)} of the {len(images)} images in {str(folder)!r} have no ground truth, such as "
            f"{Path(missing[0]).name!r}. BIG has a NAME_gt.png beside each NAME_im.jpg."
        )
    return [_part("big", pairs)]


def mask_beside(image: Path, ending: str, folder: Path | None = None) -> Path:
    """A mask of an image NAME_im.jpg of BIG: NAME_gt.png or NAME_seg.png. folder: by default the image's."""
    return (folder or image.parent) / f"{image.stem.removesuffix(IMAGE_END)}{ending}"


def _part(name: str, pairs: Sequence[tuple[str, str]], notes: Sequence[str] = ()) -> BenchmarkPart:
    images = [BenchmarkImage(number, image, file_name(image)) for number, (image, _) in enumerate(pairs, start=1)]
    ground_truth = {
        "images": [{"id": image.id, "file_name": image.name} for image in images],
        "annotations": [
            {"id": image.id, "image_id": image.id, "category_id": OBJECT["id"], "iscrowd": 0, "mask_file": mask}
            for image, (_, mask) in zip(images, pairs)
        ],
        "categories": [dict(OBJECT)],
    }
    return BenchmarkPart(name, images, ground_truth, notes=list(notes))


__all__ = ["COARSE_END", "load_big_parts", "load_hqseg_parts", "mask_beside"]
