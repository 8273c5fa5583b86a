"""The work of `hq-sam evaluate --benchmark`: load the files and the model, predict, count, write the report."""

import hashlib
import logging
import os
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

from ..evaluation.decoding import OUTPUTS
from ..evaluation.evaluator import backbone_name
from ..evaluation.protocols import PROTOCOLS
from ..inference.loading import EMBEDDED_MODEL, ModelSpec
from ..model.modeling_hq_sam import HQSamModel
from ..model.tensor_types import ordinary_values
from ..utils.distributed import connect
from ..utils.output_lock import output_lock
from .benchmarks import BENCHMARKS, Benchmark, custom_benchmark, load_benchmark
from .parts import BenchmarkPart
from .prompt_choice import PromptChoice
from .report import REPORT_FILES, check_packages, write_report
from .result_files import write_result_files
from .run import BenchmarkRun, RunSettings
from .run_folder import RunFolder

logger = logging.getLogger(__name__)

# At the end all processes wait for the slowest one. NCCL's default would stop them after ten minutes.
TIMEOUT = timedelta(days=30)
USUAL_PROMPTS, ALL_OUTPUTS = PromptChoice(), RunSettings()


@dataclass(frozen=True)
class BenchmarkData:
    """The data of a benchmark: a name with its root folder, or custom COCO annotations with the images' folder.

    limit: use only the first images of each part, or the first videos.
    """

    name: str | None = None
    root: Path | None = None
    annotations: Path | None = None
    images: Path | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        is_custom = self.annotations is not None and self.images is not None
        if (self.name is None or self.root is None) != is_custom or (self.annotations is None) != (
            self.images is None
        ):
            raise ValueError(
                "Name a benchmark by --benchmark NAME and --root FOLDER, or custom COCO data by --annotations FILE "
                "and --images FOLDER."
            )
        if self.name is not None and self.name not in BENCHMARKS:
            raise ValueError(f"A benchmark is one of {', '.join(BENCHMARKS)}; got {self.name!r}.")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"`limit` must be at least 1, got {self.limit}. Leave it out for all images.")

    def load(self) -> tuple[Benchmark, list[BenchmarkPart]]:
        """Read the annotation files. Raises ValueError for files that are missing or wrong."""
        if self.annotations is not None and self.images is not None:
            benchmark, root = custom_benchmark(self.annotations, self.images), self.images
        else:
            benchmark, root = BENCHMARKS[str(self.name)], Path(str(self.root))
        parts = load_benchmark(benchmark, root)
        if self.limit is not None:
            parts = [first_images(part, self.limit) for part in parts]
        return benchmark, parts

    def inputs(self) -> list[Path]:
        """The files and folders that are read."""
        return [path for path in (self.root, self.annotations, self.images) if path is not None]


def first_images(part: BenchmarkPart, limit: int) -> BenchmarkPart:
    """A part with its first images, or videos, and their ground truth."""
    kind, owner = ("videos", "video_id") if part.is_video else ("images", "image_id")
    entries = part.ground_truth[kind][:limit]
    ids = {entry["id"] for entry in entries}
    images = [image for image in part.images if (image.video_id if part.is_video else image.id) in ids]
    annotations = [one for one in part.ground_truth["annotations"] if one[owner] in ids]
    return replace(part, images=images, ground_truth={**part.ground_truth, kind: entries, "annotations": annotations})


