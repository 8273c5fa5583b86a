"""Fetch and select the objects and backgrounds that the next embedded checkpoint is to be trained on.

python recipes/nano/fetch_art.py runs/nano/art

Needs `npm`, `apt-get` and `dpkg-deb`; on other systems, put the three package files into OUTPUT/packages. Writes

    objects/emoji.zip    rendered objects (npm: @lobehub/fluent-emoji-3d, MIT licence)
    objects/clipart.zip  clip art with many colours (Debian: openclipart-png, public domain dedication)
    objects/drawn.zip    objects of the generated scenes, of the families used in training
    backgrounds/         photos (Debian: lomiri-wallpapers-16.04; its copyright file says for each whether it is under
                         CC BY, CC BY-SA or CC0), and generated backgrounds
"""

import argparse
import io
import subprocess
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from hq_sam_hf.scenes import FAMILIES, GROUPS, trained_families
from hq_sam_hf.scenes.background import random_background
from hq_sam_hf.scenes.objects import SceneObject, colour_object, pose

EMOJI = ("@lobehub/fluent-emoji-3d@1.1.0", "lobehub-fluent-emoji-3d-1.1.0.tgz")
CLIPART, PHOTOS = "openclipart-png", "lomiri-wallpapers-16.04"
SIDE = 256  # largest side of a stored object
MARGIN = 4  # transparent pixels around a stored object
DRAWN_PER_FAMILY = {"solid": 24, "thin": 40}
DRAWN_BACKGROUNDS, BACKGROUND_SIDE = 240, 512

# Code points of emoji that are signs rather than things: skin tones, flags, keycaps, clocks, squares, letters.
SIGNS = (
    *((0x1F3FB, 0x1F3FF), (0x1F1E6, 0x1F1FF), (0x20E3, 0x20E3), (0x1F500, 0x1F524), (0x1F52F, 0x1F567)),
    *((0x1F170, 0x1F265), (0x1F6AB, 0x1F6B1), (0x1F6BA, 0x1F6C5), (0x1F7E0, 0x1F7FF), (0x1F4A0, 0x1F4AF)),
)
THINGS_BELOW_1F000 = (
    *(0x2602, 0x2614, 0x2615, 0x2618, 0x2620, 0x2692, 0x2693, 0x2694, 0x2696, 0x2697, 0x2699, 0x26BD, 0x26BE),
    *(0x26C4, 0x26F5, 0x26FA, 0x2708),
)
# Folders of openclipart with things; the others hold icons, flags, shapes and signs.
CLIPART_FOLDERS = (
    *("animals", "buildings", "containers", "decorations", "education", "electronics", "food", "office", "people"),
    *("plants", "recreation", "science", "tools", "transportation", "computer/hardware", "geography/astronomy"),
)
CLIPART_NOT = (
    "aiga-symbols",
    "roadsigns",
    "stickmen",
    "cards",
    "smilies",
    "pantyhose",
    "chess",
    "religion",
    "weapons",
)
MIN_COLOURS = 40  # of 4096 of a clip art; fewer look like a sign


