"""Published results on the benchmarks, to compare with measured ones."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..evaluation.paper_results import AVERAGE, FOUR_SETS, PAPER, is_whole_set, paper_result

PA_SAM = "PA-SAM (arXiv 2401.13051)"
HQ_SAM_2 = "README of HQ-SAM 2"
GROUND_TRUTH = "ground truth"
TITLES = {"vit_b": "ViT-B", "vit_l": "ViT-L", "vit_h": "ViT-H", "vit_tiny": "ViT-Tiny"}


@dataclass(frozen=True)
class Published:
    """A published row of a benchmark.

    method: such as "HQ-SAM ViT-L". values: by metric, in per cent. source: paper and table.
    prompts: the kind of prompts, as in a run's options. boxes: where they came from, for readers.
    backbone, output: with which measured rows it is compared: the backbone's published name, and "sam" or "hq", which
        stands for SAM + HQ too. None for a row that only stands beside them.
    """

    method: str
    values: Mapping[str, float]
    source: str
    prompts: str
    boxes: str
    backbone: str | None = None
    output: str | None = None


def published_results(benchmark: str, part: str | None = None) -> list[Published]:
    """The published rows of a benchmark, or of one of its parts. part: None for the mean of all."""
    if benchmark == "hqseg":
        return list(_four_sets(AVERAGE if part is None else part))
    return [] if part is not None else _RESULTS.get(benchmark, [])


def _pair(
    backbone: str,
    metrics: str,
    sam: str,
    hq: str,
    source: str,
    prompts: tuple[str, str],
    names: tuple[str, str] | None = None,
) -> list[Published]:
    """The rows of SAM and HQ-SAM. sam, hq: values in the order of `metrics`, "-" for none. prompts: kind, boxes."""
    title = TITLES[backbone]
    methods = names or (f"SAM {title}", f"HQ-SAM {title}")
    return [
        Published(method, _values(metrics, values), source, *prompts, backbone, output)
        for method, values, output in zip(methods, (sam, hq), ("sam", "hq"))
    ]


def _values(metrics: str, values: str) -> dict[str, float]:
    return {name: float(value) for name, value in zip(metrics.split(), values.split()) if value != "-"}


_COCO = "AP_B AP APl APm APs"
_TABLE_10 = f"{PAPER}, Table 10"
_UVO = "AP_B_strict AP75_B_strict AP50_B_strict AP_B AP75_B AP50_B AP"
_LVIS = "AP_B_strict AP75_B_strict AP_B AP75_B AP"
_HQ_YTVIS = "AP_B AP75_B AP50_B AP AP75 AP50"
_YTVIS = "AP AP50 AP75 APl APm APs"
_BOX = ("box", GROUND_TRUTH)
_DINO = ("detections", "FocalNet-L-DINO")
_GROUNDING_DINO = ("detector", "Grounding DINO Swin-B")
_MASK2FORMER = ("tracks", "Mask2Former Swin-L")

_RESULTS: dict[str, list[Published]] = {
    "coco": [
        *_pair("vit_b", _COCO, "28.2 44.4 57.7 48.7 32.1", "31.3 46.7 62.9 50.5 32.0", _TABLE_10, _DINO),
        *_pair("vit_l", _COCO, "33.3 48.5 63.9 53.1 34.1", "34.4 49.5 66.2 53.8 33.9", _TABLE_10, _DINO),
        *_pair("vit_h", _COCO, "34.0 48.9 64.5 53.3 34.4", "34.9 49.9 66.5 54.0 34.2", _TABLE_10, _DINO),
        *_pair(
            "vit_tiny",
            _COCO,
            "28.6 44.3 61.8 48.1 28.8",
            "29.6 45.0 62.8 48.8 29.2",
            f"{_TABLE_10}; sizes: README",
            _DINO,
            ("MobileSAM", "Light HQ-SAM"),
        ),
        Published("SAM 2.1 Hiera-L", {"AP": 50.0}, HQ_SAM_2, *_DINO),
        Published("HQ-SAM 2 Hiera-L", {"AP": 50.9}, HQ_SAM_2, *_DINO),
    ],
    "uvo": _pair(
        "vit_l",
        _UVO,
        "8.6 3.7 25.6 17.3 14.4 37.7 29.7",
        "9.9 5.0 28.2 18.5 16.3 38.6 30.1",
        PAPER,
        ("detections", "FocalNet-L-DINO, trained on COCO"),
    ),
    "lvis": _pair(
        "vit_l", _LVIS, "32.1 32.8 38.5 40.9 43.6", "32.5 33.5 38.8 41.2 43.9", PAPER, ("detections", "ViTDet-H")
    ),
    "big": [
        *_pair("vit_l", "mIoU mBIoU", "81.1 70.4", "86.0 75.3", PAPER, _BOX),
        *_pair("vit_l", "mIoU mBIoU", "66.6 41.8", "86.9 75.1", PAPER, ("mask", "masks of PSPNet")),
    ],
    "sginw": [
        *_pair("vit_h", "AP", "48.7", "49.6", PAPER, _GROUNDING_DINO),
        Published("SAM 2.1 Hiera-L", {"AP": 49.5}, HQ_SAM_2, *_GROUNDING_DINO),
        Published("HQ-SAM 2 Hiera-L", {"AP": 50.0}, HQ_SAM_2, *_GROUNDING_DINO),
    ],
    "hq-ytvis": _pair(
        "vit_l", _HQ_YTVIS, "30.2 19.1 72.9 60.7 68.1 90.5", "34.0 24.3 79.5 63.6 70.5 91.1", PAPER, _MASK2FORMER
    ),
    "ytvis": _pair(
        "vit_l", _YTVIS, "51.8 82.1 55.4 65.5 52.0 34.2", "53.2 82.9 58.3 66.4 53.3 33.7", PAPER, _MASK2FORMER
    ),
    "davis": [
        *_pair("vit_l", "J&F J F", "82.0 79.0 84.9", "83.2 80.3 86.1", PAPER, ("tracks", "XMem")),
        Published("SAM 2.1 Hiera-L", {"J&F": 89.8}, HQ_SAM_2, "mask", "mask of the first frame"),
        Published("HQ-SAM 2 Hiera-L", {"J&F": 91.0}, HQ_SAM_2, "mask", "mask of the first frame"),
    ],
}

# The images of the whole sets.
_IMAGES = {"coco": 5000, "lvis": 19_809, "big": 100}


def is_whole(benchmark: str, images: Mapping[str, int], part: str | None = None) -> bool:
    """Whether the parts, or one of them, can be all that the published results are of, by their numbers of images.

    benchmark: where the number of its images is not known here, any number counts as all of them.
    """
    if benchmark == "hqseg":
        names = FOUR_SETS if part is None else (part,)
        sizes = [(name, images.get(name, 0)) for name in names]
        is_all = part is not None or set(images) == set(FOUR_SETS)
        return is_all and all(is_whole_set(name, size, size) for name, size in sizes)
    return _IMAGES.get(benchmark, sum(images.values())) == sum(images.values())


_PA_SAM = dict(zip((*FOUR_SETS, AVERAGE), ("81.5 73.9", "95.8 92.1", "94.6 88.0", "92.7 84.0", "91.2 84.5")))


def _four_sets(set_name: str) -> Iterator[Published]:
    """The rows of one of HQSeg-44K's validation sets, or of their average."""
    for backbone, title in TITLES.items():
        for prompt in ("box", "box-noise-0.2", "box-noise-0.4"):
            for method, output in ((f"SAM {title}", "sam"), (f"HQ-SAM {title}", "hq")):
                result = paper_result(backbone, set_name, prompt, output)
                if result is not None and result.miou is not None and result.mbiou is not None:
                    values = {"mIoU": result.miou, "mBIoU": result.mbiou}
                    yield Published(method, values, result.source, prompt, GROUND_TRUTH, backbone, output)
    if set_name in _PA_SAM:
        yield Published("PA-SAM ViT-L", _values("mIoU mBIoU", _PA_SAM[set_name]), PA_SAM, *_BOX)


__all__ = ["Published", "is_whole", "published_results"]
