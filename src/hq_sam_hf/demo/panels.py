"""The panels of the demo's page: each creates its buttons and connects their events to the user's `DemoSession`.

Events that run a model on prompts wait in one queue, and one of them runs at a time. Automatic masks and saved files
have queues of their own, so that clicks need not wait for them.
"""

import html
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr

from ..inference.predictor import HQSamPredictor
from .canvas import CANVAS_CSS, CANVAS_HTML, CANVAS_JS, canvas_value, image_uri, milliseconds_since, to_pixel
from .names import without_folders
from .session import SAMPLE_IMAGE, DemoSession
from .uploads import discard_upload

logger = logging.getLogger(__name__)

NO_IMAGE = "There is no image: open one first. The server forgets users who were away for a long time."

# Options of gradio's event listeners.
MODEL_QUEUE: Mapping[str, Any] = {"concurrency_id": "model", "api_visibility": "private"}
FILE_QUEUE: Mapping[str, Any] = {"concurrency_id": "files", "api_visibility": "private"}
# "multiple": each click counts, also while the server still works on an earlier one.
PROMPT_EVENT: Mapping[str, Any] = {**MODEL_QUEUE, "trigger_mode": "multiple", "show_progress": "hidden"}

CLICK_ON = "() => document.querySelector('#%s').click()"


def build_canvas() -> Any:
    """The component that shows the image and the masks, and triggers `point` and `box`."""
    return gr.HTML(
        html_template=CANVAS_HTML,
        css_template=CANVAS_CSS,
        js_on_load=CANVAS_JS,
        apply_default_css=False,
        elem_id="canvas",
        image=None,
        image_id=None,
    )


class ImagePanel:
    """Opens an image: a file of the user, or the sample image."""

    def __init__(
        self,
        predictors: Mapping[str, HQSamPredictor],
        automatic_options: Mapping[str, Any],
        folder: str | os.PathLike | None,
    ) -> None:
        self.predictors = predictors
        self.automatic_options = automatic_options
        self.folder = folder
        self.upload = gr.UploadButton("Open an image", file_types=["image"], variant="primary", elem_id="open")
        self.sample = gr.Button("Sample image", elem_id="sample")

    def connect(self, session: Any, canvas: Any, model: Any) -> None:
        self.upload.upload(self.open_upload, [self.upload, model], [session, canvas], **MODEL_QUEUE)
        self.sample.click(self.open_sample, model, [session, canvas], **MODEL_QUEUE)

    def open_upload(self, path: str, model: str) -> tuple[Any, Any]:
        if not os.path.isfile(path):
            show_warning("The uploaded file is no longer on the server. Open it again.")
            return gr.skip(), gr.skip()
        try:
            return self._open(path, model)
        finally:
            discard_upload(path)  # the session has a copy

    def open_sample(self, model: str) -> tuple[Any, Any]:
        return self._open(SAMPLE_IMAGE, model)

    def _open(self, path: str | Path, model: str) -> tuple[Any, Any]:
        """A new session and its canvas; or, if the file was refused, both as they were."""
        start = time.perf_counter()
        with errors_shown():
            session = DemoSession(path, self.predictors, model, self.automatic_options, self.folder)
            image, value = image_uri(session.view), canvas_value(session, start)
            logger.info("%s: %d x %d pixels opened in %.0f ms", model, *session.size[::-1], milliseconds_since(start))
            return session, gr.HTML(image=image, image_id=session.id, value=value)
        return gr.skip(), gr.skip()


class PromptPanel:
    """Changes the prompts: clicks and drags on the canvas, and the buttons Undo and Clear."""

    def __init__(self) -> None:
        self.undo = gr.Button("Undo", elem_id="undo")
        self.clear = gr.Button("Clear", elem_id="clear")

    def connect(self, session: Any, canvas: Any) -> None:
        canvas.point(add_point, session, canvas, **PROMPT_EVENT)
        canvas.box(set_box, session, canvas, **PROMPT_EVENT)
        self.undo.click(undo, session, canvas, **PROMPT_EVENT)
        self.clear.click(clear, session, canvas, **PROMPT_EVENT)


def add_point(session: DemoSession | None, event: gr.EventData) -> Any:
    def change(session: DemoSession) -> None:
        session.add_point(*to_pixel(session, event.x, event.y), int(event.label))

    return change_session(session, change, event.number)


