"""The demo's page in a real browser, headless Chromium driven by Selenium, and how it is served."""

import base64
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hq_sam_hf import HQSamPredictor, HQSamProcessor
from hq_sam_hf.cli import main
from hq_sam_hf.demo.session import DemoSession
from support.images import random_image
from support.oracle import SMALL, lively_pair, pair
from support.small_runs import save_base

gradio = pytest.importorskip("gradio", reason='needs gradio: pip install "hq-sam-hf[demo]"')
webdriver = pytest.importorskip("selenium.webdriver", reason="needs Selenium: pip install selenium")
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402

from hq_sam_hf.demo.page import MAX_FILE_SIZE, SAMPLE, build_page, serve  # noqa: E402

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Chromium: apt-get install chromium chromium-driver"),
]

FLAGS = (
    "--headless --no-sandbox --disable-dev-shm-usage --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update --window-size=1400,1000"
)
EVERYTHING = {"points_per_side": 4, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0}
PATIENCE = 120  # seconds


@pytest.fixture(scope="module")
def predictors():
    models = {"first": lively_pair(SMALL)[1], "second": pair(SMALL)[1]}
    return {name: HQSamPredictor(model, HQSamProcessor.from_config(model.config)) for name, model in models.items()}


@pytest.fixture(scope="module")
def address(predictors, tmp_path_factory):
    os.environ["GRADIO_TEMP_DIR"] = str(tmp_path_factory.mktemp("uploads"))
    page = build_page(predictors, EVERYTHING)
    yield serve(page, "127.0.0.1", None)
    page.close()
    del os.environ["GRADIO_TEMP_DIR"]


class Browser:
    """A visitor, with a browser of their own."""

    def __init__(self, folder: Path) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for flag in FLAGS.split():
            options.add_argument(flag)
        options.add_argument(f"--user-data-dir={folder / 'profile'}")
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        self.driver = webdriver.Chrome(options, service=webdriver.ChromeService(DRIVER))
        self.downloads = folder / "downloads"
        self.downloads.mkdir()

    def visit(self, address: str) -> "Browser":
        self.driver.get(address)
        self.wait(lambda: self.all("#canvas .empty") and self.all("input[type=file]"))
        return self

    def all(self, selector: str) -> list:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def wait(self, condition):
        end = time.monotonic() + PATIENCE
        while not (result := condition()):
            assert time.monotonic() < end, f"waited in vain; the page says {self.note!r} and {self.messages}"
            time.sleep(0.05)
        return result

    @property
    def note(self) -> str:
        return self.text(".note")

    def text(self, selector: str) -> str:
        script = "return Array.from(document.querySelectorAll(arguments[0])).map(node => node.textContent).join(' ')"
        return self.driver.execute_script(script, selector)

    @property
    def messages(self) -> str:
        return self.text(".toast-body")

    def settled(self, action) -> None:
        """Act, and wait for the answer: the note is new and nothing is pending."""
        self.driver.execute_script("document.querySelector('.note').textContent = ''")
        action()
        self.wait(lambda: self.note and not self.all(".pending"))

    def press(self, name: str) -> None:
        self.settled(lambda: self.all(f"#{name}")[0].click())

    def open(self, path: Path) -> None:
        self.settled(lambda: self.all("input[type=file]")[0].send_keys(str(path)))
        self.wait(self.photo_is_drawn)

    def sample(self) -> None:
        self.press("sample")
        self.wait(self.photo_is_drawn)

    def photo_is_drawn(self) -> bool:
        script = "const i = document.querySelector('.photo'); return i.complete && i.clientHeight > 20"
        return self.driver.execute_script(script)

    def stage(self, panel: str):
        return self.all(f"[data-panel={panel}] .stage")[0]

    def to(self, stage, x: float, y: float) -> ActionChains:
        """Move to a place, told in shares of the picture."""
        width, height = stage.size["width"], stage.size["height"]
        return ActionChains(self.driver).move_to_element_with_offset(stage, (x - 0.5) * width, (y - 0.5) * height)

    def click(self, x: float, y: float, panel: str = "hq", background: bool = False) -> None:
        move = self.to(self.stage(panel), x, y)
        self.settled((move.context_click() if background else move.click()).perform)

    def drag(self, x1: float, y1: float, x2: float, y2: float) -> None:
        stage = self.stage("sam")
        by = (x2 - x1) * stage.size["width"], (y2 - y1) * stage.size["height"]
        self.settled(self.to(stage, x1, y1).click_and_hold().move_by_offset(*map(round, by)).release().perform)

    def layer(self, panel: str) -> np.ndarray | None:
        """Where a panel's picture is covered, bool at the size of the view; None where nothing lies over it."""
        source = self.all(f"[data-panel={panel}] .layer")[0].get_attribute("src")
        return None if not source else np.asarray(picture_in(source).convert("RGBA"))[..., 3] > 0

    def photo(self) -> np.ndarray:
        return np.asarray(picture_in(self.all(".photo")[0].get_attribute("src")))

    def marks(self, kind: str = "dot") -> list[list[float]]:
        """The style of each mark of a panel, in per cent: left, top and for boxes width and height."""
        script = (
            "return Array.from(document.querySelectorAll('[data-panel=hq] .marks .' + arguments[0])).map(node => "
            "['left', 'top', 'width', 'height'].map(name => parseFloat(node.style[name])).filter(v => !isNaN(v)))"
        )
        return self.driver.execute_script(script, kind)

    def download(self, name: str) -> Path:
        folder = self.downloads / str(len(list(self.downloads.iterdir())))
        folder.mkdir()
        behaviour = {"behavior": "allow", "downloadPath": str(folder)}
        self.driver.execute_cdp_cmd("Browser.setDownloadBehavior", behaviour)
        self.all(f"#{name}")[0].click()
        return self.wait(lambda: list(folder.glob("*.png")))[0]


