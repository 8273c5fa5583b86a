"""Draw the sheet of docs/nano.md: masks that a model predicts for boxes around objects in photos.

example: python benchmarks/photo_sheet.py --model runs/nano/7_hq/final -o photos.png --objects coffee/spoon coins/large
         python benchmarks/photo_sheet.py --sam runs/nano/2_all/final -o sam.png
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
from PIL import Image, ImageDraw

from hq_sam_hf import HQSamModel, HQSamProcessor
from hq_sam_hf.data.custom import load_paired_folders
from hq_sam_hf.evaluation.evaluator import evaluate
from hq_sam_hf.evaluation.results import OUTPUT_TITLES, Evaluation
from hq_sam_hf.evaluation.worst_cases import HEIGHT, save_cases
from hq_sam_hf.utils.embedded import EMBEDDED

PHOTOS = Path(__file__).parent.parent / "tests" / "photos"
ROW = (900, 190)  # largest size of the panels of an object, in pixels
BAND = 18  # height of the title above them
GAP = 16  # between columns


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=EMBEDDED)
    parser.add_argument("--sam", type=Path, help="use a plain SAM, which has no HQ masks")
    parser.add_argument("--photos", type=Path, default=PHOTOS, help="folder with images/ and masks/NAME/OBJECT.png")
    parser.add_argument("--objects", nargs="+", metavar="NAME/OBJECT", help="objects to draw (default: all)")
    parser.add_argument("--prompt", default="box", help="a prompt of `hq-sam evaluate --prompts`")
    parser.add_argument("--columns", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path, required=True, help="the .png or .jpg file to write")
    arguments = parser.parse_args()
    datasets.disable_progress_bars()

    source = arguments.sam or arguments.model
    model = (HQSamModel.from_sam_pretrained if arguments.sam else HQSamModel.from_pretrained)(source)
    processor = HQSamProcessor.from_pretrained(source)
    dataset = load_paired_folders(arguments.photos / "images", arguments.photos / "masks")
    outputs = ["sam"] if arguments.sam else ["sam", "hq", "sum"]
    result = evaluate(model, processor, dataset, arguments.prompt, outputs, protocol="aspect")

    found = by_object(result, arguments.photos / "masks")
    missing = set(arguments.objects or ()) - set(found)
    if missing:
        parser.error(f"--objects must be among {', '.join(found)}, got {', '.join(sorted(missing))}")
    titles = {name: title(name, records) for name, records in found.items()}
    print(result.markdown(), *titles.values(), sep="\n")
    shown = arguments.objects or list(found)
    with tempfile.TemporaryDirectory() as folder:
        cases = [found[name][-1] for name in shown]
        paths = save_cases(result, cases, model, processor, dataset, folder)
        sheet([titles[name] for name in shown], paths, arguments.columns).save(arguments.output)


def by_object(result: Evaluation, masks: Path) -> dict[str, list[dict[str, Any]]]:
    """The records of the last prompt by object: {NAME/OBJECT: [one record per output]}."""
    found: dict[str, list[dict[str, Any]]] = {}
    for record in result.records:
        if record["prompt"] == result.records[-1]["prompt"]:
            objects = sorted(path.stem for path in (masks / record["name"]).iterdir())
            found.setdefault(f"{record['name']}/{objects[record['mask']]}", []).append(record)
    return found


def title(name: str, records: list[dict[str, Any]]) -> str:
    metrics = [
        f"{OUTPUT_TITLES[one['output']]} {100 * one['iou']:.1f} / {100 * one['boundary_iou']:.1f}" for one in records
    ]
    return "   |   ".join([f"{name}: {records[0]['prompt']}", "ground truth", *metrics])


def sheet(titles: Sequence[str], paths: Sequence[Path], columns: int) -> Image.Image:
    """Arrange the panels of all objects, each under its title, row by row."""
    columns = min(columns, len(paths))
    width, height = ROW[0] + GAP, ROW[1] + BAND
    canvas = Image.new("RGB", (width * columns - GAP, height * -(-len(paths) // columns)), "white")
    pen = ImageDraw.Draw(canvas)
    for i, (text, path) in enumerate(zip(titles, paths)):
        x, y = i % columns * width, i // columns * height
        with Image.open(path) as case:
            panels = case.crop((0, case.height - HEIGHT, case.width, case.height))
        panels.thumbnail(ROW, Image.Resampling.LANCZOS)
        pen.text((x + 2, y + 3), text, fill="black")
        canvas.paste(panels, (x, y + BAND))
    return canvas


if __name__ == "__main__":
    main()
