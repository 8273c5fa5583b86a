"""Several data sets as one."""

import pytest

from hq_sam_hf.data.factory import describe_source, load_rows, load_source

SCENES = {"kind": "scenes", "count": 3, "size": 64}


def test_the_rows_of_several_data_sets_follow_each_other():
    rows = load_rows([{**SCENES, "weight": 2}, {**SCENES, "count": 2, "seed": 7}], "train")
    assert len(rows) == 5
    assert [rows[i]["name"] for i in (0, 2, 3, 4)] == [
        *("train_0_000000", "train_0_000002", "train_7_000000", "train_7_000001"),
    ]
    assert rows.weights == [2.0, 1.0]
    for index in (-1, 5):
        with pytest.raises(IndexError):
            rows[index]


def test_a_list_may_have_a_single_data_set():
    assert len(load_rows([SCENES], "train")) == 3


@pytest.mark.parametrize("weight", [0, -1, "2", True, float("inf"), float("nan"), None])
def test_a_weight_is_a_positive_number(weight):
    with pytest.raises(ValueError, match="`weight` of data must be a positive number, got"):
        load_rows([{**SCENES, "weight": weight}], "train")


@pytest.mark.parametrize("data", [[], [[SCENES]]])
def test_lists_are_not_empty_and_not_nested(data):
    with pytest.raises(ValueError, match="A list of data must hold texts and mappings with `kind`"):
        load_rows(data, "train")


def test_a_command_for_one_data_set_says_so():
    with pytest.raises(ValueError, match="A data set must be text or a mapping with `kind`, got"):
        load_source([SCENES], "train")


def test_several_data_sets_are_described_one_after_the_other():
    assert describe_source([{"kind": "scenes", "count": 3}, "root"]) == "kind: scenes, count: 3 and root"
