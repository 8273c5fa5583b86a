"""Load COCO instances, as other programs write them."""

import json

import datasets
import numpy as np
import pytest
from pycocotools import mask as coco
from pycocotools.coco import COCO

from hq_sam_hf.data import reading
from hq_sam_hf.data.coco import load_coco
from hq_sam_hf.data.image_bytes import undecoded
from hq_sam_hf.data.prepare import check_data, export_data
from hq_sam_hf.data.reading import read_sample
from support.small_hqseg44k import HEIGHT, OBJECT, WIDTH, jpeg, write_folders


@pytest.fixture(autouse=True)
def datasets_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def areas(dataset) -> dict[str, list[float]]:
    """The area in pixels of each mask, by the name of the row."""
    samples = [read_sample(row) for row in undecoded(dataset)]
    return {sample.name: sample.masks.sum(axis=(1, 2)).tolist() for sample in samples}


def write_coco(folder, images, annotations):
    """Write instances.json to `folder`, and an image file for each image."""
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cup"}]}
    write_folders(folder, {"instances.json": json.dumps(content).encode()})
    for image in images:
        size = (image["width"], image["height"])
        write_folders(folder / "images", {image["file_name"]: jpeg(size=size)})
    return folder / "instances.json", folder / "images"


def instance(number, image, segmentation, **more):
    return {"id": number, "image_id": image, "category_id": 1, "iscrowd": 0, "segmentation": segmentation, **more}


SMALL = {"id": 7, "file_name": "a.jpg", "height": HEIGHT, "width": WIDTH}
SQUARE = [1, 1, 4, 1, 4, 4, 1, 4]  # 3 x 3 pixels
FAR_SQUARE = [6, 4, 8, 4, 8, 6, 6, 6]  # 2 x 2 pixels


