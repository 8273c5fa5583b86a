"""The demo's web page, on gradio: `hq-sam demo`. What a visitor has is a `DemoSession`; here it is shown.

Every event that asks a model stands in one queue and takes its turn; automatic masks and files have queues of their
own, so that clicks need not wait for them.
"""

import base64
import html
import importlib.util
import io
import itertools
import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ..inference.loading import load_model
from ..inference.predictor import HQSamPredictor
from ..masks.coco import label_map
from ..masks.drawing import COLOURS, transparent_overlay
from .canvas import CANVAS_CSS, CANVAS_HTML, CANVAS_JS
from .session import AUTOMATIC_OPTIONS, DemoSession

if TYPE_CHECKING:
    import gradio

logger = logging.getLogger(__name__)

SAMPLE = Path(__file__).parent.parent / "assets" / "samples" / "coffee.jpg"
MAX_FILE_SIZE = 100 * 2**20
MAX_WAITING = 32  # events in the queue; more are refused with a message
MAX_SESSIONS = 64  # then the visitor who has been away longest is forgotten

# The browser itself refuses whatever else the page might ask for: it works offline and tells nobody.
CONTENT_POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:"

PANEL_COLOURS = {"sam": COLOURS[1], "hq": COLOURS[0]}
NO_PICTURE = "There is no picture: open one first. The server forgets those of visitors who were away for long."

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


def run_demo(
    models: Sequence[str], host: str = "127.0.0.1", port: int | None = None, device: str | None = None
) -> None:
    """Load the models and serve the page until it is interrupted. To be called in the main thread.

    models: folders, Hub repositories or checkpoint files to choose from; the first one is chosen at the start.
    host: the address to listen at; "0.0.0.0" lets other machines in. port: by default the first free one from 7860.
    device: by default a GPU where there is one.
    """
    if importlib.util.find_spec("gradio") is None:
        raise ValueError(
            'The demo needs gradio, which is not installed. Install it with: pip install "hq-sam-hf[demo]"'
        )
    if port is not None and not 0 < port < 65536:
        raise ValueError(f"The port must be from 1 to 65535, got {port}.")
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logger.setLevel(logging.INFO)
    predictors = {}
    for name in models:
        model, processor = load_model(name, device, "float32")
        predictors[name] = HQSamPredictor(model, processor)
    with _uploads_deleted_at_the_end():
        page = build_page(predictors)
        logger.info("The demo is at %s until Ctrl+C is pressed.", serve(page, host, port))
        if host not in ("127.0.0.1", "::1", "localhost"):
            logger.warning("Whoever can reach %s can use it; there is no password.", host)
        page.block_thread()


