"""Time ours, the original and transformers' SamHQModel side by side, each part in a process of its own.

examples:
  python -m benchmarks.speed                                        # everything, ViT-B, float32, on the CPU
  python -m benchmarks.speed --parts encoder prompts --backbone vit_l --dtype bfloat16 --device cuda
  python -m benchmarks.speed --parts training --original-train sam-hq    # a checkout of SysCV/sam-hq
  python -m benchmarks.speed --backbone small --rounds 1            # does it run?
"""

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict
from datetime import date
from pathlib import Path

import torch

from .contenders import BACKBONES, DTYPES, Options
from .measuring import Timing, machine
from .report import Row, table

PARTS = ("load", "pictures", "encoder", "prompts", "masks", "automatic", "demo", "gradients", "training")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--backbone", choices=BACKBONES, default="vit_b")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="of the parts encoder and prompts")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rounds", type=int, default=5, help="turns of A B C that are measured")
    parser.add_argument("--threads", type=int, help="by default PyTorch's choice")
    parser.add_argument("--original-train", metavar="PATH", help="checkout of SysCV/sam-hq, for the part training")
    parser.add_argument("--points-per-side", type=int, default=32, help="of the part automatic")
    parser.add_argument(
        "--large-masks", type=int, default=24, help="masks at once at 12 Mpx; the original takes 64 MiB each"
    )
    parser.add_argument("--cpu-time", action="store_true", help="count CPU time, for a busy machine; with --threads 1")
    parser.add_argument("--output", type=Path, metavar="FILE", help="also append the Markdown to a file")
    parser.add_argument("--rows", type=Path, help=argparse.SUPPRESS)  # of a child process
    arguments = parser.parse_args()
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    if arguments.rows is not None:
        return _measure_one(arguments)
    clock = ", CPU time" if arguments.cpu_time else ""
    what = f"{arguments.backbone}, {arguments.dtype}, {arguments.device}{clock}"
    head = f"{date.today()}: {what}. {machine(arguments.device)}."
    print(head, flush=True)
    rows: list[Row] = []
    failed = []
    for part in arguments.parts:
        made = _in_child(part)
        rows += made
        failed += [] if made else [part]
        print("\n".join(row.markdown() for row in made) or f"The part {part} failed.", flush=True)
    text = f"\n{head} Median (extremes) of {arguments.rounds} rounds or more, in turns.\n\n{table(rows)}\n"
    print(text)
    if arguments.output is not None:
        with arguments.output.open("a") as file:
            file.write(text)
    return 1 if failed else 0


def _in_child(part: str) -> list[Row]:
    """The rows of a part, measured by this very command in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.json"
        command = [sys.executable, "-m", "benchmarks.speed", *sys.argv[1:], "--rows", str(path), "--parts", part]
        subprocess.run(command, check=False)
        if not path.exists():
            return []
        made = json.loads(path.read_text())
    for row in made:
        row["times"] = {name: Timing(**timing) for name, timing in row["times"].items()}
    return [Row(**row) for row in made]


def _measure_one(arguments: argparse.Namespace) -> int:
    (part,) = arguments.parts
    names = ("backbone", "dtype", "device", "rounds", "original_train", "points_per_side", "large_masks", "cpu_time")
    options = Options(**{name: getattr(arguments, name) for name in names})
    if part not in ("encoder", "prompts"):
        options.dtype = "float32"
    rows = importlib.import_module(f"benchmarks.speed.part_{part}").measure(options)
    arguments.rows.write_text(json.dumps([asdict(row) for row in rows]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
