"""The web page behind `hq-sam demo`: a session per user, the page's panels, and the server.

May import: model, masks, inference, utils.
"""

from typing import TYPE_CHECKING

from ..utils.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from .page import build_page
    from .server import run_demo, serve
    from .session import DemoPrompts, DemoResult, DemoSession

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "page": ["build_page"],
        "server": ["run_demo", "serve"],
        "session": ["DemoPrompts", "DemoResult", "DemoSession"],
    },
)

__all__ = ["DemoPrompts", "DemoResult", "DemoSession", "build_page", "run_demo", "serve"]