def run_benchmark(
    data: BenchmarkData,
    folder: Path,
    model: ModelSpec = EMBEDDED_MODEL,
    prompts: PromptChoice = USUAL_PROMPTS,
    settings: RunSettings = ALL_OUTPUTS,
    protocol: str | None = None,
    max_dets: int | None = None,
    workers: int = 2,
) -> str | None:
    """Predict the masks of a benchmark into a folder, which `run_folder` describes, and measure them.

    protocol: "aspect" or "stretch"; None for the benchmark's own.
    max_dets: boxes per image, or tracks per video, that are prompts and count; None for the benchmark's own.
    workers: threads that read images.

    A run goes on where an earlier one with the same options was stopped. If several processes were launched, they
    share the images. Returns the tables as Markdown in the main process, None in others.

    Raises ValueError for files that are missing or wrong, before the model is loaded, and for a folder that holds
    other files or predictions that were made with other options.
    """
    from accelerate import PartialState

    benchmark, parts = data.load()
    most = benchmark.max_dets if max_dets is None else max_dets
    _check(settings, most, protocol)
    prompts.kind(benchmark)
    if any(part.has_annotations for part in parts):
        check_packages()
    settings = replace(
        settings,
        outputs=list(dict.fromkeys(settings.outputs)),
        protocol=protocol or benchmark.protocol,
        noise=prompts.noise,
        is_exclusive=benchmark.measure == "j-and-f",
    )
    state = connect(PartialState, timeout=TIMEOUT)
    run_folder = RunFolder(folder, REPORT_FILES)
    with output_lock(folder) if state.is_main_process else nullcontext():
        if state.is_main_process:
            run_folder.check([*data.inputs(), *prompts.files().values(), model.name])
        device = str(state.device) if state.num_processes > 1 else model.device
        sources = prompts.sources(benchmark, parts, most, device)
        loaded, processor = model.load(device)
        options = _options(benchmark, parts, prompts, settings, most, loaded, data.limit)
        if state.is_main_process:
            run_folder.start(options)
            for note in (note for part in parts for note in part.notes):
                logger.warning("%s", note)
        state.wait_for_everyone()
        run = BenchmarkRun(loaded, processor, run_folder, settings, workers)
        run.run(parts, sources, state, progress=True)
        state.wait_for_everyone()
        if not state.is_main_process:
            return None
        write_result_files(run_folder, parts, settings.outputs)
        about = {"model": os.fspath(model.name), "backbone": backbone_name(loaded.config), **options}
        return write_report(folder, benchmark, parts, about)


def _check(settings: RunSettings, max_dets: int, protocol: str | None) -> None:
    if not settings.outputs or set(settings.outputs) - set(OUTPUTS):
        raise ValueError(f"`outputs` must be among {', '.join(OUTPUTS)}, got {list(settings.outputs)}.")
    if settings.batch_size < 1:
        raise ValueError(f"`batch_size` must be at least 1, got {settings.batch_size}.")
    if max_dets < 1:
        raise ValueError(f"`max_dets` must be at least 1, got {max_dets}. COCO uses 100, LVIS 300.")
    if protocol is not None and protocol not in PROTOCOLS:
        raise ValueError(f"`protocol` must be one of {', '.join(PROTOCOLS)}, got {protocol!r}.")


def _options(
    benchmark: Benchmark,
    parts: Sequence[BenchmarkPart],
    prompts: PromptChoice,
    settings: RunSettings,
    max_dets: int,
    model: HQSamModel,
    limit: int | None,
) -> dict[str, Any]:
    """What the masks depend on. Files count by their content, so that they may be moved."""
    kind = prompts.kind(benchmark)
    files = {f"{part.name}: {path.name}": path for part in parts for path in part.inputs} | prompts.files()
    return {
        "benchmark": benchmark.name,
        "images": {part.name: len(part.images) for part in parts},
        "files": {what: content_digest(path) for what, path in files.items()},
        "prompts": (prompts.prompts or kind) if kind == "box" else kind,
        **({} if prompts.detector is None else prompts.detector.as_options()),
        "max_dets": max_dets,
        **asdict(settings),
        "limit": limit,
        "image_size": model.config.vision_config.image_size,
        "dtype": str(model.dtype).removeprefix("torch."),
        "weights": model_digest(model),
    }


def content_digest(path: Path) -> str:
    """A hash of a file, or of the names and the contents of all files in a folder."""
    if not path.is_dir():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    digest = hashlib.sha256()
    for one in sorted(inner for inner in path.rglob("*") if inner.is_file()):
        digest.update(f"{one.relative_to(path).as_posix()} {content_digest(one)}\n".encode())
    return digest.hexdigest()


def model_digest(model: HQSamModel) -> str:
    """A hash of all weights, so that no run mixes the masks of two models."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        values = ordinary_values(tensor.detach())
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        if values is not None:  # else it is offloaded, and counts by its name and shape
            digest.update(values.cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


__all__ = ["BenchmarkData", "content_digest", "first_images", "model_digest", "run_benchmark"]