def set_box(session: DemoSession | None, event: gr.EventData) -> Any:
    def change(session: DemoSession) -> None:
        session.set_box(*to_pixel(session, event.x1, event.y1), *to_pixel(session, event.x2, event.y2))

    return change_session(session, change, event.number)


def undo(session: DemoSession | None) -> Any:
    return change_session(session, DemoSession.undo)


def clear(session: DemoSession | None) -> Any:
    return change_session(session, DemoSession.clear)


class AutomaticMasksPanel:
    """Finds masks of everything in the image."""

    def __init__(self) -> None:
        self.generate = gr.Button("Automatic masks", elem_id="automatic")

    def connect(self, session: Any, canvas: Any) -> None:
        self.generate.click(generate_masks, session, canvas, api_visibility="private")


def generate_masks(session: DemoSession | None) -> Any:
    def change(session: DemoSession) -> bool:
        is_newest = session.generate_masks()
        if not is_newest:
            gr.Info("The automatic masks are not shown, because the prompts were changed during the search.")
        return is_newest

    return change_session(session, change)


class ResultPanel:
    """Saves the mask and the cut-out as files that the browser downloads."""

    def __init__(self) -> None:
        self.mask = gr.Button("Save mask", elem_id="save-mask")
        self.cutout = gr.Button("Save cut-out", elem_id="save-cutout")
        # Hidden: each holds the path of the written file, and is then clicked by a script.
        self.mask_file = gr.DownloadButton(elem_id="mask-file", elem_classes="file-link")
        self.cutout_file = gr.DownloadButton(elem_id="cutout-file", elem_classes="file-link")

    def connect(self, session: Any) -> None:
        for button, save, file in (
            (self.mask, save_mask, self.mask_file),
            (self.cutout, save_cutout, self.cutout_file),
        ):
            written = button.click(save, session, file, **FILE_QUEUE)
            written.success(None, js=CLICK_ON % file.elem_id)


def save_mask(session: DemoSession | None) -> Path:
    return save(session, "mask")


def save_cutout(session: DemoSession | None) -> Path:
    return save(session, "cutout")


def save(session: DemoSession | None, kind: str) -> Path:
    """Write the file. Raises gradio's own error, after which nothing is downloaded."""
    if session is None:
        raise gr.Error(NO_IMAGE, print_exception=False)
    try:
        return session.save(kind)
    except ValueError as error:
        raise gr.Error(shown(error), print_exception=False) from error


class ModelPanel:
    """The list of models, hidden if there is only one."""

    def __init__(self, names: Sequence[str]) -> None:
        self.choice = gr.Dropdown(
            list(names), value=names[0], show_label=False, container=False, visible=len(names) > 1, elem_id="model"
        )

    def connect(self, session: Any, canvas: Any) -> None:
        options = {**PROMPT_EVENT, "show_progress": "full"}
        self.choice.input(choose_model, [session, self.choice], canvas, **options)


def choose_model(session: DemoSession | None, name: str) -> Any:
    if session is None:
        return gr.skip()
    return change_session(session, lambda session: session.choose_model(name))


def change_session(
    session: DemoSession | None, change: Callable[[DemoSession], bool | None], event: int | None = None
) -> Any:
    """Change a session and return its new canvas value. A refused change leaves the session as it was.

    change: may return False if a newer change came before it, so that there is nothing new to show.
    event: number of the canvas's click or drag.
    """
    if session is None:
        show_warning(NO_IMAGE)
        return gr.HTML(image=None, image_id=None, value=None)
    start = time.perf_counter()
    with errors_shown():
        if change(session) is False:
            return gr.skip()
    value = canvas_value(session, start, event)
    logger.info("%s: result after %.0f ms", session.model, milliseconds_since(start))
    return value


@contextmanager
def errors_shown() -> Iterator[None]:
    """Show what goes wrong inside as a message on the page, which stays usable."""
    try:
        yield
    except ValueError as error:
        show_warning(shown(error))
    except Exception as error:
        logger.exception("An event of a user failed.")
        show_warning(f"That did not work ({type(error).__name__}). The server's log has more.")


def show_warning(text: str) -> None:
    gr.Warning(text, duration=20)


def shown(error: Exception) -> str:
    """The message of an error for the page, as HTML: without folders of the server, which are nobody's business."""
    return html.escape(without_folders(str(error)))


__all__ = ["AutomaticMasksPanel", "ImagePanel", "ModelPanel", "PromptPanel", "ResultPanel", "build_canvas"]
