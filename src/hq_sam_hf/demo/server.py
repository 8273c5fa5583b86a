"""The server of the demo's page: what it listens at, its limits, and the folder of uploads."""

import importlib.util
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..inference.loading import load_model
from ..inference.predictor import HQSamPredictor
from .page import PAGE_CSS, build_page

if TYPE_CHECKING:
    import gradio

logger = logging.getLogger(__name__)

MAX_FILE_SIZE = 100 * 2**20
MAX_WAITING = 32  # events in the queue; more are refused with a message
MAX_SESSIONS = 64  # then the user who has been away longest is forgotten

# The browser itself refuses to load anything from elsewhere, so the page works offline and sends nothing to others.
CONTENT_POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:"


def run_demo(
    models: Sequence[str], host: str = "127.0.0.1", port: int | None = None, device: str | None = None
) -> None:
    """Load the models and serve the page until the process is interrupted. Call it in the main thread.

    models: folders, Hub repositories or checkpoint files to choose from. The first one is chosen at the start.
    host: address to listen at; "0.0.0.0" lets other computers in. port: by default the first free one from 7860.
    device: by default a GPU if there is one.

    The log, at level INFO, has the page's address.
    """
    if importlib.util.find_spec("gradio") is None:
        raise ValueError(
            'The demo needs gradio, which is not installed. Install it with: pip install "hq-sam-hf[demo]"'
        )
    if port is not None and not 0 < port < 65536:
        raise ValueError(f"The port must be from 1 to 65535, got {port}.")
    predictors = {}
    for name in models:
        model, processor = load_model(name, device, "float32")
        predictors[name] = HQSamPredictor(model, processor)
    with temporary_uploads():
        page = build_page(predictors)
        logger.info("The demo is at %s until Ctrl+C is pressed.", serve(page, host, port))
        if host not in ("127.0.0.1", "::1", "localhost"):
            logger.warning("Everyone who can reach %s can use it; there is no password.", host)
        page.block_thread()


@contextmanager
def temporary_uploads() -> Iterator[None]:
    """Let gradio store uploads in a folder that is deleted at the end, also when the process is asked to terminate."""
    previous_handler = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    previous_folder = os.environ.get("GRADIO_TEMP_DIR")
    try:
        with tempfile.TemporaryDirectory(prefix="hq-sam-demo-") as folder:
            os.environ["GRADIO_TEMP_DIR"] = folder
            yield
    finally:
        signal.signal(signal.SIGTERM, previous_handler)
        if previous_folder is None:
            del os.environ["GRADIO_TEMP_DIR"]
        else:
            os.environ["GRADIO_TEMP_DIR"] = previous_folder


def serve(page: "gradio.Blocks", host: str, port: int | None) -> str:
    """Serve the page in a thread, and return its address. `page.close()` ends it.

    Raises OSError if nothing can listen at this host and port.
    """
    import gradio as gr
    from starlette.middleware import Middleware

    font, font_mono = ["system-ui", "sans-serif"], ["ui-monospace", "monospace"]  # fonts of the user's computer
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
            theme=gr.themes.Default(primary_hue="blue", font=font, font_mono=font_mono),
            css=PAGE_CSS,
            app_kwargs={"middleware": [Middleware(_ContentPolicy)], "docs_url": None, "redoc_url": None},
        )
    except OSError as error:
        place = host if port is None else f"{host}, port {port}"
        raise OSError(f"Cannot serve at {place} ({error}). Choose another with --host and --port.") from error
    return url


class _ContentPolicy:
    """ASGI middleware that adds CONTENT_POLICY to every response."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_with_policy(message: Any) -> None:
            if message["type"] == "http.response.start":
                policy = (b"content-security-policy", CONTENT_POLICY.encode())
                message = {**message, "headers": [*message.get("headers", ()), policy]}
            await send(message)

        await self.app(scope, receive, send_with_policy)


__all__ = ["MAX_FILE_SIZE", "MAX_SESSIONS", "MAX_WAITING", "run_demo", "serve"]
