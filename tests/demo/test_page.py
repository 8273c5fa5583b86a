"""The demo's page in headless Chromium: clicks, boxes, buttons, automatic masks and downloads."""

import threading
import time

import numpy as np
import pytest
from PIL import Image

from hq_sam_hf import HQSamMaskGenerator, HQSamPredictor
from hq_sam_hf.demo.session import SAMPLE_IMAGE, DemoSession
from support.demo_browser import MISSING, NEEDS_BROWSER, PATIENCE, nearly_equal, session_of
from support.images import random_image

pytestmark = NEEDS_BROWSER
if not MISSING:
    from hq_sam_hf.demo import panels  # it needs gradio


def test_a_click_on_either_image_shows_the_masks_of_sam_and_hq_sam(browser, predictors):
    browser.open_sample()
    assert browser.note.startswith("coffee.jpg · 600 x 400 pixels · no prompt yet")
    browser.click(0.5, 0.35)
    ((left, top),) = browser.marks()
    assert (left, top) == pytest.approx((50, 35), abs=0.5)
    result = session_of(browser, predictors, SAMPLE_IMAGE).result
    assert 0 < result.hq.mean() < 1
    assert nearly_equal(browser.layer("sam"), result.sam)
    assert nearly_equal(browser.layer("hq"), result.hq)
    browser.click(0.3, 0.7, panel="sam")
    assert len(browser.marks()) == 2
    assert nearly_equal(browser.layer("hq"), session_of(browser, predictors, SAMPLE_IMAGE).result.hq)
    assert "score" in browser.note
    assert " ms" in browser.note


def test_background_points_a_dragged_box_undo_and_clear(browser):
    browser.open_sample()
    browser.click(0.5, 0.35)
    one_click = browser.layer("hq")
    browser.click(0.1, 0.1, background=True)
    assert (len(browser.marks("on")), len(browser.marks("off"))) == (1, 1)
    browser.all("[data-label='0']")[0].click()
    browser.click(0.9, 0.1)
    assert len(browser.marks("off")) == 2
    browser.drag(0.7, 0.8, 0.25, 0.05)
    ((left, top, width, height),) = browser.marks("box")
    assert (left, top, left + width, top + height) == pytest.approx((25, 5, 70, 80), abs=0.5)
    boxed = browser.layer("hq")
    browser.press("clear")
    assert browser.layer("hq") is browser.layer("sam") is None
    assert browser.marks("dot") == browser.marks("box") == []
    browser.press("undo")
    assert np.array_equal(browser.layer("hq"), boxed)
    browser.press("undo")
    assert browser.marks("box") == []
    browser.press("undo")
    browser.press("undo")
    assert np.array_equal(browser.layer("hq"), one_click)
    browser.press("undo")
    assert browser.layer("hq") is None


def test_quick_clicks_all_count(browser, predictors):
    browser.open_sample()
    places = [(0.2, 0.2), (0.4, 0.4), (0.6, 0.6), (0.8, 0.8)]
    for x, y in places:
        browser.move_to(browser.stage("hq"), x, y).click().perform()
    browser.wait(lambda: len(browser.marks()) == 4 and not browser.all(".pending"))
    assert nearly_equal(browser.layer("hq"), session_of(browser, predictors, SAMPLE_IMAGE).result.hq)


def test_the_mask_and_the_cutout_are_downloaded(browser, predictors):
    browser.open_sample()
    browser.all("#save-mask")[0].click()
    browser.wait(lambda: "There is no mask yet. Click on an object first." in browser.messages)
    browser.click(0.5, 0.35)
    session = session_of(browser, predictors, SAMPLE_IMAGE)
    mask, cutout = browser.download("save-mask"), browser.download("save-cutout")
    assert (mask.name, cutout.name) == ("coffee_mask.png", "coffee_cutout.png")
    assert nearly_equal(np.asarray(Image.open(mask)), session.mask())
    assert nearly_equal(np.asarray(Image.open(cutout))[..., 3] > 0, session.mask())


