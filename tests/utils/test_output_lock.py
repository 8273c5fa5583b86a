"""One lock per output, which the system releases when a process ends."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from hq_sam_hf.utils.output_lock import LOCK_FILE, output_lock

HOLD = """
import os, sys, time
from hq_sam_hf.utils.output_lock import output_lock
with output_lock(sys.argv[1], beside=sys.argv[2] == "beside"):
    if hasattr(os, "fork"):
        started, tell = os.pipe()
        if os.fork() == 0:  # as workers that read data, which may outlive a killed process
            os.write(tell, b"1")
            time.sleep(20)
            os._exit(0)
        os.read(started, 1)
    print("locked", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("place", ["inside", "beside"])
def test_another_process_is_named_and_its_lock_ends_with_it(tmp_path, place):
    output = tmp_path / "out"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(output), place], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "locked\n"
        message = rf"'.*out' is being written by process {holder.pid} \('-c .*since 20.*Wait until it has ended, or"
        with pytest.raises(ValueError, match=message), output_lock(output, beside=place == "beside"):
            pytest.fail("two processes hold the lock")
        with output_lock(tmp_path / "another", beside=place == "beside"):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with output_lock(output, beside=place == "beside"):  # it left its file, and a child that it had forked
            pass
        assert os.listdir(tmp_path) == (["out"] if place == "inside" else [])
    finally:
        holder.kill()
        holder.stdout.close()


def test_a_folder_that_stays_empty_is_removed(tmp_path):
    with output_lock(tmp_path / "a" / "b"):
        assert os.listdir(tmp_path / "a" / "b") == [LOCK_FILE]
        assert json.loads((tmp_path / "a" / "b" / LOCK_FILE).read_text())["pid"] == os.getpid()
    assert os.listdir(tmp_path) == []
    with output_lock(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "result").touch()
    assert os.listdir(tmp_path / "a" / "b") == ["result"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(KeyError), output_lock(tmp_path / "empty"):
        raise KeyError
    assert (tmp_path / "empty").is_dir()  # it was there before


@pytest.mark.parametrize("alias", ["link", "a/../out", "./out"])
def test_other_paths_to_the_folder_have_the_same_lock(tmp_path, monkeypatch, alias):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to("out")
    for beside in (True, False):
        with output_lock("out", beside), ThreadPoolExecutor(1) as other:
            with pytest.raises(ValueError, match=f"'{alias}' is being written by process {os.getpid()}"):
                other.submit(lambda beside=beside: output_lock(alias, beside).__enter__()).result()


def test_a_thread_may_take_its_own_lock_again(tmp_path):
    with output_lock(tmp_path):
        with output_lock(tmp_path):
            pass
        assert (tmp_path / LOCK_FILE).exists()  # the outer block still holds it
    assert not (tmp_path / LOCK_FILE).exists()


def test_one_of_many_threads_gets_the_lock_at_a_time(tmp_path):
    inside, most, refused = [], [], []

    def work():
        for _ in range(50):
            try:
                with output_lock(tmp_path / "out", beside=True):
                    inside.append(1)
                    most.append(len(inside))
                    inside.pop()
            except ValueError:
                refused.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    assert len(most) + len(refused) == 200
    assert os.listdir(tmp_path) == []


def test_a_damaged_lock_file_is_no_obstacle(tmp_path):
    (tmp_path / LOCK_FILE).write_bytes(b"\xff{")
    with output_lock(tmp_path):
        pass
    assert os.listdir(tmp_path) == []


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(ValueError, match="must be a folder, but '.*out' is a file"), output_lock(tmp_path / "out"):
        pass


@pytest.mark.parametrize("beside", [True, False])
def test_a_place_that_cannot_be_written_is_named_with_what_to_do(tmp_path, monkeypatch, beside):
    def fail(*_):
        raise OSError(errno.EROFS, "Read-only file system", "somewhere/.hidden.lock")

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(OSError, match="Read-only file system: .*choose another output: '.*out'") as caught:
        output_lock(tmp_path / "out", beside).__enter__()
    assert caught.value.errno == errno.EROFS
    assert os.listdir(tmp_path) == []
