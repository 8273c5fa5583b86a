"""The folder of a run: its configuration and what it was started with, to be compared on resuming."""

import json
from pathlib import Path
from typing import Any

from ..model.files import write_atomically
from .config import TrainingConfig
from .contents import refuse_other_contents
from .state_files import read_json

CONFIG_FILE = "config.yaml"
CONTENTS_FILE = "contents.json"


def refuse_another_run(output: Path, config: TrainingConfig) -> list[str]:
    """Raise ValueError if the output folder holds a run that this one does not resume.

    Return the fields whose paths differ from those of the run in the folder.
    """
    file = output / CONFIG_FILE
    if not file.is_file():
        return []
    if not config.resume:
        raise ValueError(f"{output} already holds a run. Pass --resume to continue it, or another output_dir.")
    return config.refuse_changes(_read_yaml(file))


def _read_yaml(file: Path) -> dict[str, Any]:
    import yaml

    try:
        fields = yaml.safe_load(file.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{str(file)!r} is damaged ({error}). Restore it, or choose another output_dir.") from error
    if not isinstance(fields, dict):
        raise ValueError(f"{str(file)!r} holds no fields of a run. Restore it, or choose another output_dir.")
    return fields


def refuse_changed_contents(output: Path, contents: dict[str, Any], moved: list[str]) -> None:
    """Raise ValueError if the run in the folder was started with another model or other data.

    contents: of the model and the data now. moved: fields whose paths have changed.
    """
    file = output / CONTENTS_FILE
    if not (output / CONFIG_FILE).is_file():
        return
    try:
        earlier = read_json(file) if file.is_file() else None
    except ValueError as error:
        raise ValueError(f"{error} Remove the file to resume without a check of the data.") from error
    refuse_other_contents(contents, earlier, moved)


def save_config(output: Path, config: TrainingConfig, contents: dict[str, Any]) -> None:
    """Make the folder and write what the run is started with."""
    import yaml

    output.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump({**config.to_dict(), "resume": False}, sort_keys=False)
    write_atomically(output / CONTENTS_FILE, lambda file: file.write(json.dumps(contents, indent=1).encode()))
    write_atomically(output / CONFIG_FILE, lambda file: file.write(text.encode()))


__all__ = ["refuse_another_run", "refuse_changed_contents", "save_config"]
