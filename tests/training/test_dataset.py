import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from hq_sam_hf.data.factory import load_rows
from hq_sam_hf.scenes import SceneGenerator
from hq_sam_hf.training.dataset import SampleKey, StepBatches, TrainingSamples, collate
from support.small_runs import small_run


def samples_of(rows, **fields):
    return TrainingSamples(rows, small_run("base", "out", **fields), image_size=64, mask_size=32)


def same(first, second):
    for name, value in vars(first).items():
        other = getattr(second, name)
        if isinstance(value, torch.Tensor):
            assert torch.equal(value.nan_to_num(-7), other.nan_to_num(-7)), name
        else:
            assert value == other, name


@pytest.mark.parametrize("workers", [1, 4])
def test_workers_do_not_change_the_stream(workers):
    samples, batches = samples_of(SceneGenerator(20, size=64)), StepBatches(20, 3, 4, 1, last=5)
    alone = list(DataLoader(samples, batch_sampler=batches, collate_fn=collate))
    shared = list(DataLoader(samples, batch_sampler=batches, collate_fn=collate, num_workers=workers))
    assert len(alone) == len(shared) == 5
    for first, second in zip(alone, shared):
        same(first, second)


def test_the_number_of_threads_does_not_change_the_stream():
    samples, batches = samples_of(SceneGenerator(20, size=64)), StepBatches(20, 3, 4, 1, last=5)
    threads = torch.get_num_threads()
    try:
        streams = []
        for number in (1, 2, 4):
            torch.set_num_threads(number)
            streams.append(list(DataLoader(samples, batch_sampler=batches, collate_fn=collate)))
            assert torch.get_num_threads() == number
    finally:
        torch.set_num_threads(threads)
    for other in streams[1:]:
        for first, second in zip(streams[0], other):
            same(first, second)


def test_processes_and_accumulation_divide_the_same_images():
    def images(batch_size, accumulation, processes):
        shares = [StepBatches(40, 3, batch_size, accumulation, processes, rank, last=20) for rank in range(processes)]
        streams = [iter(share) for share in shares]
        steps = []
        for _ in range(20):
            keys = [key for _ in range(accumulation) for stream in streams for key in next(stream)]
            steps.append(keys)
        return steps

    whole = images(8, 1, 1)
    assert images(4, 1, 2) == whole
    assert images(4, 2, 1) == whole
    assert images(2, 2, 2) == whole


def test_an_epoch_shows_every_image_once_and_the_next_in_another_order():
    steps = list(StepBatches(12, 3, 4, 1, last=6))
    epochs = [[key.image for step in steps[i : i + 3] for key in step] for i in (0, 3)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(12))
    assert epochs[0] != epochs[1]
    assert [key.epoch for step in steps for key in step] == 12 * [0] + 12 * [1]


def test_a_later_start_is_the_tail_of_the_stream():
    assert list(StepBatches(12, 3, 4, 1, first=4, last=6)) == list(StepBatches(12, 3, 4, 1, last=6))[4:]


def test_an_image_looks_different_in_another_epoch():
    samples = samples_of(SceneGenerator(5, size=64))
    first, again, later = (samples[SampleKey(epoch, 0, 2)] for epoch in (0, 0, 1))
    assert np.array_equal(first["image"], again["image"])
    assert not np.array_equal(first["image"], later["image"])


def test_too_few_images_for_a_step():
    with pytest.raises(ValueError, match=r"hold 5 images, fewer than one step of 8 \(batch_size 4 x accumulation 2"):
        StepBatches(5, 0, 4, 2)


def row(name, mask):
    image = Image.fromarray(np.full((64, 64, 3), 90, dtype=np.uint8))
    return {"image": image, "mask": Image.fromarray(mask), "set": "own", "name": name}


def square():
    mask = np.zeros((64, 64), dtype=np.uint8)
    mask[16:48, 16:48] = 255
    return mask


