"""The server of the demo's page: who can reach it, what it loads, and the command that starts it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from hq_sam_hf.cli import main
from hq_sam_hf.demo.session import SAMPLE_IMAGE
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


@pytest.mark.parametrize("port", [0, 70000])
def test_an_impossible_port_is_refused(port, capsys):
    assert main(["demo", "--model", "anything", "--port", str(port)]) == 1
    assert capsys.readouterr().err == f"hq-sam: The port must be from 1 to 65535, got {port}.\n"
