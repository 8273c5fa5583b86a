import numpy as np
import pytest
import torch
from PIL import Image

from hq_sam_hf.data.factory import load_rows
from hq_sam_hf.scenes import SceneGenerator
from hq_sam_hf.training.batch import collate
from hq_sam_hf.training.dataset import SampleKey
from support.small_runs import make_dataset


def test_another_epoch_augments_an_image_differently():
    dataset = make_dataset(SceneGenerator(5, size=64))
    first, again, later = (dataset[SampleKey(epoch, 0, 2)] for epoch in (0, 0, 1))
    assert np.array_equal(first["image"], again["image"])
    assert not np.array_equal(first["image"], later["image"])


def row(name, mask):
    image = Image.fromarray(np.full((64, 64, 3), 90, dtype=np.uint8))
    return {"image": image, "mask": Image.fromarray(mask), "set": "own", "name": name}


def square():
    mask = np.zeros((64, 64), dtype=np.uint8)
    mask[16:48, 16:48] = 255
    return mask


def empty(name="empty"):
    return row(name, np.zeros((64, 64), np.uint8))


def test_unusable_samples_are_named_and_replaced_by_another():
    rows = [row("good", square()), empty(), row("small", square()[:32])]
    dataset = make_dataset(rows, scales=None)
    for epoch in range(8):
        sample = dataset[SampleKey(epoch, 0, 1)]
        assert sample["name"] == "own/good"
        assert "own/empty: the mask is empty" in sample["skipped"][0]
        if len(sample["skipped"]) == 2:  # the other unusable one was drawn first
            break
    assert "own/small: image and mask must have the same size" in sample["skipped"][1]
    batch = collate(dataset.__getitems__([SampleKey(0, 0, 0), SampleKey(0, 0, 1)]))
    assert batch.names == ["own/good", "own/good"]
    assert len(batch.skipped) in (1, 2)


def test_an_unusable_sample_may_raise():
    dataset = make_dataset([row("empty", np.zeros((64, 64), np.uint8))], bad_samples="stop")
    with pytest.raises(ValueError, match="own/empty: the mask is empty"):
        dataset[SampleKey(0, 0, 0)]


def test_data_without_a_usable_sample_raise():
    dataset = make_dataset([row("empty", np.zeros((64, 64), np.uint8))])
    with pytest.raises(ValueError, match="None of the 1 images can be used, such as: own/empty.*empty_images"):
        dataset[SampleKey(0, 0, 0)]


def test_one_usable_image_among_many_empty_ones_is_found():
    rows = [empty(f"e{i}") for i in range(100)]
    rows[57] = row("good", square())
    dataset = make_dataset(rows)
    samples = dataset.__getitems__([SampleKey(0, 0, i) for i in range(100)])
    assert {sample["name"] for sample in samples} == {"own/good"}
    assert sum(len(sample["skipped"]) for sample in samples) > 1000  # half of the others on average
    rows[57] = empty()
    with pytest.raises(ValueError, match="None of the 100 images can be used"):
        make_dataset(rows)[SampleKey(0, 0, 0)]


def test_replacements_are_spread_over_all_images_and_differ_from_the_samples_they_repeat():
    good = [row(f"g{i}", square()) for i in range(20)]
    rows = [*good, *(empty(f"e{i}") for i in range(40))]  # as of a scan, whose slices lie in order
    dataset = make_dataset(rows)
    samples = dataset.__getitems__([SampleKey(0, 0, i) for i in range(20, 60)])
    names = [sample["name"] for sample in samples]
    assert max(map(names.count, names)) <= 7
    assert len(set(names)) >= 12
    plain = {sample["name"]: sample for sample in dataset.__getitems__([SampleKey(0, 0, i) for i in range(20)])}
    assert not any(np.array_equal(sample["masks"], plain[sample["name"]]["masks"]) for sample in samples)


def test_replacements_depend_on_the_image_and_the_epoch_alone():
    rows = [*(row(f"g{i}", square()) for i in range(6)), *(empty(f"e{i}") for i in range(14))]
    keys = [SampleKey(0, 0, i) for i in range(20)]
    together = make_dataset(rows).__getitems__(keys)
    one_by_one = make_dataset(rows)
    for i in reversed(range(20)):  # what is known of earlier images must not matter
        again = one_by_one[SampleKey(0, 0, i)]
        assert again["skipped"] == together[i]["skipped"]
        assert np.array_equal(again["image"], together[i]["image"])
        assert np.array_equal(again["masks"], together[i]["masks"])
    later = make_dataset(rows).__getitems__([key._replace(epoch=1) for key in keys])
    assert [sample["name"] for sample in later[6:]] != [sample["name"] for sample in together[6:]]


