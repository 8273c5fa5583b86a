import json
from pathlib import Path

import numpy as np
import pytest

from hq_sam_hf.evaluation.paper_results import FOUR_SETS, SET_SIZES, paper_result
from hq_sam_hf.evaluation.results import Evaluation, set_label


def record(set_name: str, index: int, output: str, iou: float, of_boundary: float, **fields: object) -> dict:
    origin = {"dataset": "", "set": set_name, "name": f"n{index}", "index": index, "mask": 0}
    metrics = {"prompt": "box", "trial": 0, "output": output, "iou": iou, "boundary_iou": of_boundary, "score": 0.5}
    return {**origin, **metrics, **fields}


def small(backbone: str | None = None) -> Evaluation:
    """Two images of the set dis and one of thin."""
    settings = {"outputs": ["sam", "hq"], "backbone": backbone, "protocol": "stretch"}
    records = [
        record("dis", 0, "sam", 0.4, 0.2),
        record("dis", 0, "hq", 0.6, 0.4),
        record("dis", 1, "sam", 0.8, 0.4),
        record("dis", 1, "hq", 1.0, 0.8),
        record("thin", 2, "sam", 0.3, 0.1),
        record("thin", 2, "hq", 0.5, 0.5),
    ]
    return Evaluation(settings, records)


def test_the_average_is_the_mean_of_the_sets_and_not_of_the_masks():
    rows = {(row["set"], row["output"]): row for row in small().summary()}
    assert rows["dis", "sam"]["miou"] == pytest.approx(60)
    assert rows["dis", "hq"]["mbiou"] == pytest.approx(60)
    assert rows["dis", "hq"]["masks"] == 2
    assert rows["average", "sam"]["miou"] == pytest.approx(45)
    assert rows["average", "hq"]["mbiou"] == pytest.approx(55)
    assert rows["average", "hq"]["masks"] == 3


def test_a_single_set_has_no_average():
    evaluation = small()
    evaluation.records = evaluation.records[:4]
    assert {row["set"] for row in evaluation.summary()} == {"dis"}


def test_records_may_be_removed():
    evaluation = small()
    evaluation.records = [one for one in evaluation.records if (one["set"], one["output"]) != ("thin", "sam")]
    assert "| thin | 1 |  | 50.0 / 50.0 |" in evaluation.markdown()
    assert "| average | 3 |  | 65.0 / 55.0 |" in evaluation.markdown()


def test_trials_are_averaged_and_count_as_one_mask():
    evaluation = Evaluation({"outputs": ["hq"]})
    evaluation.records = [record("dis", 0, "hq", iou, iou, trial=trial) for trial, iou in enumerate((0.2, 0.6))]
    (row,) = evaluation.summary()
    assert row["miou"] == pytest.approx(40)
    assert row["masks"] == 1


def test_categories_have_a_table_where_the_data_set_names_them():
    assert small().by_category() == []
    evaluation = Evaluation({"outputs": ["sam", "hq"]})
    for index, category in enumerate(("spoon", "cup", "cup")):
        for output, iou in (("sam", 0.2 + 0.2 * index), ("hq", 0.5 + 0.1 * index)):
            evaluation.records.append(record("own", index, output, iou, iou, category=category))
    rows = {(row["category"], row["output"]): row for row in evaluation.by_category()}
    assert list(rows) == [("cup", "sam"), ("cup", "hq"), ("spoon", "sam"), ("spoon", "hq")]
    assert rows["cup", "sam"]["miou"] == pytest.approx(50)  # of 40 and 60
    assert rows["cup", "hq"]["masks"] == 2
    assert "### box, by category" in evaluation.markdown()
    assert "| cup | 2 | 50.0 / 50.0 | 65.0 / 65.0 |" in evaluation.markdown()


def test_records_can_be_grouped_by_fields_or_by_a_function():
    evaluation = small()
    assert set(evaluation.means(["output"])) == {("sam",), ("hq",)}
    by_size = evaluation.means(lambda one: (one["index"] > 0,))
    assert by_size[True,]["miou"] == pytest.approx(65)


@pytest.mark.parametrize(
    ("dataset", "own", "label"),
    [("", "dis", "dis"), ("dis", "dis", "dis"), ("new", "thin", "new/thin"), ("mine", "", "mine"), ("", "", "")],
)
def test_sets_of_several_data_sets_have_different_labels(dataset, own, label):
    assert set_label({"dataset": dataset, "set": own}) == label


def whole_sets(backbone: str, **settings: object) -> Evaluation:
    """The four sets in their published sizes, with equal metrics throughout."""
    evaluation = Evaluation({"outputs": ["sam", "hq"], "backbone": backbone, **settings})
    for name, size in SET_SIZES.items():
        for i in range(size):
            evaluation.records += [record(name, i, "sam", 0.5, 0.25), record(name, i, "hq", 0.75, 0.5)]
    return evaluation


def test_tables_show_published_results_beside_measured_ones():
    table = whole_sets("vit_l").markdown()
    assert "| set | masks | SAM | HQ | published SAM | published HQ-SAM |" in table
    assert "| dis | 470 | 50.0 / 25.0 | 75.0 / 50.0 | 62.0 / 52.8 | 78.6 / 70.4 |" in table
    assert "| average | 1537 | 50.0 / 25.0 | 75.0 / 50.0 | 79.5 / 71.1 | 89.1 / 81.8 |" in table
    only_averages = whole_sets("vit_tiny").markdown()
    assert "| dis | 470 | 50.0 / 25.0 | 75.0 / 50.0 |  |  |" in only_averages
    assert "| average | 1537 | 50.0 / 25.0 | 75.0 / 50.0 | 69.0 / 58.8 | 81.4 / 71.6 |" in only_averages


