"""Which image files folders, paths and glob patterns name."""

import numpy as np
import pytest
from PIL import Image

from hq_sam_hf.labelling.image_files import find_images
from hq_sam_hf.model.image_reading import ImageOptions


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """The folder `photos` in the current folder, with three images, one in a subfolder, and two other files."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos" / "more").mkdir(parents=True)
    for name in ("a.png", "b.png", "more/a.png"):
        Image.new("RGB", (6, 4)).save(tmp_path / "photos" / name)
    (tmp_path / "photos" / "notes.txt").write_text("not an image")
    (tmp_path / "photos" / ".hidden.png").write_bytes(b"")
    return tmp_path / "photos"


def test_images_are_found_by_file_folder_and_pattern(photos):
    for sources, root, names in [
        (["photos"], photos, ["a.png", "b.png", "more/a.png"]),
        (["photos/b.png"], photos, ["b.png"]),
        (["photos/*.png"], photos, ["a.png", "b.png"]),
        (["photos/**/a.png"], photos, ["a.png", "more/a.png"]),
        (["photos/more", "photos/b.png"], photos, ["b.png", "more/a.png"]),
        (["photos/a.png", str(photos / "a.png")], photos, ["a.png"]),
        ([photos / "more"], photos / "more", ["a.png"]),
        (["photos/more/../b.png", "photos/more/a.png"], photos, ["b.png", "more/a.png"]),
    ]:
        found = find_images(sources)
        assert (found.root, found.names) == (root, names)
    assert find_images(["photos"], exclude="photos/more").names == ["a.png", "b.png"]


def test_a_source_without_images_is_refused(photos):
    for source in ("nothing.png", "photos/*.gif"):
        with pytest.raises(ValueError, match="names no image"):
            find_images([source])
    with pytest.raises(ValueError, match="All images lie in the output folder 'photos'"):
        find_images(["photos/more"], exclude="photos")


def test_every_format_that_pillow_opens_is_found_and_other_files_are_named(photos):
    for name in ("c.gif", "d.webp", "e.jfif", "more/f.PPM"):
        Image.new("RGB", (32, 32)).save(photos / name.lower())
        (photos / name.lower()).rename(photos / name)
    (photos / "more" / "table.xlsx").write_bytes(b"")
    found = find_images(["photos"])
    assert found.names == ["a.png", "b.png", "c.gif", "d.webp", "e.jfif", "more/a.png", "more/f.PPM"]
    assert found.left_out == [str(photos / "more" / "table.xlsx"), str(photos / "notes.txt")]
    assert find_images(["photos/notes.txt", "photos"]).left_out == [str(photos / "more" / "table.xlsx")]
    assert find_images(["photos"], exclude="photos/more").left_out == [str(photos / "notes.txt")]
    assert [found.load(name).size for name in found.names[2:5]] == [(32, 32)] * 3


def test_a_folder_without_images_is_refused_with_the_names_of_its_files(tmp_path):
    (tmp_path / "a.docx").write_bytes(b"")
    (tmp_path / "b.heiX").write_bytes(b"")
    with pytest.raises(ValueError, match=r"names no image.* 2 files are left out .*a\.docx, .*b\.heiX\."):
        find_images([tmp_path])


def test_images_are_read_as_the_options_say(tmp_path):
    Image.fromarray(np.array([[0, 2048, 4095]], dtype=np.uint16)).save(tmp_path / "deep.png")
    found = find_images([tmp_path], options=ImageOptions(value_range=(0, 4095)))
    assert np.asarray(found.load("deep.png"))[0, :, 0].tolist() == [0, 128, 255]
