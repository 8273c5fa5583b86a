# PYTHON_ARGCOMPLETE_OK: argcomplete looks for this mark in the module that the command's entry point names.
"""The command `hq-sam`: each module parses the arguments of one command and calls one function of another package.

May import: data, inference, labelling, evaluation, benchmarking, export, training, demo, utils.
"""

from .main import main

__all__ = ["main"]
