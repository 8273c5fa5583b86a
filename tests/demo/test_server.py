"""The server of the demo's page: who can reach it, what it loads, and the command that starts it."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from hq_sam_hf.cli import main
from hq_sam_hf.demo.page import build_page
from hq_sam_hf.demo.server import serve
from hq_sam_hf.demo.session import SAMPLE_IMAGE
from hq_sam_hf.demo.uploads import server_folder
from support.demo_browser import NEEDS_BROWSER
from support.small_runs import save_base

pytestmark = NEEDS_BROWSER


def test_the_page_loads_nothing_from_elsewhere(browser, address):
    browser.driver.get_log("performance")
    browser.visit(address)
    browser.open_sample()
    browser.click(0.5, 0.35)
    events = [json.loads(entry["message"])["message"] for entry in browser.driver.get_log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    elsewhere = [url for url in asked if not url.startswith((address, "data:", "blob:"))]
    assert len(asked) > 10
    assert elsewhere == []
    with urllib.request.urlopen(address) as response:
        assert response.headers["Content-Security-Policy"].startswith("default-src 'self'")
    from gradio.analytics import analytics_enabled

    assert analytics_enabled() is False


def test_the_server_listens_to_this_computer_only(address):
    port = int(address.rstrip("/").rsplit(":", 1)[1])
    listening = [
        line.split()[1]
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        if line.split()[3] == "0A" and int(line.split()[1].split(":")[1], 16) == port
    ]
    assert listening == [f"0100007F:{port:04X}"]  # 127.0.0.1


def test_a_port_in_use_is_reported_in_one_line(tmp_path, capsys):
    model = save_base(tmp_path / "model")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["demo", "--model", str(model), "--port", str(port)]) == 1
    *_, last = capsys.readouterr().err.strip().splitlines()
    assert last.startswith(f"hq-sam: Cannot serve at 127.0.0.1, port {port}")
    assert last.endswith("Choose another with --host and --port.")


def test_the_command_serves_the_embedded_model_and_deletes_uploads(tmp_path):
    (tmp_path / "tmp").mkdir()
    environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp")}
    command = [sys.executable, "-m", "hq_sam_hf.cli", "demo"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            for line in process.stderr:
                if found := re.search(r"The demo is at (http://127\.0\.0\.1:\d+/)", line):
                    break
            with urllib.request.urlopen(found[1]) as response:
                assert "HQ-SAM" in response.read().decode()
            head = b'--edge\r\nContent-Disposition: form-data; name="files"; filename="photo.jpg"\r\n\r\n'
            body = head + SAMPLE_IMAGE.read_bytes() + b"\r\n--edge--\r\n"
            headers = {"Content-Type": "multipart/form-data; boundary=edge"}
            urllib.request.urlopen(urllib.request.Request(f"{found[1]}gradio_api/upload", body, headers)).close()
            assert len(list((tmp_path / "tmp").rglob("photo.jpg"))) == 1
        finally:
            process.send_signal(signal.SIGTERM)
    assert process.returncode == 0
    assert list((tmp_path / "tmp").rglob("*.jpg")) == []


class Command:
    """`hq-sam demo` with a model in a folder, and a user without a browser. Its temporary files are in `temporary`."""

    def __init__(self, folder: Path, **options) -> None:
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.model = save_base(folder / "secret" / "small")
        command = [sys.executable, "-m", "hq_sam_hf.cli", "demo", "--model", str(self.model)]
        environment = {**os.environ, "TMPDIR": str(self.temporary)}
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, **options)
        for line in self.process.stderr:
            if found := re.search(r"The demo is at (http://127\.0\.0\.1:\d+/)", line):
                self.address = found[1]
                break
        self.config = self.read("config")

    def read(self, path: str):
        with urllib.request.urlopen(self.address + path) as response:
            return response.read().decode()

    def press(self, name: str, *data, event_name: str = "click") -> None:
        """Trigger an event of a button, as the page does it."""
        config = json.loads(self.config)
        (button,) = [part["id"] for part in config["components"] if part["props"].get("elem_id") == name]
        (event,) = [entry["id"] for entry in config["dependencies"] if [button, event_name] in entry["targets"]][:1]
        request = {"data": data, "fn_index": event, "trigger_id": button, "session_hash": "user"}
        headers = {"Content-Type": "application/json"}
        address = f"{self.address}gradio_api/queue/join"
        urllib.request.urlopen(urllib.request.Request(address, json.dumps(request).encode(), headers)).close()

    def wait_for_result(self) -> str:
        with urllib.request.urlopen(f"{self.address}gradio_api/queue/data?session_hash=user") as events:
            return next(line.decode() for line in events if b"process_completed" in line)

    def start_search(self) -> None:
        """Open the sample image, and start a search in it that takes seconds."""
        self.press("sample", "small")
        self.wait_for_result()
        assert len(self.left_behind()) > 0
        self.press("automatic", None)
        time.sleep(0.5)

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        _, self.log = self.process.communicate(timeout=60)
        return self.process.returncode

    def left_behind(self) -> list[Path]:
        return [path for path in self.temporary.rglob("*") if "hq-sam" in str(path.relative_to(self.temporary))]


@pytest.fixture
def command(tmp_path):
    commands = []

    def start(**options):
        commands.append(Command(tmp_path, **options))
        return commands[-1]

    yield start
    for one in commands:
        one.process.kill()
        one.process.communicate()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_signal_during_work_ends_the_server_in_order_and_leaves_nothing(command, name):
    server = command()
    server.start_search()
    assert server.end(getattr(signal, name)) == 0
    assert server.left_behind() == []
    assert "Traceback" not in server.log
    assert "terminate called" not in server.log


def test_a_server_under_nohup_stays_when_the_terminal_closes(command):
    server = command(preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    server.process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert "HQ-SAM" in server.read("")
    assert server.end(signal.SIGTERM) == 0


def test_what_a_killed_server_left_behind_is_deleted_by_the_next_one(command, monkeypatch):
    server = command()
    server.start_search()
    assert server.end(signal.SIGKILL) == -signal.SIGKILL
    assert len(server.left_behind()) > 0
    monkeypatch.setattr("tempfile.tempdir", str(server.temporary))
    with server_folder() as folder:
        assert list(server.temporary.glob("hq-sam*")) == [folder]


def test_neither_the_page_nor_an_error_shows_a_folder_of_the_server(command):
    server = command()
    own = [str(server.model.parent), str(Path(sys.executable).parent), str(Path(__file__).parents[2]), os.getcwd()]
    texts = [server.read(path) for path in ("", "config", "theme.css", "gradio_api/info", "gradio_api/openapi.json")]
    assert '"small"' in texts[1]
    shutil.rmtree(server.model)
    outside = {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}
    for data in ((outside, "small"), ({**outside, "path": str(server.temporary / "none.png")}, "small")):
        server.press("open", *data, event_name="upload")
        texts.append(server.wait_for_result())
    server.press("sample", "no such model")
    texts.append(server.wait_for_result())
    assert [(folder, text) for folder in own for text in texts if folder in text] == []
    assert server.end(signal.SIGTERM) == 0


def test_requests_for_other_hosts_are_refused_unless_they_are_allowed(predictors):
    page = build_page(predictors)
    address = serve(page, "127.0.0.1", None, ["demo.example.org"])
    try:
        for host, status in (("demo.example.org", 200), ("localhost", 200), ("evil.example", 403)):
            connection = http.client.HTTPConnection(urlsplit(address).netloc)
            connection.request("GET", "/config", headers={"Host": host})
            assert connection.getresponse().status == status
    finally:
        page.close()


def test_a_wrong_allowed_host_is_refused_before_a_model_is_loaded(capsys):
    assert main(["demo", "--model", "anything", "--allowed-hosts", "https://demo.example.org"]) == 1
    assert (
        "without scheme and port, such as demo.example.org, got 'https://demo.example.org'" in capsys.readouterr().err
    )
    assert main(["demo", "--model", "anything", "--allowed-hosts", "demo.example.org"]) == 1
    assert "anything" in capsys.readouterr().err  # the advice works: now it looks for the model


@pytest.mark.parametrize("port", [0, 70000])
def test_an_impossible_port_is_refused(port, capsys):
    assert main(["demo", "--model", "anything", "--port", str(port)]) == 1
    assert capsys.readouterr().err == f"hq-sam: The port must be from 1 to 65535, got {port}.\n"
