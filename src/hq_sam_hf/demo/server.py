"""The server of the demo's page: what it listens at, its limits, and how it ends."""

import importlib.util
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from ..inference.loading import load_model
from ..inference.predictor import HQSamPredictor
from .names import shown_names
from .page import PAGE_CSS, build_page
from .request_checks import MAX_FILE_SIZE, UPLOAD_PATH, AllowedHosts, GuardedRequests
from .uploads import receive_upload, refuse_upload, server_folder

if TYPE_CHECKING:
    import gradio

logger = logging.getLogger(__name__)

MAX_WAITING = 32  # events in the queue; more are refused with a message
MAX_SESSIONS = 64  # then the user who has been away longest is forgotten


def run_demo(
    models: Sequence[str],
    host: str = "127.0.0.1",
    port: int | None = None,
    device: str | None = None,
    allowed_hosts: Sequence[str] = (),
) -> None:
    """Load the models and serve the page until the process is interrupted. Call it in the main thread.

    models: folders, Hub repositories or checkpoint files to choose from. The first one is chosen at the start.
    host: address to listen at; "0.0.0.0" lets other computers in. port: by default the first free one from 7860.
    device: by default a GPU if there is one.
    allowed_hosts: more names by which browsers may address the server, such as that of a proxy in front of it.

    The log, at level INFO, has the page's address.

    Returns after Ctrl+C. After SIGTERM and SIGHUP, it ends the process with exit code 0. In both cases uploads are
    deleted, and no result of a model that is still at work is waited for.
    """
    if importlib.util.find_spec("gradio") is None:
        raise ValueError(
            'The demo needs gradio, which is not installed. Install it with: pip install "hq-sam-hf[demo]"'
        )
    if port is not None and not 0 < port < 65536:
        raise ValueError(f"The port must be from 1 to 65535, got {port}.")
    AllowedHosts(host, allowed_hosts)  # refuses wrong names before the models are loaded
    predictors = {}
    for shown_name, name in shown_names(models).items():
        model, processor = load_model(name, device, "float32")
        predictors[shown_name] = HQSamPredictor(model, processor)
    with requests_to_end() as request:
        with server_folder() as folder:
            page = build_page(predictors, folder=folder)
            logger.info("The demo is at %s until Ctrl+C is pressed.", serve(page, host, port, allowed_hosts))
            if host not in ("127.0.0.1", "::1", "localhost"):
                logger.warning("Everyone who can reach %s can use it; there is no password.", host)
            try:
                request.wait()
            finally:
                _close(page)
        if request.number != signal.SIGINT:
            end_process()


def _close(page: "gradio.Blocks") -> None:
    """End the server, without waiting for browsers that have the page open. Its log would show this as an error."""
    log = logging.getLogger("uvicorn.error")
    log.disabled = True
    try:
        page.server.force_exit = True
        page.close(verbose=False)
    finally:
        log.disabled = False


class RequestToEnd:
    """The number of the signal by which the process was asked to end; None as long as it was not."""

    number: int | None = None

    def wait(self) -> None:
        while self.number is None:
            time.sleep(0.1)


@contextmanager
def requests_to_end() -> Iterator[RequestToEnd]:
    """Within the block, Ctrl+C, SIGTERM and SIGHUP are only noted. A signal that the process ignores stays ignored.

    Shells ignore Ctrl+C for commands in the background. `nohup` ignores SIGHUP, which comes when a terminal closes.
    """
    request = RequestToEnd()

    def handle(number: int, _: object) -> None:
        request.number = request.number or number

    names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]  # Windows has no SIGHUP
    numbers = [getattr(signal, name) for name in names]
    heeded = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
    previous = {number: signal.signal(number, handle) for number in heeded}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def end_process() -> None:
    """End the process at once, with exit code 0.

    Python does not end threads. If it ends in order while a thread runs a model, PyTorch aborts the process.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # the terminal is closed
            stream.flush()
    os._exit(0)


def serve(page: "gradio.Blocks", host: str, port: int | None, allowed_hosts: Sequence[str] = ()) -> str:
    """Serve the page in a thread, and return its address. `page.close()` ends it.

    allowed_hosts: names by which browsers may address the server, besides this computer's.

    Raises OSError if nothing can listen at this host and port.
    """
    import gradio as gr
    from starlette.middleware import Middleware
    from starlette.routing import Route

    # Routes that are given here come before gradio's own.
    app_options = {
        "middleware": [Middleware(GuardedRequests, allowed_hosts=AllowedHosts(host, allowed_hosts))],
        "routes": [
            Route(UPLOAD_PATH, receive_upload, methods=["POST"]),
            Route("/gradio_api/process_recording", refuse_upload, methods=["POST"]),
        ],
        "docs_url": None,
        "redoc_url": None,
    }

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
            app_kwargs=app_options,
        )
    except OSError as error:
        place = host if port is None else f"{host}, port {port}"
        raise OSError(f"Cannot serve at {place} ({error}). Choose another with --host and --port.") from error
    return url


__all__ = ["MAX_FILE_SIZE", "MAX_SESSIONS", "MAX_WAITING", "end_process", "run_demo", "serve"]
