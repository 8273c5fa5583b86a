"""The path of the small checkpoint inside the package, the default model of commands."""

from pathlib import Path

# A model folder. docs/nano.md reports its quality, configs/nano/ holds its training configurations.
EMBEDDED = Path(__file__).parent.parent / "assets" / "nano"

__all__ = ["EMBEDDED"]
