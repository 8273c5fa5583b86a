"""The photos of tests/photos: free licences, small files, and a valid mask for every object."""

import numpy as np
import pytest
from photos.make_masks import draw, read_outlines
from PIL import Image

from support.real_photos import PARTS, PHOTOS, load_real_photos, mask_names, photo_paths, real_objects

IMAGES = {part: photo_paths(part) for part in PARTS}
MASK_FILES = {part: sorted((folder / "masks").glob("*/*")) for part, folder in PARTS.items()}
FREE = {"CC0", "public domain", "no known copyright restrictions", "CC BY 2.0"}
IN_FRONT = {
    "first": (
        ("astronaut", "helmet", "person"),
        ("cameraman", "tripod", "man"),
        ("coffee", "spoon", "cup"),
        ("coins", "large", "top_right"),
        ("cat", "left_eye", "right_eye"),
        ("hopper", "name_tag", "ribbons"),
    ),
    "work": (
        ("teacup", "cup", "saucer"),
        ("kitten", "cat", "yarn"),
        ("kingfisher", "bird", "branch"),
        ("statue", "statue", "pedestal"),
        ("citrus", "orange", "grapefruit"),
    ),
    "final": (("hens", "middle", "right"), ("measuring_tape", "tape", "reel"), ("tulips", "main", "pink")),
}
PARTS_OF_OBJECTS = {
    "first": (
        ("coffee", "cup", "saucer"),
        ("coffee", "spoon", "saucer"),
        ("astronaut", "patch", "person"),
    ),
    "work": (("multimeter", "dial", "multimeter"),),
    "final": (("scale", "plate", "scale"),),
}


def readme_rows() -> list[list[str]]:
    lines = (PHOTOS / "README.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return rows[2:]  # the first two are the header and its rule


def masks_of(part: str) -> dict[tuple[str, str], np.ndarray]:
    return {(one.photo, one.name): one.mask for one in real_objects(part)}


def test_every_photo_has_a_part_an_author_a_source_and_a_free_licence():
    rows = readme_rows()
    assert [row[:2] for row in rows] == [[part, path.name] for part, paths in IMAGES.items() for path in paths]
    for row in rows:
        assert len(row) == 6
        assert all(row)
        assert row[5] in FREE


def test_no_photo_is_in_two_parts():
    names = [path.stem for paths in IMAGES.values() for path in paths]
    assert len(names) == len(set(names))


def test_the_parts_have_enough_photos_and_objects():
    photos = {part: len(paths) for part, paths in IMAGES.items()}
    objects = {part: len(paths) for part, paths in MASK_FILES.items()}
    assert (photos["first"], objects["first"]) == (7, 17)
    assert photos["work"] >= 10
    assert photos["final"] >= 10
    assert objects["work"] >= 20
    assert objects["final"] >= 20


@pytest.mark.parametrize("path", [path for paths in IMAGES.values() for path in paths], ids=lambda path: path.stem)
def test_photos_are_small(path):
    with Image.open(path) as image:
        assert image.format == "JPEG"
        assert 320 <= max(image.size) <= 512
    assert path.stat().st_size < 80_000


@pytest.mark.parametrize("part", PARTS)
def test_photos_and_masks_load_as_a_data_set(part):
    dataset = load_real_photos(part)
    assert dataset["name"] == [path.stem for path in IMAGES[part]]
    outlines = {path.stem: sorted(read_outlines(path)) for path in (PARTS[part] / "outlines").iterdir()}
    assert {name: mask_names(name, part) for name in dataset["name"]} == outlines
    assert [len(masks) for masks in dataset["masks"]] == [len(outlines[name]) for name in dataset["name"]]
    assert set(dataset["set"]) == {PARTS[part].name}


@pytest.mark.parametrize(
    "path",
    [path for paths in MASK_FILES.values() for path in paths],
    ids=lambda path: f"{path.parent.name}-{path.stem}",
)
def test_a_mask_is_binary_has_the_size_of_its_photo_and_matches_its_outlines(path):
    folder, photo = path.parents[2], path.parent.name
    with Image.open(path) as mask_image, Image.open(folder / "images" / f"{photo}.jpg") as image:
        assert (mask_image.format, mask_image.mode, mask_image.size) == ("PNG", "L", image.size)
        mask = np.asarray(mask_image)
    assert set(np.unique(mask)) == {0, 255}
    shapes = read_outlines(folder / "outlines" / f"{photo}.txt")[path.stem]
    drawn = draw(shapes, (mask.shape[1], mask.shape[0]))
    # Other versions of Pillow may round corners differently.
    assert np.count_nonzero(drawn != (mask == 255)) <= 0.005 * np.count_nonzero(drawn)


@pytest.mark.parametrize("part", PARTS)
def test_boxes_are_tight(part):
    for one in real_objects(part):
        x1, y1, x2, y2 = map(int, one.box)
        inside = one.mask[y1 : y2 + 1, x1 : x2 + 1]
        assert inside.sum() == one.mask.sum() >= 1000, f"{one.photo}/{one.name}"
        assert all(edge.any() for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))
        assert one.image.shape == (*one.mask.shape, 3)


@pytest.mark.parametrize("part", IN_FRONT)
def test_overlapping_objects_share_no_pixel(part):
    masks = masks_of(part)
    for photo, front, back in IN_FRONT[part]:
        assert not (masks[photo, front] & masks[photo, back]).any(), f"{photo}: {front} and {back}"


@pytest.mark.parametrize("part", PARTS_OF_OBJECTS)
def test_a_part_lies_inside_its_whole(part):
    masks = masks_of(part)
    for photo, inner, whole in PARTS_OF_OBJECTS[part]:
        assert (masks[photo, inner] <= masks[photo, whole]).all(), f"{photo}: {inner} in {whole}"


def test_outlines_are_drawn_in_order_with_gaps_and_other_objects(tmp_path):
    path = tmp_path / "outlines.txt"
    path.write_text(
        "[square]\npolygon 2,2 6,2\n  6,6 2,6\n\n"
        "[frame]\ncurve 0,0! 8,0! 8,8! 0,8!\nwithout object square\n\n"
        "[both]\nstroke 2 0,17 20,17\nobject square\n\n"
        "[disc]\nellipse 10,10 8,4\n"
    )
    masks = {name: draw(shapes, (20, 20)) for name, shapes in read_outlines(path).items()}
    assert masks["square"].sum() == 4 * 4
    assert masks["frame"].sum() == 8 * 8 - 4 * 4
    assert masks["both"].sum() == 4 * 4 + 2 * 20
    assert masks["disc"].sum() == pytest.approx(np.pi * 8 * 4, rel=0.05)
    assert not (masks["frame"] & masks["square"]).any()
