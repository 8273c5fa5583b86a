"""The small checkpoint inside the package: what commands use where no model is named."""

from pathlib import Path

# A model folder; docs/nano.md says what it can do, and configs/nano/ how it was trained.
EMBEDDED = Path(__file__).parent.parent / "assets" / "nano"

__all__ = ["EMBEDDED"]
