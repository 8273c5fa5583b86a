"""Requests to stop a run: SIGTERM, as schedulers send it, and Ctrl-C."""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

logger = logging.getLogger(__name__)


@dataclass
class StopRequest:
    """Whether the run was asked to stop, and the exit code for that."""

    received: bool = False
    exit_code: int = 0


@contextmanager
def watch_stop_signals() -> Iterator[StopRequest]:
    """Within the block, SIGTERM and Ctrl-C set a flag, to be read after each step. A second Ctrl-C stops at once.

    In a thread other than the main one, where Python allows no signal handlers, signals keep their effect.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def handle(number: int, _: object) -> None:
        request.received = True
        if number == signal.SIGINT:
            request.exit_code = 128 + signal.SIGINT  # the shells' convention, so that `train && evaluate` stops
            signal.signal(signal.SIGINT, signal.default_int_handler)
            logger.warning("stopping after this step; press Ctrl-C again to stop at once without saving")

    earlier = {signal.SIGTERM: signal.signal(signal.SIGTERM, handle)}
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # shells ignore it for commands in the background
        earlier[signal.SIGINT] = signal.signal(signal.SIGINT, handle)
    try:
        yield request
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


__all__ = ["StopRequest", "watch_stop_signals"]
