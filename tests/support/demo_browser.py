"""A user of the demo's page: headless Chromium, driven by Selenium."""

import base64
import importlib.util
import io
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hq_sam_hf.demo.session import DemoSession

MODULES = {"gradio": 'pip install "hq-sam-hf[demo]"', "selenium": "pip install selenium"}
MISSING = [f"{name}: {how}" for name, how in MODULES.items() if importlib.util.find_spec(name) is None]
if not (shutil.which("chromium") and shutil.which("chromedriver")):
    MISSING.append("Chromium: apt-get install chromium chromium-driver")

# The marks of tests that open the page in a browser.
NEEDS_BROWSER = [pytest.mark.slow, pytest.mark.skipif(bool(MISSING), reason=f"needs {'; '.join(MISSING)}")]

OPTIONS = (
    "--headless --no-sandbox --disable-dev-shm-usage --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update --window-size=1400,1000"
)
PATIENCE = 120  # seconds

# Options of the mask generator with which random weights find masks too.
AUTOMATIC_OPTIONS = {"points_per_side": 4, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0}


class Browser:
    """A user, with a browser of their own. Positions are fractions of the image's width and height."""

    def __init__(self, folder: Path) -> None:
        from selenium import webdriver

        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium")
        for option in OPTIONS.split():
            options.add_argument(option)
        options.add_argument(f"--user-data-dir={folder / 'profile'}")
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        self.driver = webdriver.Chrome(options, service=webdriver.ChromeService(shutil.which("chromedriver")))
        self.downloads = folder / "downloads"
        self.downloads.mkdir()

    def visit(self, address: str) -> "Browser":
        self.driver.get(address)
        self.wait(lambda: self.all("#canvas .empty") and self.all("input[type=file]"))
        return self

    def all(self, selector: str) -> list:
        return self.driver.find_elements("css selector", selector)

    def wait(self, condition):
        end = time.monotonic() + PATIENCE
        while not (result := condition()):
            assert time.monotonic() < end, f"waited in vain; the page shows {self.note!r} and {self.messages!r}"
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

    def act(self, action) -> None:
        """Do something, and wait for the result: there is a new note and nothing is pending."""
        self.driver.execute_script("document.querySelector('.note').textContent = ''")
        action()
        self.wait(lambda: self.note and not self.all(".pending"))

    def press(self, name: str) -> None:
        self.act(lambda: self.all(f"#{name}")[0].click())

    def open(self, path: Path) -> None:
        self.act(lambda: self.all("input[type=file]")[0].send_keys(str(path)))
        self.wait(self.image_is_drawn)

    def open_sample(self) -> None:
        self.press("sample")
        self.wait(self.image_is_drawn)

    def image_is_drawn(self) -> bool:
        script = "const i = document.querySelector('.image'); return i.complete && i.clientHeight > 20"
        return self.driver.execute_script(script)

    def stage(self, panel: str):
        return self.all(f"[data-panel={panel}] .stage")[0]

    def move_to(self, stage, x: float, y: float) -> Any:
        """The start of a chain of Selenium's actions, with the pointer at a position of a stage."""
        from selenium.webdriver.common.action_chains import ActionChains

        width, height = stage.size["width"], stage.size["height"]
        return ActionChains(self.driver).move_to_element_with_offset(stage, (x - 0.5) * width, (y - 0.5) * height)

    def click(self, x: float, y: float, panel: str = "hq", background: bool = False) -> None:
        move = self.move_to(self.stage(panel), x, y)
        self.act((move.context_click() if background else move.click()).perform)

    def drag(self, x1: float, y1: float, x2: float, y2: float) -> None:
        stage = self.stage("sam")
        by = (x2 - x1) * stage.size["width"], (y2 - y1) * stage.size["height"]
        self.act(self.move_to(stage, x1, y1).click_and_hold().move_by_offset(*map(round, by)).release().perform)

    def layer(self, panel: str) -> np.ndarray | None:
        """The mask that a panel shows, bool at the size of the view; None if it shows none."""
        source = self.all(f"[data-panel={panel}] .layer")[0].get_attribute("src")
        return None if not source else np.asarray(image_in(source).convert("RGBA"))[..., 3] > 0

    def image(self) -> np.ndarray:
        return np.asarray(image_in(self.all(".image")[0].get_attribute("src")))

    def marks(self, kind: str = "dot") -> list[list[float]]:
        """The position of each mark of a panel in per cent: left, top and for boxes width and height."""
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


def session_of(browser: Browser, predictors, path: Path, model: str = "first") -> DemoSession:
    """A session with the same image and with the points that the page shows, all of them on the object."""
    session = DemoSession(path, predictors, model, AUTOMATIC_OPTIONS)
    height, width = session.size
    for left, top in browser.marks("dot"):
        session.add_point(left / 100 * width - 0.5, top / 100 * height - 0.5, 1)
    return session


def nearly_equal(mask: np.ndarray, other: np.ndarray) -> bool:
    """Equal but for pixels on an outline, since the browser gives the position of a mark to six digits."""
    return mask.shape == other.shape and (mask == other).mean() > 0.9995


def image_in(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1])))