def test_an_empty_image_is_read_once():
    class Counted(list):
        reads = 0

        def __getitem__(self, index):
            self.reads += index == 1
            return super().__getitem__(index)

    rows = Counted([row("good", square()), empty()])
    dataset = make_dataset(rows)
    for epoch in range(5):
        assert len(dataset[SampleKey(epoch, 0, 1)]["skipped"]) == 1
    assert rows.reads == 1


@pytest.mark.parametrize("kind", ["box", "points", "point", "mask"])
def test_empty_images_may_be_negatives(kind):
    without = {**empty("none"), "masks": []}
    without.pop("mask")
    dataset = make_dataset([empty(), without, row("good", square())], prompts=[kind], empty_images="negative")
    batch = collate(dataset.__getitems__([SampleKey(0, 0, i) for i in range(3)]))
    assert batch.names == ["own/empty", "own/none", "own/good"]
    assert batch.skipped == []
    assert batch.valid.tolist() == [[True]] * 3
    assert batch.masks[:2].sum() == 0
    assert batch.masks[2].sum() > 0
    prompts = batch.boxes if kind == "box" else batch.mask_prompts if kind == "mask" else batch.points
    assert torch.isfinite(prompts).all()
    if kind == "mask":
        assert (prompts.flatten(2).sum(dim=2) > 0).all()


def test_negatives_of_sam_training_have_as_many_prompts_as_others():
    fields = {"model": None, "architecture": {"any": 1}, "train": "sam", "masks_per_image": 3}
    dataset = make_dataset([empty(), row("good", square())], empty_images="negative", **fields)
    batch = collate(dataset.__getitems__([SampleKey(0, 0, 0), SampleKey(0, 0, 1)]))
    assert batch.valid.tolist() == [[True] * 3] * 2


def test_negatives_are_refused_with_the_originals_pipeline():
    with pytest.raises(ValueError, match="`empty_images` must be skip with `paper_exact`"):
        make_dataset([empty()], empty_images="negative", paper_exact=True)


def test_masks_and_prompts_are_in_model_input_coordinates():
    dataset = make_dataset([row("good", square())], scales=None, flip=0.0, prompts=["box"])
    batch = collate([dataset[SampleKey(0, 0, 0)]])
    assert batch.images.shape == (1, 3, 64, 64)
    assert batch.images.dtype == torch.uint8
    assert batch.boxes.tolist() == [[[16, 16, 47, 47]]]  # the last row and column, as in the original
    assert batch.masks.sum() == 32 * 32
    assert batch.points is None
    assert batch.mask_prompts is None


def test_images_with_fewer_masks_get_padded_prompts():
    two = {**row("two", square()), "masks": [Image.fromarray(square()), Image.fromarray(square().T)]}
    two.pop("mask")
    dataset = make_dataset([two, row("one", square())], prompts=["points"])
    batch = collate(dataset.__getitems__([SampleKey(0, 0, 0), SampleKey(0, 0, 1)]))
    assert batch.valid.tolist() == [[True, True], [True, False]]
    assert (batch.labels[1, 1] == -10).all()
    assert (batch.labels[1, 0] == 1).all()


def test_prompts_of_single_points_and_ten_points_are_mixed():
    dataset = make_dataset([row("good", square())], scales=None, flip=0.0, prompts=["point", "points"])
    counts = {int((dataset[SampleKey(epoch, 0, 0)]["prompts"][0]["labels"] == 1).sum()) for epoch in range(12)}
    assert counts == {1, 10}


def test_sam_training_repeats_masks_and_has_one_kind_of_prompt_per_step():
    fields = {"model": None, "architecture": {"any": 1}, "train": "sam", "masks_per_image": 4}
    dataset = make_dataset(SceneGenerator(6, size=64), **fields)
    kinds = set()
    for step in range(8):
        batch = collate([dataset[SampleKey(0, step, 1)]])
        assert batch.valid.tolist() == [[True] * 4]
        kinds.add("box" if batch.points is None else "point")
    assert kinds == {"box", "point"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"kind": "films"}, "`kind` of data must be hqseg44k, folders, columns, coco, scenes or cutouts, got 'films'"),
        ({"count": 3}, "got None"),
        ({"kind": "scenes", "number": 3}, "do not fit their kind: .*number"),
        ({"kind": "folders", "images": "nowhere", "masks": "nowhere"}, "nowhere"),
    ],
)
def test_a_wrong_description_of_data_raises(data, message):
    with pytest.raises((ValueError, OSError), match=message):
        load_rows(data, "train")


def test_folders_of_images_and_masks_are_training_data(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    for name in "ab":
        entry = row(name, square())
        entry["image"].save(tmp_path / "images" / f"{name}.png")
        entry["mask"].save(tmp_path / "masks" / f"{name}.png")
    rows = load_rows({"kind": "folders", "images": tmp_path / "images", "masks": tmp_path / "masks"}, "train")
    assert len(rows) == 2
    assert make_dataset(rows)[SampleKey(0, 0, 0)]["name"].endswith("/a")
