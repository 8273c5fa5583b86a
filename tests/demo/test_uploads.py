"""The demo's files on the server: names and folders of uploads, and what killed servers leave behind."""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from hq_sam_hf.demo import uploads
from hq_sam_hf.demo.uploads import FOLDER_PREFIX, discard_upload, safe_name, server_folder
from support.demo_browser import NEEDS_BROWSER


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("photo 1.jpg", "photo 1.jpg"),
        ("../../etc/passwd", "passwd"),
        ("C:\\photos\\cup.png", "cup.png"),
        ("", "image"),
        ("..", "image"),
        ("a\0b\n.png", "a_b_.png"),
        ("caf\udce9.png", "caf_.png"),
        ("图" * 100 + ".png", "图" * 29 + ".png"),  # 3 bytes each
        ("x" * 300, "x" * 89),
        ("a." + "x" * 300, "a." + "x" * 10),
    ],
)
def test_the_name_of_an_upload_is_one_that_every_file_system_takes(tmp_path, name, expected):
    assert safe_name(name) == expected
    (tmp_path / safe_name(name)).touch()


def test_an_upload_is_deleted_with_its_folder(tmp_path):
    path = tmp_path / "random" / "cup.png"
    path.parent.mkdir()
    path.touch()
    discard_upload(path)
    discard_upload(path)  # it is gone
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv("GRADIO_TEMP_DIR", raising=False)
    return tmp_path


def test_the_folder_of_a_server_is_deleted_at_the_end_also_if_it_fails(temporary):
    def fail():
        with server_folder() as folder:
            assert os.environ["GRADIO_TEMP_DIR"] == str(folder / "uploads")
            (folder / "uploads" / "cup.png").touch()
            raise OSError("port")

    with pytest.raises(OSError, match="port"):
        fail()
    assert list(temporary.iterdir()) == []
    assert "GRADIO_TEMP_DIR" not in os.environ


@pytest.mark.slow
def test_what_a_killed_server_left_behind_is_deleted_but_no_running_server_and_nothing_else(temporary):
    killed, foreign = temporary / f"{FOLDER_PREFIX}killed", temporary / "hq-sam-demo-notes"
    target, link = temporary / "target", temporary / f"{FOLDER_PREFIX}link"
    for folder in (killed, foreign, target):
        folder.mkdir()
        (folder / "cup.png").touch()
    link.symlink_to(target)
    running = [sys.executable, "-c", RUNNING_SERVER]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with subprocess.Popen(
        running, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        other = Path(process.stdout.readline().strip())
        assert not killed.exists()  # deleted by this process
        with server_folder() as folder:
            assert set(temporary.iterdir()) == {folder, other, foreign, target, link}
        process.kill()
    assert (other / "cup.png").is_file()
    with server_folder() as folder:
        assert set(temporary.iterdir()) == {folder, foreign, target, link}
    assert (target / "cup.png").is_file()


RUNNING_SERVER = """
import sys
from hq_sam_hf.demo.uploads import server_folder
with server_folder() as folder:
    (folder / "cup.png").touch()
    print(folder, flush=True)
    sys.stdin.read()
"""


def form(*contents: bytes, name: str = "cup.png", field: str = "files") -> bytes:
    head = f'--edge\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'.encode()
    return b"".join(head + content + b"\r\n" for content in contents) + b"--edge--\r\n"


def post(address: str, body: bytes) -> tuple[int, str]:
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
    headers = {"Content-Type": "multipart/form-data; boundary=edge"}
    connection.request("POST", "/gradio_api/upload", body, headers)
    response = connection.getresponse()
    return response.status, response.read().decode()


def stored() -> list[Path]:
    return [path for path in Path(os.environ["GRADIO_TEMP_DIR"]).rglob("*") if path.is_file()]


class TestServer:
    pytestmark = NEEDS_BROWSER

    def test_uploads_of_the_same_file_are_stored_apart(self, address):
        paths = []
        for _ in range(3):
            status, text = post(address, form(b"the same"))
            assert status == 200
            paths += map(Path, json.loads(text))
        assert len({path.parent for path in paths}) == 3
        discard_upload(paths[0])
        assert [path.exists() for path in paths] == [False, True, True]
        for path in paths:
            discard_upload(path)

    @pytest.mark.parametrize("body", [form(b"a", b"b"), form(b"a", field="other"), b"no form", b""])
    def test_other_forms_are_refused_and_leave_nothing(self, address, body):
        before = stored()
        assert post(address, body) == (400, "An upload must be a form with one file named `files`.")
        assert stored() == before

    def test_an_upload_that_is_aborted_leaves_nothing(self, address):
        before, port = stored(), urlsplit(address).port
        head = f"POST /gradio_api/upload HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Length: 9000000\r\n"
        head += "Content-Type: multipart/form-data; boundary=edge\r\n\r\n"
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(head.encode() + form(bytes(3_000_000))[:2_900_000])
            time.sleep(0.3)
        time.sleep(0.3)
        assert stored() == before

    def test_a_disk_that_is_full_is_one_sentence(self, address, monkeypatch):
        def full(*args):
            raise OSError(28, "No space left on device", "/srv/secret")

        monkeypatch.setattr(uploads, "_store", full)
        status, text = post(address, form(b"a"))
        assert (status, text) == (507, "The server cannot store the file. Its log has more.")