def fetch(folder: Path) -> tuple[Path, Path, Path]:
    """Download the packages that are not there. Returns the files of emoji, clip art and photos."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / EMOJI[1]).exists():
        subprocess.run(["npm", "pack", "--silent", EMOJI[0]], cwd=folder, check=True)
    for name in (CLIPART, PHOTOS):
        if not list(folder.glob(f"{name}_*.deb")):
            subprocess.run(["apt-get", "download", name], cwd=folder, check=True)
    return folder / EMOJI[1], next(folder.glob(f"{CLIPART}_*.deb")), next(folder.glob(f"{PHOTOS}_*.deb"))


def is_thing(stem: str) -> bool:
    """Whether an emoji, named by code points such as "1f9d7-1f3fd", shows a thing, or a person without a skin tone."""
    points = [int(point, 16) for point in stem.split("-")]
    if any(low <= point <= high for point in points for low, high in SIGNS):
        return False
    return points[0] >= 0x1F000 or points[0] in THINGS_BELOW_1F000


def select_emoji(package: Path, target: Path) -> int:
    with tarfile.open(package) as archive, zipfile.ZipFile(target, "w") as chosen:
        for member in sorted(archive.getmembers(), key=lambda member: member.name):
            stem = Path(member.name).stem
            if member.name.startswith("package/assets/") and is_thing(stem):
                file = archive.extractfile(member)
                assert file is not None, "a regular file"
                data = file.read()
                if is_cut_out(Image.open(io.BytesIO(data)).convert("RGBA")):
                    chosen.writestr(f"{stem}.webp", data)
        return len(chosen.namelist())


def is_cut_out(image: Image.Image, min_colours: int = 0) -> bool:
    """Whether an RGBA image shows one opaque thing on a transparent background."""
    pixels = np.asarray(image)
    opaque = pixels[..., 3] > 200
    faint = ((pixels[..., 3] > 20) & ~opaque).sum()
    border = np.concatenate([opaque[0], opaque[-1], opaque[:, 0], opaque[:, -1]])
    if not 0.04 <= opaque.mean() <= 0.92 or faint > 0.25 * opaque.sum() or border.mean() > 0.5:
        return False
    levels = pixels[opaque][:, :3].astype(int) // 16
    return len(np.unique(levels @ [256, 16, 1])) >= min_colours


def select_clipart(package: Path, scratch: Path, target: Path) -> int:
    subprocess.run(["dpkg-deb", "-x", str(package), str(scratch)], check=True)
    root = scratch / "usr/share/openclipart/png"
    with zipfile.ZipFile(target, "w") as chosen:
        for file in sorted(root.rglob("*.png")):
            inside = file.relative_to(root).as_posix()
            if not inside.startswith(CLIPART_FOLDERS) or any(word in inside for word in CLIPART_NOT):
                continue
            image = Image.open(file).convert("RGBA")
            image.thumbnail((SIDE * 2, SIDE * 2), Image.Resampling.LANCZOS)
            if is_cut_out(image, MIN_COLOURS):
                image = image.crop(image.getchannel("A").getbbox())
                image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
                write(chosen, inside.replace("/", "_")[:-4], ImageOps.expand(image, MARGIN))
        return len(chosen.namelist())


def write(archive: zipfile.ZipFile, stem: str, image: Image.Image) -> None:
    file = io.BytesIO()
    image.save(file, "WEBP", lossless=True)
    archive.writestr(f"{stem}.webp", file.getvalue())


def draw_objects(target: Path) -> int:
    """Objects of the generated scenes on a transparent background: half in one colour, half in several or printed."""
    with zipfile.ZipFile(target, "w") as chosen:
        for number, family in enumerate(sorted(trained_families())):
            for index in range(DRAWN_PER_FAMILY[GROUPS[family]]):
                rng = np.random.default_rng([20261128, number, index])
                kind = ("one", "one", "several", "printed")[index % 4]
                drawing = pose(rng, family, SIDE + 64, SIDE + 64, kind)
                if drawing is None or max(drawing.coverage.shape) < 100:
                    continue
                behind = np.full((SIDE + 64, SIDE + 64, 3), rng.uniform(0, 255, 3), dtype=np.float32)
                drawn: SceneObject = colour_object(rng, family, drawing, behind, kind)
                alpha = np.rint(drawing.coverage * 255).astype(np.uint8)
                pixels = np.dstack([drawn.colours.clip(0, 255).astype(np.uint8), alpha])
                write(chosen, f"{family}_{index:02d}", ImageOps.expand(Image.fromarray(pixels), MARGIN))
        return len(chosen.namelist())


def copy_photos(package: Path, scratch: Path, target: Path) -> int:
    subprocess.run(["dpkg-deb", "-x", str(package), str(scratch)], check=True)
    target.mkdir(parents=True, exist_ok=True)
    files = sorted((scratch / "usr/share/backgrounds").rglob("*.jpg"))
    for file in files:
        photo = Image.open(file).convert("RGB")
        ratio = 1024 / min(photo.size)
        photo = photo.resize((round(photo.width * ratio), round(photo.height * ratio)), Image.Resampling.LANCZOS)
        photo.save(target / file.name, quality=90)
    return len(files)


def draw_backgrounds(target: Path) -> int:
    target.mkdir(parents=True, exist_ok=True)
    for index in range(DRAWN_BACKGROUNDS):
        rng = np.random.default_rng([20261129, index])
        pixels = random_background(rng, BACKGROUND_SIDE, BACKGROUND_SIDE, rich=True).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(target / f"{index:03d}.jpg", quality=90)
    return DRAWN_BACKGROUNDS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    output = parser.parse_args().output
    emoji, clipart, photos = fetch(output / "packages")
    (output / "objects").mkdir(parents=True, exist_ok=True)
    print(len(FAMILIES), "families of drawn objects")
    print(select_emoji(emoji, output / "objects/emoji.zip"), "emoji")
    print(select_clipart(clipart, output / "packages/clipart", output / "objects/clipart.zip"), "clip arts")
    print(draw_objects(output / "objects/drawn.zip"), "drawn objects")
    print(copy_photos(photos, output / "packages/photos", output / "backgrounds/photos"), "photos")
    print(draw_backgrounds(output / "backgrounds/drawn"), "drawn backgrounds")


if __name__ == "__main__":
    main()
