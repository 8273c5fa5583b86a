"""Prompt files: CSV and JSON give the same prompts, and errors name the object."""

import json

import pytest

from hq_sam_hf.labelling.prompt_files import ObjectPrompt, read_prompts


def test_csv_and_json_give_the_same_prompts(tmp_path):
    (tmp_path / "p.csv").write_text(
        "image,box,points,labels,mask,label\n"
        "a.jpg,1 2 3 4,,,,cup\n"
        '../b.jpg,,"5,6;7,8",1;0,m.png,\n'
        "a.jpg,1 2 3 4.5,5 6,,,\n"
    )
    rows = [
        {"image": "a.jpg", "box": [1, 2, 3, 4], "label": "cup"},
        {"image": "../b.jpg", "points": [[5, 6], [7, 8]], "labels": [1, False], "mask": "m.png"},
        {"image": "a.jpg", "box": [1, 2, 3, 4.5], "points": [[5, 6]]},
    ]
    (tmp_path / "p.json").write_text(json.dumps(rows))
    expected = {
        tmp_path / "a.jpg": [
            ObjectPrompt(box=[1, 2, 3, 4], label="cup"),
            ObjectPrompt(box=[1, 2, 3, 4.5], points=[[5, 6]]),
        ],
        tmp_path.parent / "b.jpg": [
            ObjectPrompt(points=[[5, 6], [7, 8]], labels=[1, 0], mask=str(tmp_path / "m.png")),
        ],
    }
    for name in ("p.csv", "p.json"):
        assert read_prompts(tmp_path / name, image_folder=tmp_path.parent) == expected
        with pytest.raises(
            ValueError, match=r"object 2: `image`, '../b.jpg', leads out of the folder .*--image-folder"
        ):
            read_prompts(tmp_path / name)


JSON_ERRORS = [
    ({"image": "a.jpg"}, "object 1: it has no prompt; give a box, points or a mask"),
    ({"box": [1, 2, 3, 4]}, "`image` must be the path of an image"),
    ({"image": "a.jpg", "box": [1, 2, 3]}, r"`box` must be x1, y1, x2, y2 in pixels, got \[1, 2, 3\]"),
    ({"image": "a.jpg", "box": 7}, "`box` must be x1, y1, x2, y2 in pixels, got 7"),
    ({"image": "a.jpg", "points": [1, 2]}, "`points` must be x, y in pixels, got 1"),
    ({"image": "a.jpg", "points": []}, "`points` must be x, y pairs"),
    ({"image": "a.jpg", "points": [[1, 2]], "labels": [1, 0]}, r"one label per point, got \[1, 0\] for 1 points"),
    ({"image": "a.jpg", "points": [[1, 2]], "labels": [2]}, r"1 \(on the object\) or 0 \(on the background\)"),
    ({"image": "a.jpg", "box": [1, 2, 3, 4], "labels": [1]}, "for 0 points"),
    ({"image": "a.jpg", "bbox": [1, 2, 3, 4]}, "unknown keys 'bbox'; the keys are image, box"),
    ({"image": "a.jpg", "mask": 3}, "`mask` must be text, got 3"),
    ("a.jpg", "`image` must be the path of an image, got 'a.jpg'"),
]


@pytest.mark.parametrize(("row", "message"), JSON_ERRORS)
def test_a_wrong_object_is_named_by_its_number(tmp_path, row, message):
    (tmp_path / "p.json").write_text(json.dumps([row]))
    with pytest.raises(ValueError, match=message):
        read_prompts(tmp_path / "p.json")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.json", b"{", "is not valid JSON"),
        ("p.json", b"{}", "must be a list of objects"),
        ("p.json", b"[]", "holds no prompts"),
        ("p.csv", b"image,box\n", "holds no prompts"),
        (
            "p.csv",
            b"image,box\na.jpg,one two\n",
            r"object 1: `box` must be x1, y1, x2, y2 in pixels, got \['one', 'two'\]",
        ),
        ("p.csv", b"image,x1,y1,x2\na.jpg,1,2,3\n", "`box` must be"),
        ("p.csv", b"image,box\na.jpg,1 2 3 4\nb.jpg,nan 2 3 4\n", "object 2: `box` must be x1, y1, x2, y2 in pixels"),
        (
            "p.json",
            b'[{"image": "a.jpg", "points": [[1e999, 2]]}]',
            r"`points` must be x, y in pixels, got \[inf, 2\]",
        ),
        ("p.csv", b"image,box\na.jpg,1 2 3 4,5\n", "unknown keys 'more'"),
        ("p.csv", b"\xff\xfe\x00", "is not a CSV file in UTF-8"),
        ("p.xlsx", b"", "read from .csv or .json files"),
    ],
)
def test_files_that_cannot_be_read_are_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_prompts(tmp_path / name)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match="is not a file"):
        read_prompts(tmp_path / "none.csv")


def test_empty_values_of_every_form_are_the_same_as_none(tmp_path):
    rows = [
        {"image": "a.jpg", "box": [1, 2, 3, 4], "points": [], "labels": [], "mask": "", "label": ""},
        {"image": "a.jpg", "box": [], "points": [[5, 6]], "labels": None, "mask": None, "label": " "},
        {"image": "a.jpg", "box": "", "points": [[]], "labels": [[]], "mask": "m.png"},
    ]
    (tmp_path / "p.json").write_text(json.dumps(rows))
    (tmp_path / "p.csv").write_text(
        "image,box,points,labels,mask,label\na.jpg,1 2 3 4, ,,,\na.jpg, ,5 6,,\t,\na.jpg,,,,m.png,\n"
    )
    expected = [
        ObjectPrompt(box=[1, 2, 3, 4]),
        ObjectPrompt(points=[[5, 6]]),
        ObjectPrompt(mask=str(tmp_path / "m.png")),
    ]
    assert read_prompts(tmp_path / "p.json") == read_prompts(tmp_path / "p.csv") == {tmp_path / "a.jpg": expected}


@pytest.mark.parametrize("row", [{"box": []}, {"box": ""}, {"points": [[], []]}, {"mask": ""}, {"box": None}, {}])
def test_an_object_with_empty_prompts_alone_is_named(tmp_path, row):
    (tmp_path / "p.json").write_text(json.dumps([{"image": "a.jpg", **row}]))
    with pytest.raises(ValueError, match="object 1: it has no prompt; give a box, points or a mask"):
        read_prompts(tmp_path / "p.json")


@pytest.mark.parametrize("key", ["image", "mask"])
@pytest.mark.parametrize(
    "path", ["../../etc/passwd", "/etc/passwd", "sub/../../x.png", "../{name}-2/x.png", "a\0.png"]
)
def test_paths_that_leave_the_folder_are_refused(tmp_path, key, path):
    row = {"image": "a.jpg", "mask": "m.png", key: path.format(name=tmp_path.name)}
    (tmp_path / "p.json").write_text(json.dumps([row]))
    with pytest.raises(ValueError, match=f"object 1: `{key}`"):
        read_prompts(tmp_path / "p.json")


def test_absolute_paths_inside_the_folder_are_read(tmp_path):
    row = {"image": str(tmp_path / "sub/a.jpg"), "mask": str(tmp_path / "m.png")}
    (tmp_path / "p.json").write_text(json.dumps([row]))
    assert list(read_prompts(tmp_path / "p.json")) == [tmp_path / "sub/a.jpg"]