def alike(mask: np.ndarray, other: np.ndarray) -> bool:
    """Equal but for pixels on an outline: the browser tells where a mark is to six digits."""
    return mask.shape == other.shape and (mask == other).mean() > 0.9995


def picture_in(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1])))


@pytest.fixture(scope="module")
def browsers(tmp_path_factory):
    two = [Browser(tmp_path_factory.mktemp("browser")) for _ in range(2)]
    yield two
    for browser in two:
        browser.driver.quit()


@pytest.fixture
def browser(browsers, address):
    """A page that was just opened. Afterwards its console must hold no error."""
    browser = browsers[0].visit(address)
    yield browser
    assert [entry["message"] for entry in browser.driver.get_log("browser")] == []


def expected(predictors, path: Path, browser: Browser, model: str = "first") -> DemoSession:
    """A session that was told of the marks on the page, all of them objects."""
    session = DemoSession(path, predictors, model, EVERYTHING)
    height, width = session.size
    for left, top in browser.marks("dot"):
        session.add_point(left / 100 * width - 0.5, top / 100 * height - 0.5, 1)
    return session


def test_a_click_on_either_picture_gives_the_masks_of_sam_and_hq_sam(browser, predictors):
    browser.sample()
    assert browser.note.startswith("coffee.jpg · 600 x 400 pixels · no prompt yet")
    browser.click(0.5, 0.35)
    ((left, top),) = browser.marks()
    assert (left, top) == pytest.approx((50, 35), abs=0.5)
    answer = expected(predictors, SAMPLE, browser).answer
    assert 0 < answer.hq.mean() < 1
    assert alike(browser.layer("sam"), answer.sam)
    assert alike(browser.layer("hq"), answer.hq)
    browser.click(0.3, 0.7, panel="sam")
    assert len(browser.marks()) == 2
    assert alike(browser.layer("hq"), expected(predictors, SAMPLE, browser).answer.hq)
    assert "score" in browser.note
    assert " ms" in browser.note


def test_background_points_a_dragged_box_undo_and_clear(browser):
    browser.sample()
    browser.click(0.5, 0.35)
    one_click = browser.layer("hq")
    browser.click(0.1, 0.1, background=True)
    assert (len(browser.marks("on")), len(browser.marks("off"))) == (1, 1)
    browser.all("[data-label='0']")[0].click()
    browser.click(0.9, 0.1)
    assert len(browser.marks("off")) == 2
    browser.drag(0.7, 0.8, 0.25, 0.05)
    ((left, top, width, height),) = browser.marks("frame")
    assert (left, top, left + width, top + height) == pytest.approx((25, 5, 70, 80), abs=0.5)
    boxed = browser.layer("hq")
    browser.press("clear")
    assert browser.layer("hq") is browser.layer("sam") is None
    assert browser.marks("dot") == browser.marks("frame") == []
    browser.press("undo")
    assert np.array_equal(browser.layer("hq"), boxed)
    browser.press("undo")
    assert browser.marks("frame") == []
    browser.press("undo")
    browser.press("undo")
    assert np.array_equal(browser.layer("hq"), one_click)
    browser.press("undo")
    assert browser.layer("hq") is None


def test_several_quick_clicks_all_count(browser, predictors):
    browser.sample()
    places = [(0.2, 0.2), (0.4, 0.4), (0.6, 0.6), (0.8, 0.8)]
    for x, y in places:
        browser.to(browser.stage("hq"), x, y).click().perform()
    browser.wait(lambda: len(browser.marks()) == 4 and not browser.all(".pending"))
    assert alike(browser.layer("hq"), expected(predictors, SAMPLE, browser).answer.hq)


