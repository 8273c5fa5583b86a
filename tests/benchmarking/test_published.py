import pytest

from hq_sam_hf.benchmarking.benchmarks import BENCHMARKS
from hq_sam_hf.benchmarking.published import is_whole, published_results
from hq_sam_hf.evaluation.paper_results import SET_SIZES


def rows(benchmark, part=None, **wanted):
    return [
        one
        for one in published_results(benchmark, part)
        if all(getattr(one, key) == value for key, value in wanted.items())
    ]


def test_every_benchmark_has_published_results_of_sam_and_hq_sam():
    for name, benchmark in BENCHMARKS.items():
        pairs = {(one.backbone, one.output) for one in published_results(name)}
        assert {("vit_l", "sam"), ("vit_l", "hq")} <= pairs or {("vit_h", "sam"), ("vit_h", "hq")} <= pairs
        kinds = {one.prompts for one in published_results(name) if one.output is not None}
        assert benchmark.prompts[0] in kinds


def test_coco_has_a_row_for_each_backbone():
    assert [one.method for one in rows("coco", backbone="vit_h")] == ["SAM ViT-H", "HQ-SAM ViT-H"]
    assert rows("coco", backbone="vit_h", output="hq")[0].values["AP_B"] == 34.9
    assert rows("coco", backbone="vit_tiny", output="sam")[0].method == "MobileSAM"
    assert rows("coco", method="HQ-SAM 2 Hiera-L")[0].values == {"AP": 50.9}


def test_values_are_those_of_the_paper():
    assert rows("uvo", output="hq")[0].values["AP50_B_strict"] == 28.2
    assert (rows("lvis", output="sam")[0].values["AP"], rows("lvis", output="hq")[0].values["AP"]) == (43.6, 43.9)
    assert rows("big", output="hq", prompts="mask")[0].values == {"mIoU": 86.9, "mBIoU": 75.1}
    assert rows("hq-ytvis", output="sam")[0].values["AP50"] == 90.5
    assert rows("ytvis", output="hq")[0].values["APs"] == 33.7
    assert rows("davis", output="hq")[0].values == {"J&F": 83.2, "J": 80.3, "F": 86.1}
    assert rows("sginw", output="hq")[0].values == {"AP": 49.6}


def test_the_four_sets_have_rows_by_set_and_for_their_average():
    assert rows("hqseg", "thin", backbone="vit_b", output="hq")[0].values == {"mIoU": 84.5, "mBIoU": 73.4}
    assert rows("hqseg", backbone="vit_tiny", output="hq")[0].values == {"mIoU": 81.4, "mBIoU": 71.6}
    assert rows("hqseg", method="PA-SAM ViT-L")[0].values == {"mIoU": 91.2, "mBIoU": 84.5}
    assert rows("hqseg", "dis", method="PA-SAM ViT-L")[0].values == {"mIoU": 81.5, "mBIoU": 73.9}
    assert rows("hqseg", prompts="box-noise-0.4", output="hq")[0].values == {"mIoU": 69.9, "mBIoU": 60.3}
    assert published_results("coco", "coco") == []
    assert published_results("custom") == []


@pytest.mark.parametrize(
    ("benchmark", "images", "part", "expected"),
    [
        ("coco", {"coco": 5000}, None, True),
        ("coco", {"coco": 4999}, None, False),
        ("uvo", {"uvo": 7}, None, True),
        ("hqseg", SET_SIZES, None, True),
        ("hqseg", {"dis": 470}, None, False),
        ("hqseg", {"dis": 470}, "dis", True),
        ("hqseg", {"dis": 400}, "dis", False),
    ],
)
def test_only_whole_sets_are_compared(benchmark, images, part, expected):
    assert is_whole(benchmark, images, part) == expected
