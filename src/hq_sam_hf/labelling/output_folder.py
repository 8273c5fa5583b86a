"""The files that a batch run writes for its images.

    OUT/options.json             what the masks depend on; a run with other options needs another folder
    OUT/annotations/NAME.json    COCO file of one image; an image that has this file is done
    OUT/overlays/NAME.jpg, OUT/label_maps/NAME.png      on request
    OUT/coco.json, OUT/parquet/                         all images, written at the end

NAME is the path of an image, with its suffix, from the folder that all images have in common. Every file is written
as a whole, so that a killed run leaves no partial files under these names.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..masks.coco import coco_annotation, record_mask, save_coco, save_label_map
from ..masks.drawing import overlay
from ..masks.json_values import json_value
from ..model.destinations import refuse_inputs
from ..model.files import readable_name, remove_leftovers, with_remedies, write_atomically
from ..model.image_reading import DEFAULT_OPTIONS, ImageOptions
from ..utils.output_lock import LOCK_FILE
from ..utils.run_options import describe_changes, read_options

ANNOTATIONS, OVERLAYS, LABEL_MAPS, PARQUET = "annotations", "overlays", "label_maps", "parquet"
OPTIONS, COCO = "options.json", "coco.json"


@dataclass(frozen=True)
class ExtraOutputs:
    """What to write besides the COCO files."""

    overlays: bool = False
    label_maps: bool = False
    parquet: bool = False


COCO_ONLY = ExtraOutputs()


class OutputFolder:
    """The output folder of a batch run.

    image_root: the folder from which images are named. image_options: how they are read.
    """

    def __init__(
        self, path: str | os.PathLike, image_root: Path, image_options: ImageOptions = DEFAULT_OPTIONS
    ) -> None:
        self.path = Path(path)
        self.image_root, self.image_options = image_root, image_options

    def prepare(self, options: Mapping[str, Any]) -> None:
        """Make the folder and write options.json.

        Raises ValueError if the folder belongs to something else, or to a run with other options.
        """
        options = json_value(options, "options")
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"The output must be a folder, but {str(self.path)!r} is a file. Name a folder.")
        self.path.mkdir(parents=True, exist_ok=True)
        file = self.path / OPTIONS
        remove_leftovers(file)
        if any(path.name != LOCK_FILE for path in self.path.iterdir()):
            earlier = read_options(file, ["root"])
            if earlier is None:
                raise ValueError(
                    f"The folder {str(self.path)!r} is not empty and holds no earlier run. Use another folder."
                )
            if any((self.path / ANNOTATIONS).rglob("*.json")):
                self._check_options(earlier, options)
        for partial in list(self.path.rglob(".*.part")):  # a killed run leaves them
            shutil.rmtree(partial) if partial.is_dir() else partial.unlink()
        write_atomically(file, lambda out: out.write(json.dumps(options, indent=1).encode()))

    def refuse_inputs(self, files: Iterable[Path]) -> None:
        """Raise ValueError if one of the files that a run reads lies where it writes."""
        files = set(files)
        folders = {file.parent for file in files}
        folders |= {Path(os.path.realpath(file)).parent for file in files if file.is_symlink()}
        for kind in (ANNOTATIONS, OVERLAYS, LABEL_MAPS, PARQUET):
            refuse_inputs(self.path / kind, folders)
        for name in (OPTIONS, COCO):
            refuse_inputs(self.path / name, (file for file in files if file.suffix.lower() == ".json"))

    def _check_options(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        changes = describe_changes(old, new)
        if changes:
            raise ValueError(
                f"The folder {str(self.path)!r} holds masks made with other options: {changes}. Use another folder."
            )

    def is_done(self, name: str, prompts: Any) -> bool:
        """Whether the image has an annotation file, made with these prompts if it was made with prompts."""
        file = self._file(ANNOTATIONS, name, ".json")
        with with_remedies(file):
            return file.is_file() and (prompts is None or _read_json(file)["info"].get("prompts") == prompts)

    def save(self, name: str, size: tuple[int, int], records: Sequence[Mapping[str, Any]], prompts: Any) -> None:
        """Write the annotation file of an image of (height, width) size. prompts: JSON values, or None."""
        annotations = [coco_annotation(record, size) for record in records]
        for kind, suffix in ((OVERLAYS, ".jpg"), (LABEL_MAPS, ".png")):
            self._file(kind, name, suffix).unlink(missing_ok=True)  # they may show masks of earlier prompts
        info = {} if prompts is None else {"prompts": prompts}
        save_coco(_with_folder(self._file(ANNOTATIONS, name, ".json")), [(name, size, annotations)], info)

    def save_extra(self, name: str, extra: ExtraOutputs) -> None:
        """Write the overlay and the label map of an image that is done, where they are wanted and missing."""
        overlay_file, label_file = self._file(OVERLAYS, name, ".jpg"), self._file(LABEL_MAPS, name, ".png")
        if extra.overlays and not overlay_file.is_file():
            _, size, annotations = self._read(name)
            pixels = np.asarray(self.image_options.load(self.image_root / name))
            drawn = overlay(pixels, (record_mask(annotation, size) for annotation in annotations))
            write_atomically(_with_folder(overlay_file), lambda file: drawn.save(file, format="JPEG", quality=90))
        if extra.label_maps and not label_file.is_file():
            _, size, annotations = self._read(name)
            save_label_map(_with_folder(label_file), annotations, size)

    def save_all(self, names: Sequence[str], extra: ExtraOutputs) -> None:
        """Write the files about all images that are done: coco.json and, if it is wanted, the data set."""
        save_coco(self.path / COCO, (self._read(name) for name in names))
        if extra.parquet and names:
            self._save_parquet(names)

    def _file(self, kind: str, name: str, suffix: str) -> Path:
        """A file of an image. The name keeps its own suffix, because a.jpg and a.png are two images."""
        return self.path / kind / f"{name}{suffix}"

    def _read(self, name: str) -> tuple[str, tuple[int, int], list[dict[str, Any]]]:
        """Name, (height, width) and annotations of an image that is done."""
        content = _read_json(self._file(ANNOTATIONS, name, ".json"))
        (image,) = content["images"]
        return name, (image["height"], image["width"]), content["annotations"]

    def _save_parquet(self, names: Sequence[str]) -> None:
        """Write images and masks as rows of a data set. Lists of a row have one entry per mask, in the same order."""
        import datasets

        from ..data.image_bytes import image_value
        from ..data.parquet import export_parquet
        from ..data.reading_options import READING_COLUMN, ReadingOptions

        text, number = datasets.Value("string"), datasets.Value("float32")
        columns = {"image": datasets.Image(), "masks": [text], "labels": [text], "scores": [number]}
        columns |= {"set": text, "name": text}
        reading = ReadingOptions(**self.image_options.as_options()).as_text()
        if reading is not None:
            columns[READING_COLUMN] = text
        features = datasets.Features(columns)

        def rows() -> Iterator[dict[str, Any]]:
            for name in names:
                _, _, annotations = self._read(name)
                yield {
                    "image": image_value(str(self.image_root / name)),
                    "masks": [json.dumps(annotation["segmentation"]) for annotation in annotations],
                    "labels": [annotation.get("label", "object") for annotation in annotations],
                    "scores": [annotation.get("predicted_iou", annotation.get("score")) for annotation in annotations],
                    "set": "masks",
                    "name": readable_name(name),
                    **({} if reading is None else {READING_COLUMN: reading}),
                }

        with (
            tempfile.TemporaryDirectory(dir=self.path, prefix=".parquet.", suffix=".part") as cache,
            _without_progress_bars(),
        ):
            try:
                dataset = datasets.Dataset.from_generator(rows, features=features, cache_dir=cache)
            except datasets.exceptions.DatasetGenerationError as error:  # around errors such as a full disk
                raise error.__cause__ or error from None
            export_parquet(dataset, self.path / PARQUET)


def _with_folder(file: Path) -> Path:
    """The same path, after its folder has been made."""
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


def _read_json(file: Path) -> dict[str, Any]:
    return json.loads(file.read_bytes())


@contextmanager
def _without_progress_bars() -> Iterator[None]:
    """Hide the progress bars of `datasets` in the block; the run has its own bar."""
    import datasets

    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()


__all__ = ["COCO_ONLY", "ExtraOutputs", "OutputFolder"]
