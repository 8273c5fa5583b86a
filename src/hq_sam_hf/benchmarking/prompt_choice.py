"""Which prompts a benchmark's run uses, and the sources that give them."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..evaluation.prompts import parse_prompt
from ..inference.text import DetectorSpec
from .benchmarks import Benchmark
from .class_detector import ClassDetectorPrompts
from .detections import WHAT as BOXES
from .detections import read_detections
from .parts import BenchmarkPart
from .prompt_sources import (
    AnnotationPrompts,
    CoarseMaskPrompts,
    DetectionPrompts,
    PromptSource,
    TrackFolderPrompts,
)
from .tracks import WHAT as TRACKS
from .tracks import TrackFilePrompts

# The option that each kind of prompts needs.
NEEDS = {
    "detections": "--detections PATH, a detector's boxes as COCO results",
    "tracks": "--detections, a tracker's results",
    "detector": "--detector NAME, a zero-shot detector",
    "box": "--prompts box, the boxes of the ground truth",
    "mask": "--prompts mask, the coarse masks of another model",
}


@dataclass(frozen=True)
class PromptChoice:
    """The prompts of a run, as a user names them.

    prompts: "box", "box-noise-0.2" or "mask"; None where one of the others says it, or for the benchmark's usual kind.
    detections: a file, or a folder with a file per data set of SGinW or with label maps for DAVIS.
    detector: a zero-shot detector. coarse_masks: the folder of coarse masks, by default that of the images.
    """

    prompts: str | None = None
    detections: Path | None = None
    detector: DetectorSpec | None = None
    coarse_masks: Path | None = None

    def kind(self, benchmark: Benchmark) -> str:
        """One of the benchmark's kinds of prompts. Raises ValueError for a choice that does not fit the benchmark."""
        given = []
        if self.prompts is not None:
            given.append("mask" if self.prompts == "mask" else "box")
        if self.detections is not None:
            given.append("tracks" if "tracks" in benchmark.prompts else "detections")
        if self.detector is not None:
            given.append("detector")
        kind = given[0] if given else benchmark.prompts[0]
        options = "; or ".join(NEEDS[one] for one in benchmark.prompts)
        if len(given) > 1 or kind not in benchmark.prompts or (not given and kind not in ("box", "mask")):
            raise ValueError(f"The benchmark {benchmark.name} takes one kind of prompts: {options}.")
        if self.coarse_masks is not None and kind != "mask":
            raise ValueError("--coarse-masks goes with --prompts mask only. Add it, or leave the folder out.")
        if kind == "box" and self.prompts is not None and not re.fullmatch(r"box(-noise-.*)?", self.prompts):
            raise ValueError(f"A benchmark takes the prompts box, box-noise-SCALE or mask, got {self.prompts!r}.")
        return kind

    @property
    def noise(self) -> float:
        """The scale of the noise of boxes, 0 for none."""
        return parse_prompt(self.prompts).scale if self.prompts not in (None, "mask") else 0.0

    def files(self) -> dict[str, Path]:
        """The files and folders that the prompts are read from, by what they hold."""
        detector = Path(self.detector.name) if self.detector is not None else None
        given = {"detections": self.detections, "coarse masks": self.coarse_masks, "detector": detector}
        return {what: path for what, path in given.items() if path is not None and path.exists()}

    def sources(
        self, benchmark: Benchmark, parts: Sequence[BenchmarkPart], max_dets: int, device: str | None = None
    ) -> dict[str, PromptSource]:
        """The source of each part, by its name. Files of detections and tracks are read. device: for the detector."""
        kind = self.kind(benchmark)
        if kind == "box":
            for part in parts:
                if not part.has_annotations:
                    raise ValueError(
                        f"{part.name} has no annotations to take boxes from. Use {NEEDS[benchmark.prompts[0]]}."
                    )
            return {part.name: AnnotationPrompts(part) for part in parts}
        if kind == "mask":
            return {part.name: CoarseMaskPrompts(part, self.coarse_masks) for part in parts}
        if kind == "detector":
            assert self.detector is not None, "`kind` says so"
            detector = self.detector.load(device)
            return {part.name: ClassDetectorPrompts(part, detector, max_dets) for part in parts}
        return {part.name: self._of_file(benchmark, part, len(parts) > 1, max_dets) for part in parts}

    def _of_file(self, benchmark: Benchmark, part: BenchmarkPart, are_many: bool, max_dets: int) -> PromptSource:
        """The detections or tracks of a part. are_many: whether each part has a file of its own in a folder."""
        assert self.detections is not None, "`kind` says so"
        path = self.detections / f"{part.name}.json" if are_many else self.detections
        if are_many and not path.is_file():
            raise ValueError(f"{os.fspath(path)!r} is missing. The folder needs a NAME.json for each data set.")
        if benchmark.measure == "j-and-f":
            if not path.is_dir():
                raise ValueError(f"{os.fspath(path)!r} must be a folder with VIDEO/NNNNN.png, a tracker's label maps.")
            return TrackFolderPrompts(part, path)
        if path.is_dir():
            raise ValueError(
                f"{os.fspath(path)!r} is a folder. Name a file with {TRACKS if part.is_video else BOXES}."
            )
        if part.is_video:
            return TrackFilePrompts(part, path, max_dets)
        categories = set(part.category_names) if benchmark.use_categories else None
        return DetectionPrompts(read_detections(path, [image.id for image in part.images], categories, max_dets))


__all__ = ["NEEDS", "PromptChoice"]