def test_mask_and_cutout_are_downloaded(browser, predictors):
    browser.sample()
    browser.all("#save-mask")[0].click()
    browser.wait(lambda: "There is no mask yet. Click on an object first." in browser.messages)
    browser.click(0.5, 0.35)
    session = expected(predictors, SAMPLE, browser)
    mask, cutout = browser.download("save-mask"), browser.download("save-cutout")
    assert (mask.name, cutout.name) == ("coffee_mask.png", "coffee_cutout.png")
    assert alike(np.asarray(Image.open(mask)), session.mask())
    assert alike(np.asarray(Image.open(cutout))[..., 3] > 0, session.mask())


def test_two_visitors_at_once_keep_their_own_pictures(browsers, address, predictors, tmp_path):
    paths = []
    for seed, browser in enumerate(browsers):
        paths.append(tmp_path / f"picture_{seed}.png")
        Image.fromarray(random_image((240, 360), seed)).save(paths[-1])
        browser.visit(address).open(paths[-1])
    for x in (0.3, 0.6):
        for browser, path in zip(browsers, paths):
            browser.click(x, 0.5)
            assert alike(browser.layer("hq"), expected(predictors, path, browser).answer.hq)
    for browser, path in zip(browsers, paths):
        assert browser.note.startswith(path.name)
        shown = browser.photo().astype(int)  # a JPEG
        differences = [np.abs(shown - np.asarray(Image.open(other))).mean() for other in paths]
        assert np.argmin(differences) == paths.index(path)
        assert browser.download("save-mask").name == f"{path.stem}_mask.png"
    browsers[0].press("clear")
    assert len(browsers[1].marks()) == 2
    left_behind = list(Path(os.environ["GRADIO_TEMP_DIR"]).rglob("picture_?.png"))
    assert left_behind == []


def test_a_picture_of_50_megapixels_is_opened_shown_small_and_saved_whole(browser, predictors, tmp_path):
    path = tmp_path / "large.jpg"
    Image.open(SAMPLE).resize((8660, 5774)).save(path, quality=80)
    browser.open(path)
    assert browser.note.startswith("large.jpg · 8660 x 5774 pixels")
    assert browser.photo().shape == (853, 1280, 3)
    browser.click(0.5, 0.35)
    session = expected(predictors, path, browser)
    assert alike(browser.layer("hq"), session.answer.hq)
    assert alike(np.asarray(Image.open(browser.download("save-mask"))), session.mask())


def test_what_is_no_picture_is_refused_and_the_picture_before_stays(browser, tmp_path):
    browser.sample()
    browser.click(0.5, 0.35)
    before, note = browser.layer("hq"), browser.note
    text, disguised, large = tmp_path / "notes.txt", tmp_path / "notes.png", tmp_path / "huge.png"
    text.write_text("no picture")
    disguised.write_text("no picture")
    with open(large, "wb") as file:
        file.truncate(MAX_FILE_SIZE + 1)
    for path, message in (
        (text, "Invalid file type: notes.txt"),
        (disguised, "'notes.png' is not a picture. Open a file of one of these kinds: AVIF"),
        (large, "exceed the maximum allowed size of 100.0 Mb"),
    ):
        browser.all("input[type=file]")[0].send_keys(str(path))
        browser.wait(lambda message=message: message in browser.messages)
    assert np.array_equal(browser.layer("hq"), before)
    assert browser.note == note
    browser.click(0.3, 0.7)
    assert len(browser.marks()) == 2


def test_the_server_itself_refuses_a_file_that_is_too_large(address):
    head = b'--edge\r\nContent-Disposition: form-data; name="files"; filename="huge.png"\r\n\r\n'
    body = head + bytes(MAX_FILE_SIZE + 1) + b"\r\n--edge--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=edge"}
    with pytest.raises(urllib.error.HTTPError, match="413"):
        urllib.request.urlopen(urllib.request.Request(f"{address}gradio_api/upload", body, headers))


def test_a_dropped_file_is_opened(browser, tmp_path):
    script = """
        const done = arguments[0];
        document.createElement('canvas').toBlob((blob) => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([blob], 'dropped.png', {type: 'image/png'}));
          const target = document.querySelector('#canvas .empty');
          target.dispatchEvent(new DragEvent('drop', {dataTransfer: transfer, bubbles: true, cancelable: true}));
          done();
        });
    """
    browser.driver.execute_async_script(script)
    browser.wait(lambda: browser.note.startswith("dropped.png · 300 x 150 pixels"))


def test_without_a_picture_one_is_told(browser):
    browser.all("#automatic")[0].click()
    browser.wait(lambda: "There is no picture: open one first." in browser.messages)


