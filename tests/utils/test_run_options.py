import pytest

from hq_sam_hf.utils.run_options import changed_options, describe_changes, read_options

EARLIER, NOW = {"model": "a", "size": 64, "limit": None}, {"model": "a", "size": 128, "limit": 4, "seed": 1}


def test_the_options_that_differ_are_named_with_both_values():
    assert changed_options(EARLIER, NOW) == ["limit", "seed", "size"]
    expected = "limit was not given and is 4, seed was not given and is 1, size was 64 and is 128"
    assert describe_changes(EARLIER, NOW) == expected
    assert describe_changes(NOW, NOW) == ""


def test_long_values_are_cut():
    assert describe_changes({"name": "x" * 50}, {"name": "y"}, most=4) == "name was 'xxx and is 'y'"


@pytest.mark.parametrize("text", [None, "{", "[1]", '{"size": 64}'])
def test_a_file_without_the_required_options_is_no_earlier_run(tmp_path, text):
    if text is not None:
        (tmp_path / "options.json").write_text(text)
    assert read_options(tmp_path / "options.json", ["model"]) is None


def test_the_options_of_an_earlier_run_are_read(tmp_path):
    (tmp_path / "options.json").write_text('{"model": "a", "size": 64}')
    assert read_options(tmp_path / "options.json", ["model", "size"]) == {"model": "a", "size": 64}
