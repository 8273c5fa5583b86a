"""Members of zip archives: what they unpack to is checked before memory is taken; damage is reported in words."""

import io
import resource
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

from hq_sam_hf.data import image_bytes
from hq_sam_hf.data.image_bytes import member_path, read_bytes


def archive_of(path, content, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        with archive.open("a.png", "w", force_zip64=True) as member:
            for part in content:
                member.write(part)
    return member_path(path, "a.png")


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_that_unpacks_a_thousandfold_is_refused_before_it_is_unpacked(method, tmp_path, monkeypatch):
    monkeypatch.setattr(image_bytes, "LARGE_MEMBER", 2**20)
    address = archive_of(tmp_path / "a.zip", [bytes(2**20)] * 8, method)
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("unpacked"))
    with pytest.raises(ValueError, match=r"would unpack from \d+ to 8388608 bytes.* unpack the archive and name the"):
        read_bytes(address)


@pytest.mark.skipif(sys.platform == "win32", reason="resource is missing")
@pytest.mark.slow
def test_a_refused_member_takes_no_memory(tmp_path):
    address = archive_of(tmp_path / "a.zip", [bytes(2**20)] * 300)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match="would unpack"):
        read_bytes(address)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 2**10  # KiB


def test_usual_members_are_read(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((2000, 2000, 3), np.uint8)).save(buffer, "BMP")  # 12 MB, packed to a thousandth
    assert read_bytes(archive_of(tmp_path / "a.zip", [buffer.getvalue()])) == buffer.getvalue()
    noise = np.random.default_rng(0).bytes(2**20)
    assert read_bytes(archive_of(tmp_path / "b.zip", [noise] * 3)) == noise * 3


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_member_is_named(method, tmp_path):
    address = archive_of(tmp_path / "a.zip", [np.random.default_rng(0).bytes(5000)], method)
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[600:900] = bytes(300)
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises((ValueError, OSError)) as caught:
        read_bytes(address)
    assert str(caught.value)