class TestCoco:
    @pytest.mark.parametrize("streaming", [False, True])
    def test_one_row_per_image_with_all_its_instances(self, tmp_path, streaming):
        images = [SMALL, {**SMALL, "id": 3, "file_name": "sub/b.jpg"}, {**SMALL, "id": 9, "file_name": "none.jpg"}]
        compressed = coco.encode(np.asfortranarray(OBJECT.astype(np.uint8)))["counts"].decode()
        annotations = [
            instance(5, 7, [SQUARE, FAR_SQUARE]),
            instance(2, 7, {"size": [HEIGHT, WIDTH], "counts": [0, 2, 46]}),
            instance(4, 3, {"size": [HEIGHT, WIDTH], "counts": compressed}),
            instance(6, 3, {"size": [HEIGHT, WIDTH], "counts": [0, 48]}, iscrowd=1),
        ]
        dataset = load_coco(*write_coco(tmp_path, images, annotations), set_name="cups", streaming=streaming)
        assert list(dataset.features) == ["image", "masks", "category", "set", "name"]
        assert [row["category"] for row in dataset] == [["cup", "cup"], ["cup"]]
        assert areas(dataset) == {"a": [2, 9 + 4], "sub/b": [15]}
        assert {row["set"] for row in dataset} == {"cups"}

    @pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # pycocotools with NumPy 2
    def test_masks_equal_those_of_pycocotools(self, tmp_path):
        generator = np.random.default_rng(0)
        height, width = 53, 71
        annotations = []
        for i in range(300):
            corners = generator.random((generator.integers(3, 12), 2)) * [1.4 * width, 1.4 * height]
            corners -= [0.2 * width, 0.2 * height]  # some corners lie outside the image, on every side
            corners = np.round(corners * (1, 2, 100)[i % 3]) / (1, 2, 100)[i % 3]
            polygons = [corners.ravel().tolist(), corners[::-1].ravel().tolist()[:6]]
            noise = np.asfortranarray(generator.random((height, width)) < 0.3)
            rle = coco.encode(noise.astype(np.uint8))
            counts = np.diff(np.flatnonzero(np.diff(noise.ravel(order="F"), prepend=0, append=2)), prepend=0).tolist()
            annotations += [
                instance(3 * i, i, polygons),
                instance(3 * i + 1, i, {"size": [height, width], "counts": rle["counts"].decode()}),
                instance(3 * i + 2, i, {"size": [height, width], "counts": counts}),
            ]
        images = [{"id": i, "file_name": f"{i:03d}.jpg", "height": height, "width": width} for i in range(300)]
        paths = write_coco(tmp_path, images, annotations)
        reference = COCO(str(paths[0]))
        for i, row in enumerate(undecoded(load_coco(*paths))):
            masks = read_sample(row).masks
            expected = [reference.annToMask(annotation) for annotation in reference.loadAnns(range(3 * i, 3 * i + 3))]
            assert np.array_equal(masks, np.stack(expected))
            assert masks[1].any()
            assert np.array_equal(masks[1], masks[2])

    def test_loading_decodes_no_image_and_no_mask(self, tmp_path, monkeypatch):
        paths = write_coco(tmp_path, [SMALL], [instance(1, 7, [SQUARE])])
        (paths[1] / "a.jpg").write_bytes(b"not an image")
        monkeypatch.setattr(reading, "polygons_to_mask", lambda *_: pytest.fail("decoded"))
        dataset = load_coco(*paths)
        assert undecoded(dataset)[:]["masks"] == [[json.dumps({"size": [HEIGHT, WIDTH], "polygons": [SQUARE]})]]

    def test_instances_that_outline_nothing_are_left_out(self, tmp_path, caplog):
        annotations = [instance(1, 7, [[1, 1, 2, 2]]), instance(2, 7, []), instance(3, 7, None)]
        annotations.append(instance(4, 7, [[1, 1, 2, 2], SQUARE]))
        assert areas(load_coco(*write_coco(tmp_path, [SMALL], annotations))) == {"a": [9]}
        assert caplog.messages == [
            "Annotations with polygons of fewer than 3 points are left out (1): 1.",
            "Annotations without a segmentation are left out (2): 2, 3.",
            "Parts of fewer than 3 points are left out of annotations with others (1): 4.",
        ]

    def test_a_listed_size_that_differs_from_the_image_file_is_an_error(self, tmp_path):
        paths = write_coco(tmp_path, [SMALL], [instance(1, 7, [SQUARE])])
        (paths[1] / "a.jpg").write_bytes(jpeg(size=(WIDTH, HEIGHT + 1)))
        [row] = undecoded(load_coco(*paths))
        with pytest.raises(ValueError, match=r"instances/a: image and mask .* \(7, 8\) and \(6, 8\)"):
            read_sample(row)

    @pytest.mark.parametrize(
        ("images", "annotations", "message"),
        [
            ([SMALL], [instance(1, 8, [SQUARE])], "Annotation 1 belongs to image 8, which `images` does not list"),
            ([SMALL], [], "has no instance with a segmentation"),
            ([SMALL], [{"id": 1}], "the annotation 1 lacks image_id"),
        ],
    )
    def test_inconsistent_annotations_are_errors(self, tmp_path, images, annotations, message):
        with pytest.raises(ValueError, match=message):
            load_coco(*write_coco(tmp_path, images, annotations))

    def test_missing_images_and_fields_are_errors(self, tmp_path):
        annotations, images = write_coco(tmp_path, [SMALL], [instance(1, 7, [SQUARE])])
        (images / "a.jpg").unlink()
        with pytest.raises(ValueError, match=r"1 of 1 images are missing, such as '.*a\.jpg'"):
            load_coco(annotations, images)
        annotations.write_text('{"images": [{"id": 7, "file_name": "a.jpg"}], "annotations": []}')
        with pytest.raises(ValueError, match="the image 7 lacks height, width"):
            load_coco(annotations, images)

    @pytest.mark.parametrize("content", ["nonsense", "[]", '{"images": 3}', '{"images": []}'])
    def test_errors_name_a_file_that_is_not_coco(self, tmp_path, content):
        (tmp_path / "x.json").write_text(content)
        with pytest.raises(ValueError, match=r"x\.json' is not a COCO file"):
            load_coco(tmp_path / "x.json", tmp_path)


