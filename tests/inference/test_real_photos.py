"""The photos of tests/photos: free licences, small files, and a valid mask for every object."""

import numpy as np
import pytest
from photos.make_masks import MASKS, draw
from PIL import Image

from support.real_photos import PHOTOS, load_real_photos, mask_names, real_objects

IMAGES = sorted((PHOTOS / "images").iterdir())
MASK_FILES = sorted((PHOTOS / "masks").glob("*/*"))
FREE = {"CC0", "public domain", "no known copyright restrictions"}


def readme_rows() -> list[list[str]]:
    lines = (PHOTOS / "README.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return rows[2:]  # the first two are the header and its rule


def test_every_photo_has_an_author_a_source_and_a_free_licence():
    rows = readme_rows()
    assert [row[0] for row in rows] == [path.name for path in IMAGES]
    for row in rows:
        assert len(row) == 5
        assert all(row)
        assert row[4] in FREE


@pytest.mark.parametrize("path", IMAGES, ids=lambda path: path.stem)
def test_photos_are_small(path):
    with Image.open(path) as image:
        assert image.format == "JPEG"
        assert 380 <= max(image.size) <= 512
    assert path.stat().st_size < 60_000


def test_photos_and_masks_load_as_a_data_set():
    dataset = load_real_photos()
    assert dataset["name"] == [path.stem for path in IMAGES]
    assert {name: mask_names(name) for name in MASKS} == {name: sorted(objects) for name, objects in MASKS.items()}
    assert [len(masks) for masks in dataset["masks"]] == [len(mask_names(name)) for name in dataset["name"]]
    assert set(dataset["set"]) == {"photos"}


@pytest.mark.parametrize("path", MASK_FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_mask_is_binary_has_the_size_of_its_photo_and_matches_its_outlines(path):
    photo = PHOTOS / "images" / f"{path.parent.name}.jpg"
    with Image.open(path) as mask_image, Image.open(photo) as image:
        assert (mask_image.format, mask_image.mode, mask_image.size) == ("PNG", "L", image.size)
        mask = np.asarray(mask_image)
    assert set(np.unique(mask)) == {0, 255}
    drawn = draw(MASKS[path.parent.name][path.stem], (mask.shape[1], mask.shape[0]))
    # Other versions of Pillow may round corners differently.
    assert np.count_nonzero(drawn != (mask == 255)) <= 0.005 * np.count_nonzero(drawn)


def test_boxes_are_tight():
    for one in real_objects():
        x1, y1, x2, y2 = map(int, one.box)
        inside = one.mask[y1 : y2 + 1, x1 : x2 + 1]
        assert inside.sum() == one.mask.sum() >= 1000, f"{one.photo}/{one.name}"
        assert all(edge.any() for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))
        assert one.image.shape == (*one.mask.shape, 3)


def test_overlapping_objects_share_no_pixel():
    masks = {(one.photo, one.name): one.mask for one in real_objects()}
    for photo, front, back in (
        ("astronaut", "helmet", "person"),
        ("cameraman", "tripod", "man"),
        ("coffee", "spoon", "cup"),
        ("coins", "large", "top_right"),
        ("cat", "left_eye", "right_eye"),
        ("hopper", "name_tag", "ribbons"),
    ):
        assert not (masks[photo, front] & masks[photo, back]).any(), f"{photo}: {front} and {back}"


def test_a_part_lies_inside_its_whole():
    masks = {(one.photo, one.name): one.mask for one in real_objects()}
    for photo, part, whole in (
        ("coffee", "cup", "saucer"),
        ("coffee", "spoon", "saucer"),
        ("astronaut", "patch", "person"),
    ):
        assert (masks[photo, part] <= masks[photo, whole]).all(), f"{photo}: {part} in {whole}"
