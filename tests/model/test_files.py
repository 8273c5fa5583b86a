"""Files and folders are written atomically: whole or not at all, whatever fails at whichever step."""

import contextlib
import ctypes
import errno
import os
import shutil
import sys

import pytest

from hq_sam_hf.model import files
from hq_sam_hf.model.files import remove_leftovers, replace_folder, whole_folder, write_atomically
from support.oracle import SMALL, pair


def test_a_file_is_written_whole(tmp_path):
    path = tmp_path / "a.txt"
    write_atomically(path, lambda file: file.write(b"hello"))
    assert path.read_bytes() == b"hello"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")

    def fail(file):
        file.write(b"half")
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        write_atomically(path, fail)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_new_file_has_the_usual_permissions(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    write_atomically(tmp_path / "atomic", lambda file: file.write(b""))
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode
    (tmp_path / "plain_folder").mkdir()
    with whole_folder(tmp_path / "atomic_folder"):
        pass
    assert (tmp_path / "atomic_folder").stat().st_mode == (tmp_path / "plain_folder").stat().st_mode


def interrupted_at_line(number: int, call) -> bool:
    """Call with a Ctrl-C before the line with this number that runs in `files`. Whether there was such a line."""
    seen = 0

    def trace(frame, event, argument):
        nonlocal seen
        if frame.f_code.co_filename != files.__file__:
            return None
        if event == "line":
            seen += 1
            if seen == number:
                sys.settrace(None)
                raise KeyboardInterrupt
        return trace

    earlier = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
        return False
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(earlier)


def write_folder(path):
    with whole_folder(path) as folder:
        (folder / "new").write_text("new")
        (folder / "more").write_text("new")


@pytest.fixture(params=["exchange", "renames"])
def step(request, monkeypatch):
    """With the system's exchange of two paths, and without it."""
    if request.param == "renames":
        monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    elif sys.platform != "linux":
        pytest.skip("only some systems have it")


@pytest.mark.usefixtures("step")
@pytest.mark.parametrize("existing", [True, False])
def test_an_interrupt_at_any_line_leaves_the_old_or_the_new_folder(tmp_path, existing):
    target, number, outcomes = tmp_path / "out", 0, set()
    while True:
        number += 1
        shutil.rmtree(target, ignore_errors=True)
        if existing:
            target.mkdir()
            (target / "old").write_text("old")
        was_interrupted = interrupted_at_line(number, lambda: write_folder(target))
        content = sorted(os.listdir(target)) if target.exists() else None
        assert content in ([["old"], ["more", "new"]] if existing else [None, ["more", "new"]]), number
        assert os.listdir(tmp_path) in (["out"], []), number
        outcomes.add(content == ["more", "new"])
        if not was_interrupted:
            break
    assert number > 15
    assert outcomes == {True, False}


@pytest.mark.parametrize("existing", [True, False])
def test_an_interrupt_at_any_line_leaves_the_old_or_the_new_file(tmp_path, existing):
    target, number, was_interrupted = tmp_path / "out", 0, True
    while was_interrupted:
        number += 1
        target.unlink(missing_ok=True)
        if existing:
            target.write_bytes(b"old")
        was_interrupted = interrupted_at_line(
            number, lambda: write_atomically(target, lambda file: file.write(b"new"))
        )
        content = target.read_bytes() if target.exists() else None
        assert content in (b"old" if existing else None, b"new"), number
        assert os.listdir(tmp_path) in (["out"], []), number
    assert number > 8


@pytest.mark.usefixtures("step")
@pytest.mark.parametrize("failing", ["rename", "mkdir", "rmtree"])
@pytest.mark.parametrize("call", [1, 2])
def test_a_failing_call_leaves_the_old_or_the_new_folder(tmp_path, monkeypatch, failing, call):
    target = tmp_path / "out"
    target.mkdir()
    (target / "old").write_text("old")
    calls = 0

    def fail(original):
        def wrapped(*arguments, **options):
            nonlocal calls
            calls += 1
            if calls == call:
                raise OSError(errno.EIO, "Input/output error")
            return original(*arguments, **options)

        return wrapped

    owner = shutil if failing == "rmtree" else os
    monkeypatch.setattr(owner, failing, fail(getattr(owner, failing)))
    with contextlib.suppress(OSError):  # files that cannot be removed are no error, since the new folder is there
        write_folder(target)
    monkeypatch.undo()
    assert sorted(os.listdir(target)) in (["old"], ["more", "new"])


def test_a_c_library_without_an_exchange_is_no_error(tmp_path, monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    (tmp_path / "out").mkdir()
    write_folder(tmp_path / "out")
    assert sorted(os.listdir(tmp_path / "out")) == ["more", "new"]


@pytest.mark.usefixtures("step")
def test_a_folder_that_was_replaced_is_gone(tmp_path):
    for name in ("new", "target"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    replace_folder(tmp_path / "new", tmp_path / "target")
    assert os.listdir(tmp_path) == ["target"]
    assert os.listdir(tmp_path / "target") == ["new"]


def test_leftovers_of_killed_processes_are_removed_and_other_files_stay(tmp_path):
    hidden = [".out.0123456789abcdef.part", ".out.ab_defg0.part"]  # the second of an earlier version
    for name in hidden:
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").touch()
    others = [".out.part", ".out.notes.part", ".other.0123456789abcdef.part", "out.0123456789abcdef.part", ".out.lock"]
    for name in others:
        (tmp_path / name).touch()
    remove_leftovers(tmp_path / "out")
    assert sorted(os.listdir(tmp_path)) == sorted(others)


def test_a_folder_that_a_killed_process_moved_away_comes_back(tmp_path):
    old = tmp_path / ".[out].0123456789abcdef.old"
    old.mkdir()
    remove_leftovers(tmp_path / "[out]")
    assert os.listdir(tmp_path) == ["[out]"]
    old.mkdir()  # it was killed after the replacement
    remove_leftovers(tmp_path / "[out]")
    assert os.listdir(tmp_path) == ["[out]"]


@pytest.mark.parametrize("name", ["界" * 85, "a" * 251 + ".png", "é" * 127])
def test_a_name_of_any_length_that_the_disk_allows_can_be_written(tmp_path, name):
    write_atomically(tmp_path / name, lambda file: file.write(b"x"))
    assert os.listdir(tmp_path) == [name]
    with whole_folder(tmp_path / f"{name[:-1]}b") as folder:
        assert len(os.fsencode(folder.name)) < 128
    remove_leftovers(tmp_path / name)
    assert len(os.listdir(tmp_path)) == 2


def test_long_names_that_begin_alike_do_not_share_their_leftovers(tmp_path):
    with whole_folder(tmp_path / ("a" * 100 + "1")):
        remove_leftovers(tmp_path / ("a" * 100 + "2"))
    assert (tmp_path / ("a" * 100 + "1")).is_dir()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_not_utf_8_can_be_written(tmp_path):
    name = os.fsdecode(b"caf\xe9" * 30)
    write_atomically(tmp_path / name, lambda file: file.write(b"x"))
    assert os.listdir(tmp_path) == [name]
    assert files.readable_name(os.fsdecode(b"caf\xe9 \xc3\xa9")) == "caf\\xe9 é"


@pytest.mark.parametrize(
    ("number", "advice"),
    [(errno.ENOSPC, "Free some space"), (errno.EROFS, "on another disk"), (errno.ENAMETOOLONG, "a shorter name")],
)
def test_an_error_of_the_disk_names_the_output_and_the_remedy(tmp_path, number, advice):
    def fail(*_):
        raise OSError(number, os.strerror(number), "somewhere/.hidden.part")

    target = tmp_path / "out.png"
    with pytest.raises(OSError, match=f"{advice}.*: '{target}'") as caught:
        write_atomically(target, fail)
    assert caught.value.errno == number
    with pytest.raises(OSError, match=f"{advice}.*: '{target}'"), whole_folder(target) as folder:
        write_atomically(folder / "inside", fail)


def test_weights_have_the_permissions_of_other_files(tmp_path):
    model = pair(SMALL)[1]
    (tmp_path / "other.txt").touch()
    expected = (tmp_path / "other.txt").stat().st_mode
    model.save_pretrained(tmp_path / "model")
    model.save_pretrained(tmp_path / "shards", max_shard_size="200KB")
    model.save_hq_head(tmp_path / "head")
    weights = list(tmp_path.rglob("*.safetensors"))
    assert len(weights) > 3
    assert {path.stat().st_mode for path in weights} == {expected}
