"""One answer per picture for many pictures: resumable, over several processes, past pictures that cannot be read.

    OUT/options.json           what the answers were made with; other options need another folder
    OUT/pictures/NAME.json     COCO file of one picture; where it is, the picture is done
    OUT/overlays/NAME.jpg, OUT/label_maps/NAME.png      on request
    OUT/coco.json, OUT/parquet/                         all pictures, written at the end

NAME is the path of the picture below the folder that all have in common. Every file is whole or not there.
"""

import glob
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..data.custom import IMAGE_SUFFIXES
from ..masks.coco import coco_annotation, record_mask, save_coco, save_label_map
from ..masks.drawing import overlay
from ..model.files import write_atomically
from ..model.image_reading import load_image
from ..utils.distributed import connect

PICTURES, OVERLAYS, LABEL_MAPS, PARQUET = "pictures", "overlays", "label_maps", "parquet"

# Processes wait for the slowest of them at the end; NCCL would give up after ten minutes.
PATIENCE = timedelta(days=30)

# Gives the records of a picture of this name.
Answer = Callable[[Image.Image, str], Sequence[Mapping[str, Any]]]


@dataclass(frozen=True)
class Pictures:
    """Files below a folder, by their path from there, sorted."""

    root: Path
    names: list[str]


@dataclass(frozen=True)
class Wanted:
    """What to write besides the COCO files."""

    overlays: bool = False
    label_maps: bool = False
    parquet: bool = False


COCO_ONLY = Wanted()


@dataclass
class Report:
    """How a run ended: numbers of pictures answered now and before, and why the others failed, by name."""

    done: int
    done_before: int
    failed: dict[str, str]


def find_pictures(sources: Sequence[str | os.PathLike], leave_out: str | os.PathLike | None = None) -> Pictures:
    """The pictures that files, folders (with those below) and glob patterns name.

    leave_out: a folder whose pictures are not meant, such as the one to write to.
    """
    files: set[Path] = set()
    for path in map(Path, sources):
        if path.is_dir():
            found = [file for file in path.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file()]
            found = [file for file in found if not any(part.startswith(".") for part in file.relative_to(path).parts)]
        elif path.is_file():
            found = [path]
        else:
            found = [Path(name) for name in glob.glob(str(path), recursive=True) if os.path.isfile(name)]
        if not found:
            raise ValueError(
                f"{str(path)!r} names no picture: it is no file, no folder with pictures and matches none."
            )
        files.update(map(_absolute, found))
    if leave_out is not None:
        files = {file for file in files if not file.is_relative_to(_absolute(leave_out))}
    if not files:
        raise ValueError(f"All pictures named lie in the folder to write to, {os.fspath(leave_out or '')!r}.")
    is_folder = len(sources) == 1 and Path(sources[0]).is_dir()
    root = _absolute(sources[0]) if is_folder else Path(os.path.commonpath([file.parent for file in files]))
    return Pictures(root, sorted(file.relative_to(root).as_posix() for file in files))


def _absolute(path: str | os.PathLike) -> Path:
    return Path(os.path.abspath(path))  # also without "..", so that no name leads out of a folder


def answer_pictures(
    pictures: Pictures,
    output: str | os.PathLike,
    options: Mapping[str, Any],
    prepare: Callable[[str | None], Answer],
    wanted: Wanted = COCO_ONLY,
    prompts: Mapping[str, Any] | None = None,
) -> Report | None:
    """Answer those pictures that are not done, and collect all answers. Started by `accelerate launch`, the processes
    share the pictures.

    options: what the answers depend on, as JSON. prompts: per picture what else, as JSON; it is answered again where
        that has changed.
    prepare: loads the model, on the device it is given or by default; called only if a picture is to be answered.

    Pictures that raise ValueError or need too much memory are reported on standard error and left out. Gives the
    report, but None in other processes than the main one.
    """
    from accelerate import PartialState
    from accelerate.utils import gather_object
    from tqdm.auto import tqdm

    folder = Path(output)
    state = connect(PartialState, timeout=PATIENCE)
    if state.is_main_process:
        _prepare_folder(folder, {**options, "root": str(pictures.root)})
    state.wait_for_everyone()
    mine = pictures.names[state.process_index :: state.num_processes]
    answer: Answer | None = None
    done = 0
    failed: list[tuple[str, str]] = []
    for name in tqdm(mine, unit="picture", disable=None if state.is_main_process else True):
        prompt = None if prompts is None else prompts[name]
        is_done = _is_done(folder, name, prompt)
        if answer is None and not is_done:
            answer = prepare(str(state.device) if state.num_processes > 1 else None)
        try:
            if answer is not None and not is_done:
                _answer_one(folder, pictures.root, name, answer, prompt)
            _write_wanted(folder, pictures.root, name, wanted)
            done += not is_done
        except (ValueError, MemoryError, torch.OutOfMemoryError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            failed.append((name, reason))
            tqdm.write(f"hq-sam: left out {name}: {reason}", file=sys.stderr)
    counts, failures = gather_object([done]), gather_object(failed)
    if not state.is_main_process:
        return None
    report = Report(sum(counts), len(pictures.names) - sum(counts) - len(failures), dict(failures))
    _collect(folder, pictures, report.failed, wanted)
    return report


def _prepare_folder(folder: Path, options: Mapping[str, Any]) -> None:
    file = folder / "options.json"
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"The output must be a folder, and {str(folder)!r} is a file. Name another.")
    folder.mkdir(parents=True, exist_ok=True)
    if any((folder / PICTURES).rglob("*.json")) and file.is_file():
        old = json.loads(file.read_bytes())
        changed = sorted(key for key in {*old, *options} if old.get(key) != options.get(key))
        if changed:
            before, now = (
                {key: repr(of[key]) if key in of else "left out" for key in changed} for of in (old, options)
            )
            listing = ", ".join(f"{key} was {before[key]} and is {now[key]}" for key in changed)
            raise ValueError(f"{str(folder)!r} holds answers made with other options: {listing}. Use another folder.")
    elif any(folder.iterdir()) and not file.is_file():
        raise ValueError(f"{str(folder)!r} is not empty and not of an earlier run. Use another folder.")
    for unfinished in list(folder.rglob(".*.part")):  # what a killed run left
        shutil.rmtree(unfinished) if unfinished.is_dir() else unfinished.unlink()
    write_atomically(file, lambda out: out.write(json.dumps(dict(options), indent=1).encode()))


