"""Batch inference over many images: resumable, over several processes, images that cannot be read are skipped."""

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from PIL import Image

from ..model.image_reading import load_image
from ..utils.distributed import connect
from .image_files import ImageFiles
from .output_folder import COCO_ONLY, ExtraOutputs, OutputFolder

logger = logging.getLogger(__name__)

# At the end all processes wait for the slowest one. NCCL's default would stop them after ten minutes.
TIMEOUT = timedelta(days=30)


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


@dataclass
class RunSummary:
    """How a run ended.

    done, done_before: numbers of images that this run and earlier runs predicted.
    failed: for each image that was skipped, the reason.
    """

    done: int
    done_before: int
    failed: dict[str, str]


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
        self.folder = OutputFolder(output, images.root)
        self.extra_outputs = extra_outputs
        self._is_loaded = False

    def run(self) -> RunSummary | None:
        """Predict all images that are not done. Returns a summary in the main process, None in the others.

        Images that raise ValueError or need too much memory are skipped, with a warning that names them.
        """
        from accelerate import PartialState
        from accelerate.utils import gather_object
        from tqdm.auto import tqdm

        state = connect(PartialState, timeout=TIMEOUT)
        if state.is_main_process:
            self.folder.prepare({**self.task.options(), "root": str(self.images.root)})
        state.wait_for_everyone()
        own_names = self.images.names[state.process_index :: state.num_processes]
        device = str(state.device) if state.num_processes > 1 else None
        done = 0
        failed: list[tuple[str, str]] = []
        for name in tqdm(own_names, unit="image", disable=None if state.is_main_process else True):
            prompts = self.task.prompts(name)
            is_done = self.folder.is_done(name, prompts)
            if not is_done:
                self._load_once(device)
            try:
                if not is_done:
                    self._predict_and_save(name, prompts)
                self.folder.save_extra(name, self.extra_outputs)
                done += not is_done
            except (ValueError, MemoryError, torch.OutOfMemoryError) as error:
                reason = " ".join(str(error).split()) or type(error).__name__
                failed.append((name, reason))
                logger.warning("skipped %s: %s", name, reason)
        counts, failures = gather_object([done]), gather_object(failed)
        if not state.is_main_process:
            return None
        summary = RunSummary(sum(counts), len(self.images.names) - sum(counts) - len(failures), dict(failures))
        self.folder.save_all([name for name in self.images.names if name not in summary.failed], self.extra_outputs)
        return summary

    def _load_once(self, device: str | None) -> None:
        """Load the model for the first image that needs it. Its errors end the run: they concern all images."""
        if not self._is_loaded:
            self.task.load(device)
            self._is_loaded = True

    def _predict_and_save(self, name: str, prompts: Any) -> None:
        image = load_image(self.images.root / name)
        records = self.task.predict(image, name)
        self.folder.save(name, (image.height, image.width), records, prompts)


__all__ = ["BatchRunner", "ImageTask", "RunSummary"]
