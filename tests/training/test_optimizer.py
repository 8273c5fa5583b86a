import pytest

from hq_sam_hf.training.optimizer import learning_rate
from support.small_runs import small_run


def test_learning_rates_of_the_schedules():
    step = small_run("base", "out", epochs=12)
    rates = [learning_rate(step, epoch * 10, 120, 10) for epoch in range(12)]
    assert rates == pytest.approx(10 * [1e-3] + 2 * [1e-4])
    cosine = small_run("base", "out", schedule="cosine", warmup_steps=10)
    assert learning_rate(cosine, 0, 100, 10) == pytest.approx(1e-4)
    assert learning_rate(cosine, 50, 100, 10) == pytest.approx(5e-4)
    assert learning_rate(cosine, 99, 100, 10) < 1e-6
    longer = small_run("base", "out", schedule="cosine", schedule_steps=200)
    assert learning_rate(longer, 100, 100, 10) == pytest.approx(5e-4)
    assert learning_rate(longer, 250, 300, 10) == 0
