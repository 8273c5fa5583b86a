"""Small models for the demo, its page on a server, and browsers that open it."""

import os

import pytest

from hq_sam_hf import HQSamPredictor, HQSamProcessor
from hq_sam_hf.demo.page import build_page
from hq_sam_hf.demo.server import serve
from support.demo_browser import AUTOMATIC_OPTIONS, Browser
from support.oracle import SMALL, lively_pair, pair


@pytest.fixture(scope="module")
def predictors():
    models = {"first": lively_pair(SMALL)[1], "second": pair(SMALL)[1]}
    return {name: HQSamPredictor(model, HQSamProcessor.from_config(model.config)) for name, model in models.items()}


@pytest.fixture(scope="module")
def address(predictors, tmp_path_factory):
    os.environ["GRADIO_TEMP_DIR"] = str(tmp_path_factory.mktemp("uploads"))
    page = build_page(predictors, AUTOMATIC_OPTIONS)
    yield serve(page, "127.0.0.1", None)
    page.close()
    del os.environ["GRADIO_TEMP_DIR"]


@pytest.fixture(scope="module")
def browsers(tmp_path_factory):
    two = [Browser(tmp_path_factory.mktemp("browser")) for _ in range(2)]
    yield two
    for browser in two:
        browser.driver.quit()


@pytest.fixture
def browser(browsers, address):
    """A page that was just opened. At the end its console must hold no error."""
    browser = browsers[0].visit(address)
    yield browser
    assert [entry["message"] for entry in browser.driver.get_log("browser")] == []
