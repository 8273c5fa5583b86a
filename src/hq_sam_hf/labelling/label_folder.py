"""The output folder of a labelling run, besides its shards.

OUT/options.json    what the shards depend on; a run with other options needs another folder
OUT/data/           the shards, which `shards` describes
OUT/skipped.json    the images that were skipped, with the reason of each
OUT/README.md       the card of the data set
OUT/coco.json       all masks as COCO, on request
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..masks.coco import save_coco
from ..masks.json_values import json_value
from ..model.destinations import refuse_inputs
from ..model.files import remove_leftovers, write_atomically
from ..utils.output_lock import LOCK_FILE
from ..utils.run_options import changed_options, describe_changes, read_options
from .job import LabellingJob
from .plan import Shard
from .shards import DATA, is_written, read_skipped, shard_path

OPTIONS, SKIPPED, CARD, COCO = "options.json", "skipped.json", "README.md", "coco.json"
# Without `configs`, because `datasets` would then take its cache of another folder with the same name. It finds the
# shards by their names.
_CARD = """\
---
task_categories:
- image-segmentation
- mask-generation
size_categories:
- {size}
---

# Masks by HQ-SAM

{done:,} images with masks, made by `hq-sam label` with the model `{model}`. {skipped:,} images were skipped.

| column | content |
|---|---|
| `image` | the image |
| `name` | the key of the image |
| `masks` | COCO RLE of each mask as JSON text |
| `boxes` | x, y, width, height of each mask in pixels |
| `scores` | SAM's estimate of the IoU of each mask |
| `stability_scores` | IoU of each mask at two thresholds |
| `labels`, `detection_scores` | label of each mask, and the score of its detector |
| `height`, `width` | of the image in pixels |

Masks that a model has made may be wrong. To train on them:
`hq-sam train config.yaml data='{{kind: columns, source: FOLDER, mask_column: masks}}'`
"""
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def prepare_folder(job: LabellingJob) -> None:
    """Make the output folder and write its options.

    Raises ValueError if the folder belongs to something else or to a run with other options, or if it holds images
    that the run reads.
    """
    folder, options = job.output, json_value(job.options(), "options")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"The output must be a folder, but {str(folder)!r} is a file. Name a folder.")
    refuse_inputs(folder, {file.parent for file in job.source.files()})
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / OPTIONS
    for name in (OPTIONS, SKIPPED, CARD, COCO):
        remove_leftovers(folder / name)
    if any(path.name != LOCK_FILE for path in folder.iterdir()):
        earlier = read_options(file, ("keys", "shard_size"))
        if earlier is None:
            raise ValueError(f"The folder {str(folder)!r} is not empty and holds no earlier run. Use another folder.")
        if any((folder / DATA).glob("*.parquet")):
            _check_options(folder, earlier, options)
    for partial in (folder / DATA).glob(".*.part"):  # a killed run leaves them
        partial.unlink()
    write_atomically(file, lambda out: out.write(json.dumps(options, indent=1).encode()))


def _check_options(folder: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    changed = changed_options(old, new)
    if not changed:
        return
    if changed in (["keys"], ["images", "keys"]):
        raise ValueError(
            f"The folder {str(folder)!r} holds masks of another source, or images have been added or removed since: "
            f"it had {old['images']:,} images and has {new['images']:,}. Use another folder."
        )
    changes = describe_changes(old, new)
    raise ValueError(f"The folder {str(folder)!r} holds masks made with other options: {changes}. Use another folder.")


def forget_skipped(job: LabellingJob) -> None:
    """Remove the shards that lack images, so that they are made again."""
    for shard in job.plan:
        if is_written(job.output, shard) and read_skipped(job.output, [shard]):
            shard_path(job.output, shard).unlink()


def finish_folder(job: LabellingJob, with_coco: bool) -> dict[str, str]:
    """Write the files about all images, when all shards are written. Returns the skipped images with their reasons."""
    shards = list(job.plan)
    skipped = read_skipped(job.output, shards)
    text = json.dumps(skipped, indent=1, ensure_ascii=False)
    write_atomically(job.output / SKIPPED, lambda file: file.write(text.encode("utf-8", "backslashreplace")))
    done = job.plan.images - len(skipped)
    size = next((name for limit, name in _SIZES if done < limit), "n>1M")
    model = str(job.labeller.model.name).rpartition("/")[2]
    card = _CARD.format(size=size, done=done, model=model, skipped=len(skipped))
    write_atomically(job.output / CARD, lambda file: file.write(card.encode()))
    if with_coco:
        save_coco(job.output / COCO, _coco_images(job.output, shards))
    return skipped


def _coco_images(folder: Path, shards: Sequence[Shard]) -> Iterator[tuple[str, tuple[int, int], list[dict[str, Any]]]]:
    """Name, size and annotations of each image, read from the shards one row group at a time."""
    import pyarrow.parquet

    columns = ["name", "masks", "boxes", "scores", "stability_scores", "detection_scores", "labels", "height", "width"]
    for shard in shards:
        with pyarrow.parquet.ParquetFile(shard_path(folder, shard)) as file:
            for batch in file.iter_batches(columns=columns, batch_size=64):
                for row in batch.to_pylist():
                    yield row["name"], (row["height"], row["width"]), list(_annotations(row))


def _annotations(row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    names = ("masks", "boxes", "scores", "stability_scores", "detection_scores", "labels")
    for text, box, iou, stability, score, label in zip(*(row[name] for name in names)):
        segmentation = json.loads(text)
        annotation = {
            "segmentation": segmentation,
            "bbox": box,
            "area": rle_area(segmentation),
            "iscrowd": 0,
            "predicted_iou": iou,
            "stability_score": stability,
            "label": label,
        }
        yield annotation if score is None else {**annotation, "score": score}


def rle_area(segmentation: Mapping[str, Any]) -> int:
    """The number of pixels of a mask, from its run lengths."""
    from ..masks.rle import counts_to_list

    return sum(counts_to_list(segmentation["counts"])[1::2])


def push_folder(folder: Path, repository: str, private: bool | None = None) -> str:
    """Upload the data set to the Hub. What an earlier upload has sent is not sent again. Returns its address."""
    from huggingface_hub import HfApi

    api = HfApi()
    url = api.create_repo(repository, repo_type="dataset", private=private, exist_ok=True)
    api.upload_folder(
        repo_id=url.repo_id,
        repo_type="dataset",
        folder_path=folder,
        allow_patterns=[f"{DATA}/*.parquet", CARD, SKIPPED, COCO],
        commit_message="Upload masks by HQ-SAM",
    )
    return str(url)


__all__ = ["finish_folder", "forget_skipped", "prepare_folder", "push_folder"]
