"""Benchmark ours, the original and transformers' SamHQModel side by side. Each part runs in its own process.

examples:
  python -m benchmarks.speed                                        # everything, ViT-B, float32, on the CPU
  python -m benchmarks.speed --parts encoder prompts --backbone vit_l --dtype bfloat16 --device cuda
  python -m benchmarks.speed --parts training --original-train sam-hq    # a checkout of SysCV/sam-hq
  python -m benchmarks.speed --backbone small --rounds 1            # only tests that it runs
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
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="dtype of the parts encoder and prompts")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rounds", type=int, default=5, help="rounds to measure (default: 5)")
    parser.add_argument("--threads", type=int, help="number of threads (default: as PyTorch chooses)")
    parser.add_argument("--original-train", metavar="PATH", help="checkout of SysCV/sam-hq, for the part training")
    parser.add_argument("--points-per-side", type=int, default=32, help="grid of the part automatic")
    parser.add_argument(
        "--large-masks", type=int, default=24, help="masks at once at 12 megapixels; the original uses 64 MiB for each"
    )
    parser.add_argument(
        "--cpu-time", action="store_true", help="measure CPU time, for a busy machine; with --threads 1"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="also append the Markdown table to a file")
    parser.add_argument("--rows", type=Path, help=argparse.SUPPRESS)  # of a child process
    arguments = parser.parse_args()
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    if arguments.rows is not None:
        return _measure_part(arguments)
    clock = ", CPU time" if arguments.cpu_time else ""
    setup = f"{arguments.backbone}, {arguments.dtype}, {arguments.device}{clock}"
    head = f"{date.today()}: {setup}. {machine(arguments.device)}."
    print(head, flush=True)
    rows: list[Row] = []
    failed = []
    for part in arguments.parts:
        part_rows = _in_child(part)
        rows += part_rows
        failed += [] if part_rows else [part]
        print("\n".join(row.markdown() for row in part_rows) or f"The part {part} failed.", flush=True)
    text = f"\n{head} Median (extremes) of at least {arguments.rounds} alternating rounds.\n\n{table(rows)}\n"
    print(text)
    if arguments.output is not None:
        with arguments.output.open("a") as file:
            file.write(text)
    return 1 if failed else 0


def _in_child(part: str) -> list[Row]:
    """Measure a part by running this command in a new process. Returns its rows, or none if the part failed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.json"
        command = [sys.executable, "-m", "benchmarks.speed", *sys.argv[1:], "--rows", str(path), "--parts", part]
        subprocess.run(command, check=False)
        if not path.exists():
            return []
        stored = json.loads(path.read_text())
    for row in stored:
        row["times"] = {name: Timing(**timing) for name, timing in row["times"].items()}
    return [Row(**row) for row in stored]


def _measure_part(arguments: argparse.Namespace) -> int:
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