class TestFilesOfOtherPrograms:
    """What the file says is read right, or named with the id of its annotation."""

    @pytest.fixture
    def load(self, tmp_path):
        def load(annotations, images=(SMALL,), **options):
            for image in images:
                size = (WIDTH, HEIGHT)
                if image.get("file_name"):
                    write_folders(tmp_path / "images", {image["file_name"]: jpeg(size=size)})
            content = {"images": list(images), "annotations": list(annotations)}
            (tmp_path / "c.json").write_text(json.dumps(content))
            return load_coco(tmp_path / "c.json", tmp_path / "images", **options)

        return load

    @pytest.mark.parametrize("crowd", [1, "1", True, "true", 1.0])
    def test_crowd_regions_are_counted(self, load, caplog, crowd):
        annotations = [instance(1, 7, [SQUARE]), instance(2, 7, [SQUARE], iscrowd=crowd)]
        assert areas(load(annotations)) == {"a": [9]}
        assert caplog.messages == ["Crowd regions are left out, annotations (1): 2."]

    @pytest.mark.parametrize("crowd", [0, "0", False, "false", 0.0, None])
    def test_no_crowd_is_an_instance(self, load, caplog, crowd):
        assert areas(load([instance(1, 7, [SQUARE], iscrowd=crowd)])) == {"a": [9]}
        assert caplog.messages == []

    def test_a_file_of_crowds_says_so(self, load):
        with pytest.raises(
            ValueError, match=r"no instance with a segmentation. Crowd regions are left out.* \(2\): 1, 2"
        ):
            load([instance(i, 7, [SQUARE], iscrowd=1) for i in (1, 2)])

    def test_another_value_of_iscrowd_is_named(self, load, caplog):
        assert areas(load([instance(1, 7, [SQUARE]), instance(2, 7, [SQUARE], iscrowd="maybe")])) == {"a": [9]}
        assert "with an `iscrowd` of 'maybe' instead of 0 or 1 are left out (1): 2." in caplog.messages[0]

    @pytest.mark.parametrize(
        ("of_image", "of_annotation"), [("7", 7), (7, "7"), (7.0, 7), ("a-7", "a-7"), ("007", "007")]
    )
    def test_ids_may_be_text_numbers_or_mixed(self, load, of_image, of_annotation):
        image = {**SMALL, "id": of_image}
        annotations = [instance(number, of_annotation, [SQUARE]) for number in (1, "2", "b", 3.0)]
        assert areas(load(annotations, [image])) == {"a": [9] * 4}

    def test_ids_that_only_look_alike_stay_apart(self, load):
        images = [{**SMALL, "id": "007"}, {**SMALL, "id": 7, "file_name": "b.jpg"}]
        assert areas(load([instance(1, "007", [SQUARE]), instance(2, 7, [FAR_SQUARE])], images)) == {
            "a": [9],
            "b": [4],
        }

    def test_annotations_need_no_id(self, load, caplog):
        annotations = [{"image_id": 7, "segmentation": [SQUARE]}, {"image_id": 7, "segmentation": []}]
        assert areas(load(annotations)) == {"a": [9]}
        assert caplog.messages == ["Annotations without a segmentation are left out (1): number 2."]

    @pytest.mark.parametrize("other", [7, "7", 7.0])
    def test_two_images_with_one_id_are_refused(self, load, other):
        images = [SMALL, {**SMALL, "id": other, "file_name": "b.jpg"}]
        with pytest.raises(
            ValueError, match=r"two images have the id 7.*, 'a.jpg' and 'b.jpg'.*Give each image its own"
        ):
            load([instance(1, 7, [SQUARE])], images)

    def test_what_is_listed_twice_is_kept_once(self, load, caplog):
        annotations = [instance(1, 7, [SQUARE]), instance(1, 7, [SQUARE]), instance(1, 7, [FAR_SQUARE])]
        assert areas(load(annotations, [SMALL, SMALL])) == {"a": [9, 4]}
        assert caplog.messages == [
            "Annotations that are listed twice are kept once (1): 1.",
            "Images that are listed twice are kept once (1): 7.",
            "Annotations with the id of another one are kept too (1): 1.",
        ]

    @pytest.mark.parametrize(
        "segmentation", [SQUARE, [[1, 1], [4, 1], [4, 4], [1, 4]], [[[1, 1], [4, 1], [4, 4], [1, 4]]]]
    )
    def test_polygons_without_the_outer_list_and_as_points(self, load, segmentation):
        assert areas(load([instance(1, 7, segmentation)])) == {"a": [9]}

    @pytest.mark.parametrize(
        "wrong",
        [
            [float("nan"), *SQUARE[1:]],
            [float("inf"), *SQUARE[1:]],
            [*SQUARE, 3],
            ["x", *SQUARE[1:]],
            [None, *SQUARE[1:]],
        ],
    )
    def test_polygons_that_are_no_pixels_are_named_even_beside_others(self, load, caplog, wrong):
        annotations = [instance(1, 7, [SQUARE]), instance(12, 7, [FAR_SQUARE, wrong])]
        assert areas(load(annotations)) == {"a": [9]}
        [message] = caplog.messages
        assert "coordinates are no pairs of pixels, such as NaN, are left out (1): 12." in message

    def test_flat_polygons_are_named(self, load, caplog):
        flat = {2: [1, 1, 4, 4, 2, 2], 3: [1, 1, 5, 1, 3, 1], 4: [2, 2, 2, 2, 2, 2]}
        bow_tie = [1, 1, 5, 5, 5, 1, 1, 5]  # its halves cancel in the shoelace formula
        annotations = [instance(1, 7, [bow_tie]), *(instance(key, 7, [polygon]) for key, polygon in flat.items())]
        [sizes] = areas(load(annotations)).values()
        assert sizes[0] > 0
        assert sizes[1:] == [0, 0, 0]
        assert caplog.messages == ["Annotations whose polygons have no area give empty masks (3): 2, 3, 4."]

    @pytest.mark.parametrize("size", [(-1, -1), (0, 8), ("6", "8"), (None, None), (float("nan"), 8), (6.0, 8.0)])
    def test_the_size_of_an_image_may_be_missing_or_text(self, load, size):
        image = {**SMALL, "height": size[0], "width": size[1]}
        assert areas(load([instance(1, 7, [SQUARE])], [image])) == {"a": [9]}

    def test_run_lengths_are_checked(self, load, caplog):
        counts = [7, 2, HEIGHT * WIDTH - 9]
        annotations = [
            instance(1, 7, {"size": [-1, -1], "counts": counts}),
            instance(2, 7, {"counts": counts}),
            instance(3, 7, {"size": [HEIGHT, WIDTH], "counts": [7, 2]}),
            instance(4, 7, {"size": [HEIGHT, WIDTH], "counts": [-7, 2, HEIGHT * WIDTH + 5]}),
            instance(5, 7, {"size": [HEIGHT, WIDTH]}),
        ]
        assert areas(load(annotations)) == {"a": [2, 2]}
        assert caplog.messages == [
            "Annotations with run lengths that do not cover their size are left out (2): 3, 4.",
            "Annotations without a segmentation are left out (1): 5.",
        ]

    @pytest.mark.parametrize("place", ["000001.jpg", "train2017/000001.jpg"])
    def test_coco_url_names_a_file(self, load, tmp_path, caplog, place):
        write_folders(tmp_path / "images", {place: jpeg()})
        image = {"id": 1, "height": HEIGHT, "width": WIDTH, "coco_url": "http://images.org/train2017/000001.jpg"}
        assert areas(load([instance(5, 1, [SQUARE])], [image])) == {place.removesuffix(".jpg"): [9]}
        assert caplog.messages == ["Images without file_name are named by coco_url, images (1): 1."]

    def test_check_counts_everything(self, load, tmp_path):
        images = [SMALL, {**SMALL, "id": 8, "file_name": "none.jpg"}]
        annotations = [instance(1, 7, [SQUARE]), instance(2, 7, [SQUARE], iscrowd="1"), instance(3, 7, [])]
        load(annotations, images)
        source = {"kind": "coco", "annotations": str(tmp_path / "c.json"), "images": str(tmp_path / "images")}
        [report] = check_data(source)
        assert report.problems == ["Annotations without a segmentation are left out (1): 3."]
        assert report.notes == [
            "Crowd regions are left out, annotations (1): 2.",
            "Images without instances are left out (1): none.jpg.",
        ]

    @pytest.mark.parametrize(
        "name", ["../secret.jpg", "sub/../../secret.jpg", "{outside}/secret.jpg", "../images2/a.jpg"]
    )
    def test_names_that_leave_the_folder_are_refused(self, load, tmp_path, name):
        write_folders(tmp_path, {"secret.jpg": jpeg(), "images2/a.jpg": jpeg(), "images/sub/x.jpg": jpeg()})
        name = name.format(outside=tmp_path)
        content = {"images": [{**SMALL, "file_name": name}], "annotations": [instance(1, 7, [SQUARE])]}
        (tmp_path / "c.json").write_text(json.dumps(content))
        source = {"kind": "coco", "annotations": str(tmp_path / "c.json"), "images": str(tmp_path / "images")}
        for use in (check_data, lambda data: export_data(data, tmp_path / "out")):
            with pytest.raises(ValueError, match="the file_name of image 7, .*leads out of the folder"):
                use(source)
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("name", [3, ["a.jpg"], "a\0.jpg"])
    def test_names_must_be_names(self, tmp_path, name):
        content = {"images": [{**SMALL, "file_name": name}], "annotations": [instance(1, 7, [SQUARE])]}
        (tmp_path / "c.json").write_text(json.dumps(content))
        with pytest.raises(ValueError, match="the file_name of image 7 must be the name of a file"):
            load_coco(tmp_path / "c.json", tmp_path)

    def test_an_absolute_name_inside_the_folder_is_read(self, load, tmp_path):
        write_folders(tmp_path, {"images/sub/a.jpg": jpeg()})
        content = {
            "images": [{**SMALL, "file_name": str(tmp_path / "images/sub/a.jpg")}],
            "annotations": [instance(1, 7, [SQUARE])],
        }
        (tmp_path / "c.json").write_text(json.dumps(content))
        assert areas(load_coco(tmp_path / "c.json", tmp_path / "images")) == {"sub/a": [9]}