def _file(folder: Path, kind: str, name: str, suffix: str) -> Path:
    """The file of a picture, which keeps its own suffix: a.jpg and a.png are two pictures."""
    file = folder / kind / f"{name}{suffix}"
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


def _is_done(folder: Path, name: str, prompt: Any) -> bool:
    file = _file(folder, PICTURES, name, ".json")
    return file.is_file() and (prompt is None or _read(file)["info"].get("prompts") == prompt)


def _answer_one(folder: Path, root: Path, name: str, answer: Answer, prompt: Any) -> None:
    image = load_image(root / name)
    size = (image.height, image.width)
    annotations = [coco_annotation(record, size) for record in answer(image, name)]
    for kind, suffix in ((OVERLAYS, ".jpg"), (LABEL_MAPS, ".png")):
        _file(folder, kind, name, suffix).unlink(missing_ok=True)  # of an answer to other prompts
    info = {} if prompt is None else {"prompts": prompt}
    save_coco(_file(folder, PICTURES, name, ".json"), [(name, size, annotations)], info)


def _read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_bytes())


def _picture(folder: Path, name: str) -> tuple[str, tuple[int, int], list[dict[str, Any]]]:
    """File name, size and annotations of a picture that is done."""
    content = _read(_file(folder, PICTURES, name, ".json"))
    (image,) = content["images"]
    return name, (image["height"], image["width"]), content["annotations"]


def _write_wanted(folder: Path, root: Path, name: str, wanted: Wanted) -> None:
    overlay_file, label_file = _file(folder, OVERLAYS, name, ".jpg"), _file(folder, LABEL_MAPS, name, ".png")
    if wanted.overlays and not overlay_file.is_file():
        _, size, annotations = _picture(folder, name)
        picture = overlay(np.asarray(load_image(root / name)), (record_mask(record, size) for record in annotations))
        write_atomically(overlay_file, lambda file: picture.save(file, format="JPEG", quality=90))
    if wanted.label_maps and not label_file.is_file():
        _, size, annotations = _picture(folder, name)
        save_label_map(label_file, annotations, size)


def _collect(folder: Path, pictures: Pictures, failed: Mapping[str, str], wanted: Wanted) -> None:
    """Write what tells of all pictures."""
    names = [name for name in pictures.names if name not in failed]
    save_coco(folder / "coco.json", (_picture(folder, name) for name in names))
    if wanted.parquet and names:
        _write_parquet(folder, pictures.root, names)


def _write_parquet(folder: Path, root: Path, names: list[str]) -> None:
    """The pictures with their masks as rows of `samples`, and the numbers of the masks in lists of the same order."""
    import tempfile

    import datasets

    from ..data.parquet import export_parquet

    text, number = datasets.Value("string"), datasets.Value("float32")
    features = datasets.Features(
        {"image": datasets.Image(), "masks": [text], "labels": [text], "scores": [number], "set": text, "name": text}
    )

    def rows() -> Iterator[dict[str, Any]]:
        for name in names:
            _, _, annotations = _picture(folder, name)
            yield {
                "image": str(root / name),
                "masks": [json.dumps(annotation["segmentation"]) for annotation in annotations],
                "labels": [annotation.get("label", "object") for annotation in annotations],
                "scores": [annotation.get("predicted_iou", annotation.get("score")) for annotation in annotations],
                "set": "masks",
                "name": name,
            }

    with tempfile.TemporaryDirectory(dir=folder, prefix=".parquet.", suffix=".part") as cache, _without_bars():
        dataset = datasets.Dataset.from_generator(rows, features=features, cache_dir=cache)
        export_parquet(dataset, folder / PARQUET)


@contextmanager
def _without_bars() -> Iterator[None]:
    """Without the progress bars of datasets: the pictures had theirs."""
    import datasets

    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()


__all__ = ["COCO_ONLY", "Answer", "Pictures", "Report", "Wanted", "answer_pictures", "find_pictures"]
