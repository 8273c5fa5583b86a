"""The command `hq-sam`: arguments are parsed here, and one function of another package is called.

May import: data, inference, batch, evaluation, export, training, demo, utils.
"""

from .main import main

__all__ = ["main"]
