import pickle

import numpy as np
import pytest
from PIL import Image

from hq_sam_hf.cutouts import CutoutObjects
from support.cutout_objects import write_objects, zip_folder


def test_an_object_is_cropped_to_what_is_visible(tmp_path):
    objects = CutoutObjects(write_objects(tmp_path), split="all")
    assert len(objects) == 8
    assert objects[0].size == (40, 40)  # a square of 40 pixels in an image of 60
    assert objects.name(0) == "thing_0"


def test_a_large_object_is_reduced_to_the_largest_side(tmp_path):
    image = Image.new("RGBA", (400, 300))
    image.paste((255, 0, 0, 255), (50, 100, 350, 200))  # 300 x 100 pixels
    image.save(tmp_path / "large.png")
    assert CutoutObjects(tmp_path, split="all", side=150)[0].size == (150, 50)


def test_one_object_in_eight_is_held_out_of_training(tmp_path):
    write_objects(tmp_path, count=17)
    train, validation, whole = (CutoutObjects(tmp_path, split=split) for split in ("train", "validation", "all"))
    names = [{objects.name(number) for number in range(len(objects))} for objects in (train, validation, whole)]
    assert [len(found) for found in names] == [14, 3, 17]
    assert not names[0] & names[1]
    assert names[0] | names[1] == names[2]


def test_a_single_object_is_trained_on_and_validated_on(tmp_path):
    write_objects(tmp_path, count=1)
    assert len(CutoutObjects(tmp_path, split="train")) == len(CutoutObjects(tmp_path, split="validation")) == 1


def test_a_zip_file_and_a_folder_with_subfolders_hold_the_same_objects(tmp_path):
    folder = write_objects(tmp_path / "objects" / "inner")
    (folder / "notes.txt").write_text("not an image")
    archive = zip_folder(folder, tmp_path / "objects.zip")
    from_folder, from_zip = CutoutObjects(tmp_path / "objects", split="all"), CutoutObjects(archive, split="all")
    assert len(from_folder) == len(from_zip) == 8
    for number in range(8):
        assert from_folder.name(number) == from_zip.name(number)
        assert from_folder[number].levels[0].tobytes() == from_zip[number].levels[0].tobytes()


def test_several_sources_are_listed_one_after_the_other(tmp_path):
    sources = [write_objects(tmp_path / "b", 2), write_objects(tmp_path / "a", 3)]
    assert len(CutoutObjects(sources, split="all")) == 5


def test_a_copy_for_another_process_reads_the_files_again(tmp_path):
    objects = CutoutObjects(write_objects(tmp_path), split="all")
    objects.load()
    data = pickle.dumps(objects)
    assert len(data) < 2000  # the paths only
    assert pickle.loads(data)[3].levels[0].tobytes() == objects[3].levels[0].tobytes()


def test_an_image_without_transparency_is_refused_and_cutting_it_out_helps(tmp_path):
    Image.new("RGB", (50, 50), "red").save(tmp_path / "opaque.png")
    with pytest.raises(ValueError, match=r"opaque\.png has no transparent background.*cut the object out"):
        CutoutObjects(tmp_path, split="all").load()
    cut_out = Image.open(tmp_path / "opaque.png").convert("RGBA")
    cut_out.putalpha(Image.fromarray(np.pad(np.full((30, 30), 255, np.uint8), 10)))
    cut_out.save(tmp_path / "opaque.png")
    assert CutoutObjects(tmp_path, split="all")[0].size == (30, 30)


@pytest.mark.parametrize("opaque", [0, 49])  # none, and fewer than 64
def test_an_object_of_too_few_pixels_is_refused(tmp_path, opaque):
    pixels = np.zeros((40, 40, 4), np.uint8)
    pixels[:7, : opaque // 7] = 255
    Image.fromarray(pixels).save(tmp_path / "tiny.png")
    with pytest.raises(ValueError, match=rf"tiny\.png shows {opaque} opaque pixels, fewer than 64. Remove the file"):
        CutoutObjects(tmp_path, split="all").load()


def test_an_unreadable_image_is_named(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"not a PNG")
    with pytest.raises(ValueError, match=r"broken\.png is not a readable image"):
        CutoutObjects(tmp_path, split="all").load()


def test_sources_that_are_missing_or_empty_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist"):
        CutoutObjects(tmp_path / "nowhere")
    (tmp_path / "file.txt").write_text("text")
    with pytest.raises(FileNotFoundError, match=r"file\.txt is not a zip file"):
        CutoutObjects(tmp_path / "file.txt")
    with pytest.raises(FileNotFoundError, match=r"has no images of objects; expected files ending in \.png"):
        CutoutObjects(tmp_path)
    with pytest.raises(ValueError, match="at least one folder or zip file, got none"):
        CutoutObjects([])
    with pytest.raises(ValueError, match='`split` must be "train", "validation" or "all", got \'test\''):
        CutoutObjects(write_objects(tmp_path / "objects"), split="test")
    with pytest.raises(ValueError, match="`side` of the objects must be at least 32 pixels, got 8"):
        CutoutObjects(tmp_path / "objects", side=8)
