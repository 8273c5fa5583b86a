"""Evaluate the embedded checkpoint, or one that may replace it, on generated images that training did not use.

example: python benchmarks/nano.py --model runs/nano/7_hq/final --control token=runs/nano/control_token/final \\
             --control decoder=runs/nano/control_decoder/final --count 500 -o results
"""

import argparse
import json
from pathlib import Path
from typing import Any, get_args

from hq_sam_hf import HQSamModel, HQSamProcessor
from hq_sam_hf.evaluation.evaluator import evaluate
from hq_sam_hf.evaluation.results import Evaluation
from hq_sam_hf.model.checkpoint_format import is_hq_key
from hq_sam_hf.model.files import write_atomically
from hq_sam_hf.scenes import GROUPS, Materials, SceneGenerator
from hq_sam_hf.utils.embedded import EMBEDDED

SEED = 20261124  # of the generated images; training used the seeds 1 to 10
PROMPTS = ("box", "clicks-3")
SPLITS = ("validation", "held_out")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=EMBEDDED)
    parser.add_argument(
        "--control", action="append", default=[], metavar="NAME=FOLDER", help="tuned SAM to compare with"
    )
    parser.add_argument("--count", type=int, default=500, help="images per split")
    parser.add_argument("--materials", nargs="+", choices=get_args(Materials), default=["one"], help="of the objects")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for results.md and results.json")
    arguments = parser.parse_args()
    data = (arguments.count, arguments.materials, arguments.workers)
    columns = measure(arguments.model, ("sam", "hq", "sum"), *data)
    for control in arguments.control:
        name, _, folder = control.partition("=")
        columns[f"control: {name}"] = measure(Path(folder), ("sam",), *data)["sam"]
    text = table(columns, arguments.model, arguments.count)
    print(text)
    arguments.output.mkdir(parents=True, exist_ok=True)
    write_atomically(arguments.output / "results.md", lambda file: file.write(text.encode()))
    results = json.dumps(columns, indent=1).encode()
    write_atomically(arguments.output / "results.json", lambda file: file.write(results))


def measure(
    folder: Path, outputs: tuple[str, ...], count: int, materials: list[Materials], workers: int
) -> dict[str, dict[str, Any]]:
    """Evaluate one model: {output: {"split/group/prompt": {"masks", "miou", "mbiou"}}}.

    Groups are "solid", "thin" and "all".
    """
    model, processor = HQSamModel.from_pretrained(folder), HQSamProcessor.from_pretrained(folder)
    side = model.config.vision_config.image_size
    datasets = {
        split if kind == "one" else f"{split}, {kind} materials": SceneGenerator(
            count, SEED, side, split, materials=kind
        )
        for kind in materials
        for split in SPLITS
    }
    result = evaluate(model, processor, datasets, PROMPTS, outputs, batch_size=8, num_workers=workers, progress=True)
    # A single point is ambiguous, so it is also evaluated with SAM's best scored candidate.
    best_candidates = evaluate(
        model, processor, datasets, ("centre",), outputs, batch_size=8, num_workers=workers, multimask_output=True
    )
    return {
        output: {**_means(result, output, ""), **_means(best_candidates, output, " (multimask)")} for output in outputs
    }


def _means(result: Evaluation, output: str, suffix: str) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for group in ("all", "solid", "thin"):

        def key(record: dict[str, Any], group: str = group) -> tuple:
            counts = group in ("all", GROUPS[record["families"]])
            return (record["dataset"], record["prompt"], counts, record["output"])

        for (split, prompt, counts, of), means in result.means(key).items():
            if counts and of == output:
                found[f"{split}/{group}/{prompt}{suffix}"] = means
    return found


def table(columns: dict[str, dict[str, Any]], folder: Path, count: int) -> str:
    model = HQSamModel.from_pretrained(folder)
    weights = {name: weight.numel() for name, weight in model.named_parameters()}
    added = sum(number for name, number in weights.items() if is_hq_key(name))
    total = sum(weights.values())
    lines = [
        f"{count} images per split, seed {SEED}. mIoU / mBIoU in per cent. The HQ head adds {added:,} weights to "
        f"{total - added:,} ({100 * added / (total - added):.1f} %).",
        "",
        f"| split / group / prompt | masks | {' | '.join(columns)} |",
        f"|---|---:|{'---:|' * len(columns)}",
    ]
    for row, first in next(iter(columns.values())).items():
        cells = [f"{column[row]['miou']:.1f} / {column[row]['mbiou']:.1f}" for column in columns.values()]
        lines.append(f"| {row} | {first['masks']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