def test_a_bad_sample_is_named_and_replaced_by_the_next():
    rows = [row("good", square()), row("empty", np.zeros((64, 64), np.uint8)), row("small", square()[:32])]
    samples = samples_of(rows, scales=None)
    taken = samples[SampleKey(0, 0, 1)]
    assert taken["name"] == "own/good"
    assert len(taken["skipped"]) == 2
    assert "own/empty: the mask is empty" in taken["skipped"][0]
    assert "own/small: image and mask must have the same size" in taken["skipped"][1]
    batch = collate(samples.__getitems__([SampleKey(0, 0, 0), SampleKey(0, 0, 1)]))
    assert batch.names == ["own/good", "own/good"]
    assert len(batch.skipped) == 2


def test_a_bad_sample_may_stop_the_run():
    samples = samples_of([row("empty", np.zeros((64, 64), np.uint8))], bad_samples="stop")
    with pytest.raises(ValueError, match="own/empty: the mask is empty"):
        samples[SampleKey(0, 0, 0)]


def test_data_without_any_good_sample():
    samples = samples_of([row("empty", np.zeros((64, 64), np.uint8))])
    with pytest.raises(ValueError, match="20 samples in a row cannot be used, such as: own/empty"):
        samples[SampleKey(0, 0, 0)]


def test_masks_and_prompts_share_the_frame_of_the_model():
    samples = samples_of([row("good", square())], scales=None, flip=0.0, prompts=["box"])
    batch = collate([samples[SampleKey(0, 0, 0)]])
    assert batch.images.shape == (1, 3, 64, 64)
    assert batch.images.dtype == torch.uint8
    assert batch.boxes.tolist() == [[[16, 16, 47, 47]]]  # the last row and column, as in the original
    assert batch.masks.sum() == 32 * 32
    assert batch.points is None
    assert batch.mask_prompts is None


def test_images_with_fewer_masks_are_padded_with_absent_prompts():
    two = {**row("two", square()), "masks": [Image.fromarray(square()), Image.fromarray(square().T)]}
    two.pop("mask")
    samples = samples_of([two, row("one", square())], prompts=["points"])
    batch = collate(samples.__getitems__([SampleKey(0, 0, 0), SampleKey(0, 0, 1)]))
    assert batch.present.tolist() == [[True, True], [True, False]]
    assert (batch.labels[1, 1] == -10).all()
    assert (batch.labels[1, 0] == 1).all()


def test_a_head_may_learn_from_single_points_among_other_prompts():
    samples = samples_of([row("good", square())], scales=None, flip=0.0, prompts=["point", "points"])
    counts = {int((samples[SampleKey(epoch, 0, 0)]["prompts"][0]["labels"] == 1).sum()) for epoch in range(12)}
    assert counts == {1, 10}


def test_scratch_asks_just_as_often_as_told_by_boxes_or_points():
    base = {"model": None, "architecture": {"any": 1}, "train": "sam", "masks_per_image": 4, "prompts": None}
    fields = {name: value for name, value in base.items() if value is not None or name == "model"}
    samples = samples_of(SceneGenerator(6, size=64), **fields)
    kinds = set()
    for step in range(8):
        batch = collate([samples[SampleKey(0, step, 1)]])
        assert batch.present.tolist() == [[True] * 4]
        kinds.add("box" if batch.points is None else "point")
    assert kinds == {"box", "point"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"kind": "films"}, "`kind` of data must be hqseg44k, folders, columns, coco or scenes, got 'films'"),
        ({"count": 3}, "got None"),
        ({"kind": "scenes", "number": 3}, "do not fit their kind: .*number"),
        ({"kind": "folders", "images": "nowhere", "masks": "nowhere"}, "nowhere"),
    ],
)
def test_data_that_are_no_data(data, message):
    with pytest.raises((ValueError, OSError), match=message):
        load_rows(data, "train")


def test_own_folders_are_rows_to_train_on(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    for name in "ab":
        entry = row(name, square())
        entry["image"].save(tmp_path / "images" / f"{name}.png")
        entry["mask"].save(tmp_path / "masks" / f"{name}.png")
    rows = load_rows({"kind": "folders", "images": tmp_path / "images", "masks": tmp_path / "masks"}, "train")
    assert len(rows) == 2
    assert samples_of(rows)[SampleKey(0, 0, 0)]["name"].endswith("/a")
