import multiprocessing
import os
import signal
import subprocess

import pytest

from hq_sam_hf.training.trainer import TrainingRun, train
from support.small_runs import assert_equal_weights, small_run


@pytest.mark.slow
@pytest.mark.usefixtures("with_ctrl_c")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_stop_signal_saves_and_exits(base, finished_run, tmp_path, monkeypatch, number, code, workers):
    take_step = TrainingRun.take_step

    def signal_and_take_step(self, *arguments):
        if self.position.step == 1:
            os.kill(os.getpid(), number)
            for worker in multiprocessing.active_children():  # a scheduler signals all processes of a job
                subprocess.run(["kill", f"-{int(number)}", str(worker.pid)], check=True)
        return take_step(self, *arguments)

    monkeypatch.setattr(TrainingRun, "take_step", signal_and_take_step)
    with pytest.raises(SystemExit) as exit:
        train(small_run(base, tmp_path / "run", save_steps=100, num_workers=workers))
    assert exit.value.code == code
    assert not (tmp_path / "run" / "final").exists()
    monkeypatch.undo()
    train(small_run(base, tmp_path / "run", save_steps=100, num_workers=workers, resume=True))
    assert_equal_weights(tmp_path / "run", finished_run)


@pytest.mark.usefixtures("with_ctrl_c")
def test_a_second_ctrl_c_stops_at_once(base, tmp_path, monkeypatch):
    def interrupt_twice(self, *arguments):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(TrainingRun, "take_step", interrupt_twice)
    with pytest.raises(KeyboardInterrupt):
        train(small_run(base, tmp_path / "run", save_steps=100))
    assert not list((tmp_path / "run" / "checkpoints").glob("step-*"))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
