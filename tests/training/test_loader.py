import pytest
import torch

from hq_sam_hf.scenes import SceneGenerator
from hq_sam_hf.training.loader import StepSampler, load_batches
from support.small_runs import make_dataset


def assert_same(first, second):
    """Assert that two batches are equal."""
    for name, value in vars(first).items():
        other = getattr(second, name)
        if isinstance(value, torch.Tensor):
            assert torch.equal(value.nan_to_num(-7), other.nan_to_num(-7)), name
        else:
            assert value == other, name


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.slow
def test_batches_do_not_depend_on_the_number_of_workers(workers):
    dataset, sampler = make_dataset(SceneGenerator(20, size=64)), StepSampler(20, 3, 4, 1, last=5)
    in_this_process = list(load_batches(dataset, sampler, num_workers=0))
    in_workers = list(load_batches(dataset, sampler, workers))
    assert len(in_this_process) == len(in_workers) == 5
    for first, second in zip(in_this_process, in_workers):
        assert_same(first, second)


def test_batches_do_not_depend_on_the_number_of_threads():
    dataset, sampler = make_dataset(SceneGenerator(20, size=64)), StepSampler(20, 3, 4, 1, last=5)
    threads = torch.get_num_threads()
    try:
        batches = []
        for number in (1, 2, 4):
            torch.set_num_threads(number)
            batches.append(list(load_batches(dataset, sampler, num_workers=0)))
            assert torch.get_num_threads() == number
    finally:
        torch.set_num_threads(threads)
    for other in batches[1:]:
        for first, second in zip(batches[0], other):
            assert_same(first, second)


def test_a_step_has_the_same_images_for_any_number_of_processes_and_passes():
    def keys_of_steps(batch_size, accumulation, processes):
        samplers = [
            StepSampler(40, 3, batch_size, accumulation, processes, rank, last=20) for rank in range(processes)
        ]
        streams = [iter(sampler) for sampler in samplers]
        steps = []
        for _ in range(20):
            keys = [key for _ in range(accumulation) for stream in streams for key in next(stream)]
            steps.append(keys)
        return steps

    whole = keys_of_steps(8, 1, 1)
    assert keys_of_steps(4, 1, 2) == whole
    assert keys_of_steps(4, 2, 1) == whole
    assert keys_of_steps(2, 2, 2) == whole


def test_an_epoch_has_every_image_once_in_an_order_of_its_own():
    steps = list(StepSampler(12, 3, 4, 1, last=6))
    epochs = [[key.image for step in steps[i : i + 3] for key in step] for i in (0, 3)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(12))
    assert epochs[0] != epochs[1]
    assert [key.epoch for step in steps for key in step] == 12 * [0] + 12 * [1]


def test_a_later_first_step_continues_the_same_order():
    assert list(StepSampler(12, 3, 4, 1, first=4, last=6)) == list(StepSampler(12, 3, 4, 1, last=6))[4:]


def test_a_step_needs_enough_keys_of_steps():
    with pytest.raises(ValueError, match=r"hold 5 images, fewer than one step of 8 \(batch_size 4 x accumulation 2"):
        StepSampler(5, 0, 4, 2)