def test_another_model_can_be_chosen(browser, predictors):
    browser.open_sample()
    browser.click(0.5, 0.35)
    browser.all("#model input")[0].click()
    # The list fades in, and until then its options have no text to see.
    browser.wait(lambda: [o.text.strip("✓ \n") for o in browser.all("[role=option]")] == ["first", "second"])
    browser.act(browser.all("[role=option]")[1].click)
    assert nearly_equal(browser.layer("hq"), session_of(browser, predictors, SAMPLE_IMAGE, "second").result.hq)
    browser.press("clear")
    browser.click(0.3, 0.7)
    assert nearly_equal(browser.layer("hq"), session_of(browser, predictors, SAMPLE_IMAGE, "second").result.hq)


def test_automatic_masks_are_shown_and_saved_as_a_label_map(browser, predictors):
    browser.open_sample()
    browser.press("automatic")
    session = session_of(browser, predictors, SAMPLE_IMAGE)
    session.generate_masks()
    assert f"{len(session.records)} automatic masks" in browser.note
    assert np.array_equal(browser.layer("hq"), session.mask() > 0)
    assert browser.layer("sam") is None
    assert np.array_equal(np.asarray(Image.open(browser.download("save-mask"))), session.mask())


def test_late_automatic_masks_are_not_shown_over_another_image(browser, monkeypatch, tmp_path):
    generate_masks, release, done = DemoSession.generate_masks, threading.Event(), threading.Event()

    def slow(session):
        release.wait(PATIENCE)
        generate_masks(session)
        done.set()

    monkeypatch.setattr(DemoSession, "generate_masks", slow)
    browser.open_sample()
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


@pytest.fixture
def slow_search(monkeypatch):
    """A search for automatic masks ends only after this event is set."""
    generate, release = HQSamMaskGenerator.generate, threading.Event()

    def slow(generator, image):
        records = generate(generator, image)
        release.wait(PATIENCE)
        return records

    monkeypatch.setattr(HQSamMaskGenerator, "generate", slow)
    yield release
    release.set()


def test_a_click_during_a_search_is_not_overwritten_by_what_the_search_finds(browser, predictors, slow_search):
    browser.open_sample()
    browser.all("#automatic")[0].click()
    time.sleep(0.5)
    browser.click(0.5, 0.35)
    layer, note = browser.layer("hq"), browser.note
    slow_search.set()
    browser.wait(lambda: "not shown, because the prompts were changed during the search" in browser.messages)
    time.sleep(1)
    assert np.array_equal(browser.layer("hq"), layer)
    assert nearly_equal(layer, session_of(browser, predictors, SAMPLE_IMAGE).result.hq)
    assert browser.note == note
    assert len(browser.marks()) == 1
    browser.press("automatic")
    assert "automatic masks" in browser.note


def test_a_result_that_comes_after_a_newer_one_is_not_shown(browser, monkeypatch):
    """Two events run at once, and the state of the second one reaches the browser first."""
    held, canvas_value = threading.Event(), panels.canvas_value

    def late(session, start, event=None):
        value = canvas_value(session, start, event)
        if event is not None:
            held.wait(PATIENCE)
        return value

    browser.open_sample()
    monkeypatch.setattr(panels, "canvas_value", late)
    browser.move_to(browser.stage("hq"), 0.5, 0.35).click().perform()
    time.sleep(0.5)
    browser.all("#automatic")[0].click()
    browser.wait(lambda: "automatic masks" in browser.note)
    layer = browser.layer("hq")
    held.set()
    browser.wait(lambda: not browser.all(".pending"))
    assert "automatic masks" in browser.note
    assert np.array_equal(browser.layer("hq"), layer)


def test_a_button_without_an_image_shows_what_to_do(browser):
    browser.all("#automatic")[0].click()
    browser.wait(lambda: "There is no image: open one first." in browser.messages)


def test_a_failed_event_shows_a_message_and_the_page_stays_usable(browser, monkeypatch):
    browser.open_sample()
    browser.click(0.5, 0.35)
    monkeypatch.setattr(HQSamPredictor, "predict", lambda *args, **kwargs: 1 / 0)
    browser.click(0.3, 0.7)
    assert len(browser.marks()) == 1
    assert "That did not work (ZeroDivisionError)" in browser.messages
    monkeypatch.undo()
    browser.click(0.3, 0.7)
    assert len(browser.marks()) == 2
