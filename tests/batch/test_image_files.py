"""Which image files folders, paths and glob patterns name."""

import pytest
from PIL import Image

from hq_sam_hf.batch.image_files import find_images


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