def test_another_model_can_be_chosen(browser, predictors):
    browser.sample()
    browser.click(0.5, 0.35)
    browser.all("#model input")[0].click()
    # The list fades in, and until then its options have no text to see.
    browser.wait(lambda: [o.text.strip("✓ \n") for o in browser.all("[role=option]")] == ["first", "second"])
    browser.settled(browser.all("[role=option]")[1].click)
    assert alike(browser.layer("hq"), expected(predictors, SAMPLE, browser, "second").answer.hq)
    browser.press("clear")
    browser.click(0.3, 0.7)
    assert alike(browser.layer("hq"), expected(predictors, SAMPLE, browser, "second").answer.hq)


def test_automatic_masks_are_shown_and_saved_with_numbers(browser, predictors):
    browser.sample()
    browser.press("automatic")
    session = expected(predictors, SAMPLE, browser)
    session.find_everything()
    assert f"{len(session.records)} automatic masks" in browser.note
    assert np.array_equal(browser.layer("hq"), session.mask() > 0)
    assert browser.layer("sam") is None
    assert np.array_equal(np.asarray(Image.open(browser.download("save-mask"))), session.mask())


def test_automatic_masks_that_come_late_are_not_shown_over_another_picture(browser, monkeypatch, tmp_path):
    find_everything, release, done = DemoSession.find_everything, threading.Event(), threading.Event()

    def slow(session):
        release.wait(PATIENCE)
        find_everything(session)
        done.set()

    monkeypatch.setattr(DemoSession, "find_everything", slow)
    browser.sample()
    browser.all("#automatic")[0].click()
    Image.fromarray(random_image((240, 360))).save(tmp_path / "other.png")
    browser.open(tmp_path / "other.png")
    browser.click(0.5, 0.5)
    layer = browser.layer("hq")
    release.set()
    assert done.wait(PATIENCE)
    time.sleep(2)
    assert browser.note.startswith("other.png")
    assert np.array_equal(browser.layer("hq"), layer)
    assert len(browser.marks()) == 1


def test_an_event_that_fails_is_told_and_the_page_stays_usable(browser, monkeypatch):
    browser.sample()
    browser.click(0.5, 0.35)
    monkeypatch.setattr(HQSamPredictor, "predict", lambda *args, **kwargs: 1 / 0)
    browser.click(0.3, 0.7)
    assert len(browser.marks()) == 1
    assert "That did not work (ZeroDivisionError)" in browser.messages
    monkeypatch.undo()
    browser.click(0.3, 0.7)
    assert len(browser.marks()) == 2


def test_nothing_is_fetched_from_elsewhere(browser, address):
    browser.driver.get_log("performance")
    browser.visit(address)
    browser.sample()
    browser.click(0.5, 0.35)
    events = [json.loads(entry["message"])["message"] for entry in browser.driver.get_log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    elsewhere = [url for url in asked if not url.startswith((address, "data:", "blob:"))]
    assert len(asked) > 10
    assert elsewhere == []
    with urllib.request.urlopen(address) as response:
        assert response.headers["Content-Security-Policy"].startswith("default-src 'self'")
    assert gradio.analytics.analytics_enabled() is False


def test_the_page_is_served_to_this_machine_alone(address):
    port = int(address.rstrip("/").rsplit(":", 1)[1])
    listening = [
        line.split()[1]
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        if line.split()[3] == "0A" and int(line.split()[1].split(":")[1], 16) == port
    ]
    assert listening == [f"0100007F:{port:04X}"]  # 127.0.0.1


def test_a_port_that_is_taken_is_told_in_one_line(tmp_path, capsys):
    model = save_base(tmp_path / "model")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["demo", "--model", str(model), "--port", str(port)]) == 1
    *_, last = capsys.readouterr().err.strip().splitlines()
    assert last.startswith(f"hq-sam: Cannot serve at 127.0.0.1, port {port}")
    assert last.endswith("Choose another with --host and --port.")


def test_the_command_serves_the_embedded_model_and_leaves_no_upload_behind(tmp_path):
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
            body = head + SAMPLE.read_bytes() + b"\r\n--edge--\r\n"
            headers = {"Content-Type": "multipart/form-data; boundary=edge"}
            urllib.request.urlopen(urllib.request.Request(f"{found[1]}gradio_api/upload", body, headers)).close()
            assert len(list((tmp_path / "tmp").rglob("photo.jpg"))) == 1
        finally:
            process.send_signal(signal.SIGTERM)
    assert process.returncode == 0
    assert list((tmp_path / "tmp").rglob("*.jpg")) == []


@pytest.mark.parametrize("port", [0, 70000])
def test_a_port_that_is_none_is_refused(port, capsys):
    assert main(["demo", "--model", "anything", "--port", str(port)]) == 1
    assert capsys.readouterr().err == f"hq-sam: The port must be from 1 to 65535, got {port}.\n"
