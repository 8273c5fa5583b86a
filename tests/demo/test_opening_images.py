"""Opening images on the demo's page: several users, large images, refused files, dropped files."""

import os
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hq_sam_hf.demo.server import MAX_FILE_SIZE
from hq_sam_hf.demo.session import SAMPLE_IMAGE
from support.demo_browser import NEEDS_BROWSER, nearly_equal, session_of
from support.images import random_image

pytestmark = NEEDS_BROWSER


def test_two_users_at_once_keep_their_own_images(browsers, address, predictors, tmp_path):
    paths = []
    for seed, browser in enumerate(browsers):
        paths.append(tmp_path / f"image_{seed}.png")
        Image.fromarray(random_image((240, 360), seed)).save(paths[-1])
        browser.visit(address).open(paths[-1])
    for x in (0.3, 0.6):
        for browser, path in zip(browsers, paths):
            browser.click(x, 0.5)
            assert nearly_equal(browser.layer("hq"), session_of(browser, predictors, path).result.hq)
    for browser, path in zip(browsers, paths):
        assert browser.note.startswith(path.name)
        shown = browser.image().astype(int)  # a JPEG
        differences = [np.abs(shown - np.asarray(Image.open(other))).mean() for other in paths]
        assert np.argmin(differences) == paths.index(path)
        assert browser.download("save-mask").name == f"{path.stem}_mask.png"
    browsers[0].press("clear")
    assert len(browsers[1].marks()) == 2
    left_behind = list(Path(os.environ["GRADIO_TEMP_DIR"]).rglob("image_?.png"))
    assert left_behind == []


def test_users_who_upload_the_same_file_all_work_with_it(browsers, address, predictors, tmp_path):
    path = tmp_path / "image_same.png"
    Image.fromarray(random_image((240, 360), 5)).save(path)
    for browser in browsers:
        browser.visit(address)
    for browser in browsers:  # both uploads are on their way before the first is opened
        browser.all("input[type=file]")[0].send_keys(str(path))
    for x, browser in zip((0.3, 0.6), browsers):
        browser.wait(lambda browser=browser: browser.note.startswith(path.name) and browser.image_is_drawn())
        browser.click(x, 0.5)
        assert nearly_equal(browser.layer("hq"), session_of(browser, predictors, path).result.hq)
    browsers[0].visit(address).open(path)  # a third time
    assert browsers[0].marks() == []
    assert list(Path(os.environ["GRADIO_TEMP_DIR"]).rglob("image_same.png")) == []


def test_an_image_of_50_megapixels_is_shown_reduced_and_saved_in_full_size(browser, predictors, tmp_path):
    path = tmp_path / "large.jpg"
    Image.open(SAMPLE_IMAGE).resize((8660, 5774)).save(path, quality=80)
    browser.open(path)
    assert browser.note.startswith("large.jpg · 8660 x 5774 pixels")
    assert browser.image().shape == (853, 1280, 3)
    browser.click(0.5, 0.35)
    session = session_of(browser, predictors, path)
    assert nearly_equal(browser.layer("hq"), session.result.hq)
    assert nearly_equal(np.asarray(Image.open(browser.download("save-mask"))), session.mask())


def test_a_file_that_is_no_image_is_refused_and_the_last_image_stays(browser, tmp_path):
    browser.open_sample()
    browser.click(0.5, 0.35)
    before, note = browser.layer("hq"), browser.note
    text, disguised, large = tmp_path / "notes.txt", tmp_path / "notes.png", tmp_path / "huge.png"
    text.write_text("no image")
    disguised.write_text("no image")
    with open(large, "wb") as file:
        file.truncate(MAX_FILE_SIZE + 1)
    for path, message in (
        (text, "Invalid file type: notes.txt"),
        (disguised, "'notes.png' is not an image. Open a file in one of these formats: AVIF"),
        (large, "exceed the maximum allowed size of 100.0 Mb"),
    ):
        browser.all("input[type=file]")[0].send_keys(str(path))
        browser.wait(lambda message=message: message in browser.messages)
    assert np.array_equal(browser.layer("hq"), before)
    assert browser.note == note
    browser.click(0.3, 0.7)
    assert len(browser.marks()) == 2


def test_the_server_refuses_a_file_that_is_too_large(address):
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
