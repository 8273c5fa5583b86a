import pytest

from hq_sam_hf.labelling import progress as progress_module
from hq_sam_hf.labelling.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets: `clock[0]`, in seconds."""
    now = [0.0]
    monkeypatch.setattr(progress_module.time, "perf_counter", lambda: now[0])
    return now


def report(progress, clock, *reports):
    for seconds, images in reports:
        clock[0] = seconds
        progress.add(images)


def test_the_rate_leaves_out_the_time_in_which_models_are_loaded(clock):
    progress = Progress(100)
    report(progress, clock, (20, 2), (25, 10), (30, 10))  # 2 images after 20 seconds, then 20 images in 10 seconds
    assert progress.rate == pytest.approx(2.0)


def test_reports_of_whole_shards_count_from_the_start(clock):
    """The second of two shards that are made side by side ends right after the first, which says nothing."""
    progress = Progress(100)
    report(progress, clock, (50, 50), (50.1, 50))
    assert progress.rate == pytest.approx(100 / 50.1)


def test_the_rate_of_a_first_report_counts_from_the_start(clock):
    progress = Progress(100)
    report(progress, clock, (4, 8))
    assert progress.rate == pytest.approx(2.0)
    assert progress.describe() == "8 of 100 images, 2 images/s, 46 s left"