def test_a_set_that_shares_only_the_name_is_not_compared():
    assert "published" not in small("vit_l").markdown()
    evaluation = whole_sets("vit_l")
    for one in evaluation.records:  # images with several masks, as generated scenes have
        one["index"], one["mask"] = one["index"] // 2, one["index"] % 2
    assert "published" not in evaluation.markdown()


def test_a_set_is_compared_without_a_few_unreadable_images_but_not_without_more():
    evaluation = whole_sets("vit_l")
    evaluation.records = [one for one in evaluation.records if one["set"] == "dis" and one["index"] > 2]
    assert "| dis | 467 | 50.0 / 25.0 | 75.0 / 50.0 | 62.0 / 52.8 | 78.6 / 70.4 |" in evaluation.markdown()
    evaluation.records = [one for one in evaluation.records if one["index"] > 9]
    assert "published" not in evaluation.markdown()


def test_the_average_is_compared_only_with_all_four_sets():
    evaluation = whole_sets("vit_h")
    evaluation.records = [one for one in evaluation.records if one["set"] in ("dis", "coift")]
    assert "| average | 750 | 50.0 / 25.0 | 75.0 / 50.0 |  |  |" in evaluation.markdown()


@pytest.mark.parametrize("other", [{"protocol": "aspect"}, {"multimask_output": True}, {"image_size": 512}])
def test_results_with_other_settings_are_not_compared(other):
    assert "published" not in whole_sets("vit_l", **other).markdown()


def test_published_results_agree_with_their_averages():
    for backbone, model in (("vit_l", "sam"), ("vit_l", "hq")):
        results = [paper_result(backbone, name, "box", model) for name in FOUR_SETS]
        average = paper_result(backbone, "average", "box", model)
        for name in ("miou", "mbiou"):
            mean = sum(getattr(result, name) for result in results) / 4
            assert mean == pytest.approx(getattr(average, name), abs=0.1)


def test_published_results_are_looked_up_by_backbone_set_prompt_and_output():
    assert paper_result("vit_b", "thin", "box", "sum").miou == 84.5
    assert paper_result("vit_tiny", "average", "box", "sam").mbiou == 58.8
    assert paper_result("vit_l", "average", "box-noise-0.4", "hq").mbiou == 60.3
    points = paper_result("vit_l", "coift", "points-5+5", "sam")
    assert (points.miou, points.mbiou) == (None, 83.6)
    for missing in ((None, "dis", "box", "hq"), ("vit_tiny", "dis", "box", "hq"), ("vit_b", "dis", "centre", "hq")):
        assert paper_result(*missing) is None
    assert paper_result("vit_l", "dis", "points-7", "hq") is None


def test_a_report_has_tables_settings_and_records(tmp_path):
    import pyarrow.parquet

    evaluation = whole_sets("vit_l")
    evaluation.records[0]["family"] = "fern"
    evaluation.records[0]["kind"], evaluation.records[1]["kind"] = "a", 3
    evaluation.skipped = [{"dataset": "", "index": 3, "name": "n3", "reason": "mask 0 is empty"}]
    paths = evaluation.save(tmp_path / "report", title="Evaluation of a model")
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == sorted(path.name for path in paths)
    text, report = paths[0].read_text(), json.loads(paths[1].read_text())
    assert text.startswith("# Evaluation of a model\n")
    assert "Left out: 1" in text
    assert "n3: mask 0 is empty" in text
    assert report["summary"][0]["published"]["miou"] == 62.0
    assert report["settings"]["backbone"] == "vit_l"
    table = pyarrow.parquet.read_table(paths[2]).to_pylist()
    assert [row["iou"] for row in table] == [one["iou"] for one in evaluation.records]
    assert [row["family"] for row in table] == ["fern"] + [None] * (2 * 1537 - 1)
    assert [row["kind"] for row in table] == ["a", "3"] + [None] * (2 * 1537 - 2)


def test_settings_may_hold_paths_and_numpy_values(tmp_path):
    evaluation = small()
    evaluation.settings |= {"model": Path("models/b"), "seed": np.int64(3), "ratio": np.float32(0.5), "tags": ("a", 1)}
    paths = evaluation.save(tmp_path)
    settings = json.loads(paths[1].read_text())["settings"]
    assert [settings[name] for name in ("model", "seed", "ratio", "tags")] == ["models/b", 3, 0.5, ["a", 1]]
    assert "model models/b, seed 3" in paths[0].read_text()


def test_settings_that_json_cannot_hold_are_named_before_a_file_is_written(tmp_path):
    evaluation = small()
    evaluation.settings["model"] = object()
    with pytest.raises(ValueError, match=r"report\['settings'\]\['model'\] must be a number, text, a path.*`str\("):
        evaluation.save(tmp_path / "report")
    assert not (tmp_path / "report").exists()
    evaluation.settings["model"] = str(evaluation.settings["model"])  # the advice
    evaluation.save(tmp_path / "report")


@pytest.mark.parametrize("values", [("a", 3), (True, 3), ([1, 2], "b"), (2**70, 1), (2**60 + 1, 0.5)])
def test_values_without_a_common_type_become_text(tmp_path, values):
    import pyarrow.parquet

    evaluation = small()
    for one, value in zip(evaluation.records, values):
        one["kind"] = value
    table = pyarrow.parquet.read_table(evaluation.save(tmp_path)[2]).to_pylist()
    assert [row["kind"] for row in table] == [*map(str, values), None, None, None, None]
