"""Batch inference over many images: resumable, over several processes, images that cannot be read are skipped."""

import errno
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from ..model.image_files import describe_left_out
from ..utils.distributed import connect
from ..utils.output_lock import output_lock
from .image_files import ImageFiles
from .output_folder import COCO_ONLY, ExtraOutputs, OutputFolder

if TYPE_CHECKING:
    from accelerate import PartialState

logger = logging.getLogger(__name__)

# At the end all processes wait for the slowest one. NCCL's default would stop them after ten minutes.
TIMEOUT = timedelta(days=30)

# Errors of one file, because of its name or of another file's. All others, such as a full disk, concern all images.
ERRORS_OF_ONE_FILE = {
    errno.ENAMETOOLONG,
    errno.EILSEQ,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENOTDIR,
}


class ImageTask(ABC):
    """What a batch run predicts for each image."""

    @abstractmethod
    def options(self) -> dict[str, Any]:
        """What the masks of all images depend on, as JSON values."""

    @abstractmethod
    def load(self, device: str | None) -> None:
        """Load the model, before the first call of `predict`. device: the process's own, if there are several."""

    @abstractmethod
    def predict(self, image: Image.Image, name: str) -> Sequence[Mapping[str, Any]]:
        """The records of the masks of an image, as `masks.coco` describes them."""

    def prompts(self, name: str) -> Any:
        """What the masks of this image alone depend on, as JSON values; None if nothing."""
        return None

    def inputs(self) -> Iterable[Path]:
        """The files that are read besides the images."""
        return []


@dataclass
class RunSummary:
    """How a run ended.

    done, done_before: numbers of images that this run and earlier runs predicted.
    failed: for each image that was skipped, the reason. left_out: files in the folders that are no images.
    """

    done: int
    done_before: int
    failed: dict[str, str]
    left_out: list[str] = field(default_factory=list)


class BatchRunner:
    """Predicts the masks of many images and writes them into a folder, which `output_folder` describes.

    A run skips images that an earlier run with the same options and prompts has done. Processes that `accelerate
    launch` starts share the images.
    """

    def __init__(
        self,
        task: ImageTask,
        images: ImageFiles,
        output: str | os.PathLike,
        extra_outputs: ExtraOutputs = COCO_ONLY,
    ) -> None:
        self.task = task
        self.images = images
        self.folder = OutputFolder(output, images.root, images.options)
        self.extra_outputs = extra_outputs
        self._is_loaded = False

    def run(self) -> RunSummary | None:
        """Predict all images that are not done. Returns a summary in the main process, None in the others.

        Images that raise ValueError, need too much memory or have too long a name for an output are skipped, with a
        warning that names them. Raises ValueError if another run is writing the folder.
        """
        from accelerate import PartialState

        state = connect(PartialState, timeout=TIMEOUT)
        with output_lock(self.folder.path) if state.is_main_process else nullcontext():
            return self._run(state)

    def _run(self, state: "PartialState") -> RunSummary | None:
        from accelerate.utils import gather_object
        from tqdm.auto import tqdm

        if state.is_main_process:
            self.folder.refuse_inputs([*(self.images.root / name for name in self.images.names), *self.task.inputs()])
            read = self.images.options.as_options()
            self.folder.prepare({**self.task.options(), **read, "root": str(self.images.root)})
            if self.images.left_out:
                logger.warning("%s", describe_left_out(self.images.left_out))
        state.wait_for_everyone()
        own_names = self.images.names[state.process_index :: state.num_processes]
        device = str(state.device) if state.num_processes > 1 else None
        done = 0
        failed: dict[str, str] = {}
        for name in tqdm(own_names, unit="image", disable=None if state.is_main_process else True):
            prompts = self.task.prompts(name)
            is_done = False
            with _recorded(name, failed):
                is_done = self.folder.is_done(name, prompts)
            if name in failed:
                continue
            if not is_done:
                self._load_once(device)
            with _recorded(name, failed):
                if not is_done:
                    self._predict_and_save(name, prompts)
                self.folder.save_extra(name, self.extra_outputs)
                done += not is_done
        counts, failures = gather_object([done]), gather_object(list(failed.items()))
        if not state.is_main_process:
            return None
        summary = RunSummary(sum(counts), len(self.images.names) - sum(counts) - len(failures), dict(failures))
        summary.left_out = self.images.left_out
        self.folder.save_all([name for name in self.images.names if name not in summary.failed], self.extra_outputs)
        return summary

    def _load_once(self, device: str | None) -> None:
        """Load the model for the first image that needs it. Its errors end the run: they concern all images."""
        if not self._is_loaded:
            self.task.load(device)
            self._is_loaded = True

    def _predict_and_save(self, name: str, prompts: Any) -> None:
        image = self.images.load(name)
        records = self.task.predict(image, name)
        self.folder.save(name, (image.height, image.width), records, prompts)


@contextmanager
def _recorded(name: str, failed: dict[str, str]) -> Iterator[None]:
    """Record an error that concerns one image, and log it, instead of raising it."""
    try:
        yield
    except (ValueError, MemoryError, torch.OutOfMemoryError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in ERRORS_OF_ONE_FILE:
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        failed[name] = reason
        logger.warning("skipped %s: %s", name, reason)


__all__ = ["BatchRunner", "ImageTask", "RunSummary"]
