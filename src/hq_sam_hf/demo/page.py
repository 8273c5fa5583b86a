"""The demo's web page, built with gradio: its layout and style. The panels are in `panels.py`."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..inference.predictor import HQSamPredictor
from .session import AUTOMATIC_OPTIONS

if TYPE_CHECKING:
    import gradio

HEADER = """
<h1>HQ-SAM</h1>
<p>Segment anything in high quality: click on an object, and compare SAM's mask with HQ-SAM's.</p>
"""
PAGE_CSS = """
footer, .file-link { display: none !important; }
#header .html-container, #canvas .html-container { padding: 0 !important; }
#header h1 { margin: 0; }
#header p { margin: .2rem 0 0; }
#toolbar { gap: .5rem; flex-wrap: wrap; align-items: center; }
#toolbar > button { flex: none; width: auto; min-width: 0; padding: .45rem .9rem; font-weight: 500; }
#toolbar > button { font-size: .95rem; }
#model { flex: 1 1 12rem; max-width: 20rem; }
@media (min-width: 1100px) { #undo, #save-mask, #model { margin-left: 1rem; } }
"""


def build_page(
    predictors: Mapping[str, HQSamPredictor],
    automatic_options: Mapping[str, Any] = AUTOMATIC_OPTIONS,
    folder: str | os.PathLike | None = None,
) -> "gradio.Blocks":
    """The page for these models, to be served by `hq_sam_hf.demo.server.serve`.

    predictors: models to choose from, by name. automatic_options: options of `HQSamMaskGenerator`.
    folder: existing folder for the images and files of the sessions; by default the system's temporary folder.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # gradio reads it when it is imported
    import gradio as gr

    from .panels import AutomaticMasksPanel, ImagePanel, ModelPanel, PromptPanel, ResultPanel, build_canvas

    with gr.Blocks(title="HQ-SAM", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        session = gr.State()
        gr.HTML(HEADER, elem_id="header")
        with gr.Row(elem_id="toolbar"):
            images = ImagePanel(predictors, automatic_options, folder)
            prompts = PromptPanel()
            automatic_masks = AutomaticMasksPanel()
            results = ResultPanel()
            models = ModelPanel(list(predictors))
        canvas = build_canvas()

        images.connect(session, canvas, models.choice)
        prompts.connect(session, canvas)
        automatic_masks.connect(session, canvas)
        results.connect(session)
        models.connect(session, canvas)
    return page


__all__ = ["PAGE_CSS", "build_page"]
