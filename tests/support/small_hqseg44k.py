"""HQSeg-44K in miniature: the published layout with images of a few pixels, as folders or zip archives."""

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

FOLDERS = {
    "train": {
        "dis": [("DIS5K/DIS-TR/im", "DIS5K/DIS-TR/gt")],
        "thin": [
            ("thin_object_detection/ThinObject5K/images_train", "thin_object_detection/ThinObject5K/masks_train")
        ],
        "fss": [("cascade_psp/fss_all", "cascade_psp/fss_all")],
        "duts": [("cascade_psp/DUTS-TR", "cascade_psp/DUTS-TR"), ("cascade_psp/DUTS-TE", "cascade_psp/DUTS-TE")],
        "ecssd": [("cascade_psp/ecssd", "cascade_psp/ecssd")],
        "msra": [("cascade_psp/MSRA_10K", "cascade_psp/MSRA_10K")],
    },
    "validation": {
        "dis": [("DIS5K/DIS-VD/im", "DIS5K/DIS-VD/gt")],
        "coift": [("thin_object_detection/COIFT/images", "thin_object_detection/COIFT/masks")],
        "hrsod": [("thin_object_detection/HRSOD/images", "thin_object_detection/HRSOD/masks_max255")],
        "thin": [("thin_object_detection/ThinObject5K/images_test", "thin_object_detection/ThinObject5K/masks_test")],
    },
}

HEIGHT, WIDTH = 6, 8
OBJECT = np.zeros((HEIGHT, WIDTH), dtype=bool)
OBJECT[1:4, 2:7] = True  # 15 pixels


def encode(image: Image.Image, format: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format)
    return buffer.getvalue()


def jpeg(grey: int = 90, size: tuple[int, int] = (WIDTH, HEIGHT), mode: str = "RGB") -> bytes:
    return encode(Image.new(mode, size, grey if mode == "L" else (grey, 0, 0)), "JPEG")


def png(mask: np.ndarray = OBJECT, value: int = 255) -> bytes:
    return encode(Image.fromarray(mask.astype(np.uint8) * value), "PNG")


def small_files(names: tuple[str, ...] = ("b", "a")) -> dict[str, bytes]:
    """The files of every published folder of both splits: an image and a mask for each name."""
    files = {}
    for sets in FOLDERS.values():
        for pairs in sets.values():
            for image_folder, mask_folder in pairs:
                for name in names:
                    files[f"{image_folder}/{name}.jpg"] = jpeg()
                    files[f"{mask_folder}/{name}.png"] = png()
    return files


def write_folders(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def write_archives(root: Path, files: dict[str, bytes], above: str | None = None) -> Path:
    """Write one archive per top folder; `above` replaces the name of that folder inside the archive."""
    root.mkdir(parents=True, exist_ok=True)
    for top in sorted({name.split("/")[0] for name in files}):
        with zipfile.ZipFile(root / f"{top}.zip", "w") as archive:
            for name, content in files.items():
                if name.startswith(f"{top}/"):
                    archive.writestr(name if above is None else above + name.removeprefix(f"{top}/"), content)
    return root