@contextmanager
def _uploads_deleted_at_the_end() -> Iterator[None]:
    """Uploads go to a folder of this server, which is deleted also when the process is asked to terminate."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)), os.environ.get("GRADIO_TEMP_DIR")
    try:
        with tempfile.TemporaryDirectory(prefix="hq-sam-demo-") as folder:
            os.environ["GRADIO_TEMP_DIR"] = folder
            yield
    finally:
        signal.signal(signal.SIGTERM, before[0])
        if before[1] is None:
            del os.environ["GRADIO_TEMP_DIR"]
        else:
            os.environ["GRADIO_TEMP_DIR"] = before[1]


def build_page(
    predictors: Mapping[str, HQSamPredictor], automatic_options: Mapping[str, Any] = AUTOMATIC_OPTIONS
) -> "gradio.Blocks":
    """The page for these models, to be served by `serve`."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported
    import gradio as gr

    def warn(problem: Exception | str) -> None:
        gr.Warning(html.escape(str(problem)), duration=20)

    @contextmanager
    def told() -> Iterator[None]:
        """What goes wrong inside becomes a message on the page."""
        try:
            yield
        except ValueError as error:
            warn(error)
        except Exception as error:  # the page must stay usable, whatever it was
            logger.exception("A visitor's event failed.")
            warn(f"That did not work ({type(error).__name__}). The server's log has more.")

    def open_picture(path: str | Path, model: str) -> tuple[Any, Any]:
        start = time.perf_counter()
        with told():
            session = DemoSession(path, predictors, model, automatic_options)
            photo = _data_uri(session.view, format="JPEG", quality=90)
            overlay = canvas_value(session, start)
            logger.info("%s: %d x %d pixels opened in %.0f ms", model, *session.size[::-1], _since(start))
            return session, gr.HTML(photo=photo, picture=session.id, value=overlay)
        return gr.skip(), gr.skip()

    def open_upload(path: str, model: str) -> tuple[Any, Any]:
        try:
            return open_picture(path, model)
        finally:
            os.unlink(path)  # the session has a copy

    def open_sample(model: str) -> tuple[Any, Any]:
        return open_picture(SAMPLE, model)

    def changed(session: DemoSession | None, change: Callable[[DemoSession], None], event: Any = None) -> Any:
        """The overlay after a change, or after one that was refused the old one and why. event: of the canvas."""
        if session is None:
            warn(NO_PICTURE)
            return gr.HTML(photo=None, picture=None, value=None)
        start = time.perf_counter()
        with told():
            change(session)
        overlay = canvas_value(session, start, None if event is None else event.number)
        logger.info("%s: answered in %.0f ms", session.model, _since(start))
        return overlay

    def add_point(session: DemoSession | None, event: gr.EventData) -> Any:
        return changed(session, lambda s: s.add_point(*_pixel(s, event.x, event.y), int(event.label)), event)

    def set_box(session: DemoSession | None, event: gr.EventData) -> Any:
        return changed(
            session, lambda s: s.set_box(*_pixel(s, event.x1, event.y1), *_pixel(s, event.x2, event.y2)), event
        )

    def undo(session: DemoSession | None) -> Any:
        return changed(session, DemoSession.undo)

    def clear(session: DemoSession | None) -> Any:
        return changed(session, DemoSession.clear)

    def choose_model(session: DemoSession | None, model: str) -> Any:
        return gr.skip() if session is None else changed(session, lambda s: s.choose_model(model))

    def find_everything(session: DemoSession | None) -> Any:
        return changed(session, DemoSession.find_everything)

    def save(session: DemoSession | None, kind: str) -> Path:
        """Raises gradio's error, so that nothing is downloaded."""
        if session is None:
            raise gr.Error(NO_PICTURE, print_exception=False)
        try:
            return session.save(kind)
        except ValueError as error:
            raise gr.Error(html.escape(str(error)), print_exception=False) from error

    def save_mask(session: DemoSession | None) -> Path:
        return save(session, "mask")

    def save_cutout(session: DemoSession | None) -> Path:
        return save(session, "cutout")

    names = list(predictors)
    with gr.Blocks(title="HQ-SAM", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        session = gr.State()
        gr.HTML(HEADER, elem_id="header")
        with gr.Row(elem_id="toolbar"):
            upload = gr.UploadButton("Open a picture", file_types=["image"], variant="primary", elem_id="open")
            sample = gr.Button("Sample photo", elem_id="sample")
            undo_button = gr.Button("Undo", elem_id="undo")
            clear_button = gr.Button("Clear", elem_id="clear")
            everything = gr.Button("Automatic masks", elem_id="automatic")
            mask_button = gr.Button("Save mask", elem_id="save-mask")
            cutout_button = gr.Button("Save cut-out", elem_id="save-cutout")
            mask_file = gr.DownloadButton(elem_id="mask-file", elem_classes="file-link")
            cutout_file = gr.DownloadButton(elem_id="cutout-file", elem_classes="file-link")
            model = gr.Dropdown(
                names, value=names[0], show_label=False, container=False, visible=len(names) > 1, elem_id="model"
            )
        canvas = gr.HTML(
            html_template=CANVAS_HTML,
            css_template=CANVAS_CSS,
            js_on_load=CANVAS_JS,
            apply_default_css=False,
            elem_id="canvas",
            photo=None,
            picture=None,
        )

        opened = {"outputs": [session, canvas], "concurrency_id": "model", "api_visibility": "private"}
        upload.upload(open_upload, [upload, model], **opened)
        sample.click(open_sample, model, **opened)
        # Each click counts, also while an earlier one is being answered.
        asked = {**opened, "outputs": canvas, "trigger_mode": "multiple", "show_progress": "hidden"}
        canvas.point(add_point, session, **asked)
        canvas.box(set_box, session, **asked)
        undo_button.click(undo, session, **asked)
        clear_button.click(clear, session, **asked)
        model.input(choose_model, [session, model], **{**asked, "show_progress": "full"})
        everything.click(find_everything, session, canvas, api_visibility="private")
        for button, handler, file in ((mask_button, save_mask, mask_file), (cutout_button, save_cutout, cutout_file)):
            saved = button.click(handler, session, file, concurrency_id="files", api_visibility="private")
            saved.success(None, js=_DOWNLOAD % file.elem_id)
    return page


_DOWNLOAD = "() => document.querySelector('#%s').click()"


def serve(page: "gradio.Blocks", host: str, port: int | None) -> str:
    """Serve the page in a thread; gives its address. `page.close()` ends it.

    Raises OSError where the host and port cannot be listened at.
    """
    import gradio as gr
    from starlette.middleware import Middleware

    fonts = ["system-ui", "sans-serif"], ["ui-monospace", "monospace"]  # of the visitor's machine
    page.queue(max_size=MAX_WAITING, default_concurrency_limit=1)
    try:
        _, url, _ = page.launch(
            server_name=host,
            server_port=port,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            max_file_size=MAX_FILE_SIZE,
            state_session_capacity=MAX_SESSIONS,
            enable_monitoring=False,
            run_history=False,
            footer_links=[],
            ssr_mode=False,
            mcp_server=False,
            pwa=False,
            theme=gr.themes.Default(primary_hue="blue", font=fonts[0], font_mono=fonts[1]),
            css=PAGE_CSS,
            app_kwargs={"middleware": [Middleware(_WithPolicy)], "docs_url": None, "redoc_url": None},
        )
    except OSError as error:
        place = host if port is None else f"{host}, port {port}"
        raise OSError(f"Cannot serve at {place} ({error}). Choose another with --host and --port.") from error
    return url


class _WithPolicy:
    """ASGI middleware: every answer carries CONTENT_POLICY."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_with_policy(message: Any) -> None:
            if message["type"] == "http.response.start":
                policy = (b"content-security-policy", CONTENT_POLICY.encode())
                message = {**message, "headers": [*message.get("headers", ()), policy]}
            await send(message)

        await self.app(scope, receive, send_with_policy)


_serial = itertools.count()


def canvas_value(session: DemoSession, start: float, answered: int | None = None) -> dict[str, Any]:
    """The value of the canvas, see `demo_canvas`; with a number, so that it differs from the one before.

    start: when the change began, by time.perf_counter(). answered: the number of the click or drag.
    """
    height, width = session.size
    value: dict[str, Any] = {"picture": session.id, "serial": next(_serial), "answered": answered}
    value |= {"sam": None, "hq": None, "points": [], "box": None}
    if session.records is not None:
        value["hq"] = _layer_uri(label_map(session.records, session.view_size), COLOURS)
        count = len(session.records)
        told = f"{count} automatic mask{'s' * (count > 1)}" if count else "no automatic mask was good enough"
    else:
        prompts, answer = session.prompts, session.answer
        value["points"] = [[(x + 0.5) / width, (y + 0.5) / height, label] for x, y, label in prompts.points]
        if prompts.box is not None:
            value["box"] = [(edge + 0.5) / side for edge, side in zip(prompts.box, (width, height) * 2)]
        if answer is not None:
            value["sam"], value["hq"] = (
                _layer_uri(mask, [PANEL_COLOURS[panel]]) for panel, mask in (("sam", answer.sam), ("hq", answer.hq))
            )
        told = "no prompt yet" if answer is None else f"score {answer.score:.2f}"
    value["note"] = " · ".join([session.name, f"{width} x {height} pixels", told, f"{_since(start):.0f} ms"])
    return value


def _pixel(session: DemoSession, x: float, y: float) -> tuple[float, float]:
    """From shares of the picture to its pixels, whose middles are whole numbers."""
    height, width = session.size
    return float(x) * width - 0.5, float(y) * height - 0.5


def _since(start: float) -> float:
    """Milliseconds"""
    return 1000 * (time.perf_counter() - start)


def _layer_uri(labels: np.ndarray, colours: Sequence[tuple[int, int, int]]) -> str:
    return _data_uri(transparent_overlay(labels, colours), format="PNG", compress_level=1)


def _data_uri(picture: Image.Image, format: str, **options: Any) -> str:
    file = io.BytesIO()
    picture.save(file, format=format, **options)
    return f"data:image/{format.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


__all__ = ["MAX_FILE_SIZE", "MAX_SESSIONS", "MAX_WAITING", "build_page", "run_demo", "serve"]
