"""`hq-sam demo`: a web page that compares SAM with HQ-SAM."""

import argparse

from ..utils.embedded import EMBEDDED
from .arguments import add_command, add_device_argument
from .console import hide_library_bars

EXAMPLES = """\
examples: hq-sam demo
          hq-sam demo --model syscv-community/sam-hq-vit-base
          hq-sam demo --model syscv-community/sam-hq-vit-base my-model --port 8000
"""


def add_demo_command(commands: argparse._SubParsersAction) -> None:
    parser = add_command(
        commands,
        "demo",
        help="serve a web page: click on objects, compare SAM with HQ-SAM",
        description="Serve a web page on which a user clicks on objects of an image. It needs no internet connection.",
        examples=EXAMPLES,
    )
    parser.add_argument(
        "--model",
        nargs="+",
        default=[str(EMBEDDED)],
        metavar="MODEL",
        help="HQ-SAMs to choose from on the page, as folders, Hub repositories or checkpoint files (default: the "
        "small model inside the package)",
    )
    add_device_argument(parser)
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen at (default: 127.0.0.1, for this computer only)"
    )
    parser.add_argument("--port", type=int, help="port to listen at (default: the first free one from 7860)")
    parser.add_argument(
        "--allowed-hosts",
        nargs="+",
        default=[],
        metavar="NAME",
        help="more names by which browsers may address the server, such as that of a proxy in front of it, without "
        "scheme and port (default: the names of this computer; with --host for other computers, any IP address too)",
    )
    parser.set_defaults(run=run_demo, log_format="%(asctime)s %(message)s")


def run_demo(arguments: argparse.Namespace) -> None:
    from ..demo.server import end_process, run_demo

    hide_library_bars()
    run_demo(arguments.model, arguments.host, arguments.port, arguments.device, arguments.allowed_hosts)
    end_process()


__all__ = ["add_demo_command"]
