"""What the demo's page shows in place of paths of the server."""

import pytest

from hq_sam_hf.demo.names import shown_names, without_folders
from hq_sam_hf.utils.embedded import EMBEDDED


def test_a_model_is_shown_by_its_name_and_not_by_its_folder(tmp_path, monkeypatch):
    for name in ("base", "other/base"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    models = [str(EMBEDDED), str(tmp_path / "base"), "syscv-community/sam-hq-vit-base", "other/base", "./base", "."]
    names = shown_names(models)
    assert list(names.values()) == models
    assert list(names) == [
        "nano (inside the package)",
        "base",
        "syscv-community/sam-hq-vit-base",
        "base (2)",
        "base (3)",
        tmp_path.name,
    ]


def test_a_model_that_is_given_twice_is_shown_once():
    assert shown_names(["org/model", "org/model"]) == {"org/model": "org/model"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("No such file: '/home/ann/my photos/cup.png'", "No such file: 'cup.png'"),
        ("/srv/models/base is damaged.", "base is damaged."),
        (r"Cannot open C:\Users\Ann\cup.png, try again", "Cannot open cup.png, try again"),
        ('"\\\\server\\share\\cup.png"', '"cup.png"'),
        ("See https://example.org/a/b and 3/4 of org/model", "See https://example.org/a/b and 3/4 of org/model"),
        ("from /tmp/a/b.png (read) to '/'", "from b.png (read) to '/'"),
    ],
)
def test_a_message_names_files_without_their_folders(text, expected):
    assert without_folders(text) == expected
