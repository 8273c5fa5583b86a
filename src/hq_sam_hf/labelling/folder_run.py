"""Label image files into a folder of mask files: resumable, over the processes of a launcher.

`hq-sam generate` and `hq-sam segment` on many images do this. `run.label_images` writes a data set instead.
"""

import errno
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..model.image_files import describe_left_out
from ..utils.distributed import connect
from ..utils.output_lock import output_lock
from .examples import Example, ImagePlace, ImageRecord
from .image_files import ImageFiles
from .labeller import Labeller, LabellerSpec, label_batch
from .output_folder import COCO_ONLY, ExtraOutputs, OutputFolder
from .preparation import reason
from .prompt_files import ObjectPrompt

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


@dataclass(frozen=True)
class ImagePrompting:
    """What is asked for in the images: everything in them, or the objects of prompts or of text.

    prompts: the objects of each image, by its name. text: labels that a detector looks for in all images.
    files: files that are read besides the images, which no output may replace.
    as_written: turns the record of a mask into the form that is written.
    """

    prompts: Mapping[str, Sequence[ObjectPrompt]] | None = None
    text: Sequence[str] | None = None
    files: Iterable[Path] = ()
    as_written: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict


EVERYTHING = ImagePrompting()


class FolderRun:
    """Labels image files and writes their masks into a folder, which `output_folder` describes.

    A run skips images that an earlier run with the same options and prompts has done. Processes that `accelerate
    launch` starts share the images.
    """

    def __init__(
        self,
        images: ImageFiles,
        output: str | os.PathLike,
        labeller: LabellerSpec,
        prompting: ImagePrompting = EVERYTHING,
        extra_outputs: ExtraOutputs = COCO_ONLY,
    ) -> None:
        self.images, self.spec, self.prompting = images, labeller, prompting
        self.folder = OutputFolder(output, images.root, images.options)
        self.extra_outputs = extra_outputs
        self._labeller: Labeller | None = None
        self._failed: dict[str, str] = {}

    def run(self) -> RunSummary | None:
        """Label all images that are not done. Returns a summary in the main process, None in the others.

        Images that cannot be read or labelled, need too much memory or have too long a name for an output are skipped,
        with a warning that names them. Raises ValueError if another run is writing the folder.
        """
        from accelerate import PartialState

        state = connect(PartialState, timeout=TIMEOUT)
        with output_lock(self.folder.path) if state.is_main_process else nullcontext():
            return self._run(state)

    def _run(self, state: "PartialState") -> RunSummary | None:
        from accelerate.utils import gather_object
        from tqdm.auto import tqdm

        names = self.images.names
        if state.is_main_process:
            self.folder.refuse_inputs([*(self.images.root / name for name in names), *self.prompting.files])
            self.folder.prepare({**self._options(), "root": str(self.images.root)})
            if self.images.left_out:
                logger.warning("%s", describe_left_out(self.images.left_out))
        state.wait_for_everyone()
        device = str(state.device) if state.num_processes > 1 else None
        own = names[state.process_index :: state.num_processes]
        done = sum(
            self._label(name, device)
            for name in tqdm(own, unit="image", disable=None if state.is_main_process else True)
        )
        counts, failures = gather_object([done]), gather_object(list(self._failed.items()))
        if not state.is_main_process:
            return None
        summary = RunSummary(sum(counts), len(names) - sum(counts) - len(failures), dict(failures))
        summary.left_out = self.images.left_out
        self.folder.save_all([name for name in names if name not in summary.failed], self.extra_outputs)
        return summary

    def _options(self) -> dict[str, Any]:
        text = {} if self.prompting.text is None else {"text": list(self.prompting.text)}
        return {**self.spec.as_options(), **text}

    def _prompts(self, name: str) -> Any:
        """The prompts of an image as JSON values; None if there are none."""
        prompts = self.prompting.prompts
        return None if prompts is None else [prompt.as_dict() for prompt in prompts[name]]

    def _label(self, name: str, device: str | None) -> bool:
        """Label an image that is not done. Returns whether this call has done it."""
        is_done = False
        with self._recorded(name):
            is_done = self.folder.is_done(name, self._prompts(name))
        if name in self._failed:
            return False
        if not is_done:
            if self._labeller is None:
                # Errors of loading end the run: they concern all images.
                self._labeller = self.spec.load(device)
            # A batch of one, so that a run that goes on after a stop gives the same bits as one without it.
            (record,) = label_batch([self._example(name)], self._labeller)
            self._save(record)
        if name not in self._failed:
            with self._recorded(name):
                self.folder.save_extra(name, self.extra_outputs)
        return not is_done and name not in self._failed

    def _example(self, name: str) -> Example:
        prompts = self.prompting.prompts
        place = ImagePlace(str(self.images.root / name))
        return Example(name, place, None if prompts is None else prompts[name], self.prompting.text)

    def _save(self, record: ImageRecord) -> None:
        if record.problem is not None or record.size is None:
            self._fail(record.key, record.problem or "it has no size")
            return
        with self._recorded(record.key):
            masks = [self.prompting.as_written(mask) for mask in record.masks]
            self.folder.save(record.key, record.size, masks, self._prompts(record.key))

    @contextmanager
    def _recorded(self, name: str) -> Iterator[None]:
        """Record an error that concerns one image, and log it, instead of raising it."""
        try:
            yield
        except (ValueError, MemoryError, OSError) as error:
            if isinstance(error, OSError) and error.errno not in ERRORS_OF_ONE_FILE:
                raise
            self._fail(name, reason(error))

    def _fail(self, name: str, problem: str) -> None:
        self._failed[name] = problem
        logger.warning("skipped %s: %s", name, problem)


__all__ = ["EVERYTHING", "FolderRun", "ImagePrompting", "RunSummary"]
