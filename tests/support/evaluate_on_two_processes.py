"""Evaluate small rows on all launched processes; each process writes its records to FOLDER/RANK."""

import sys

import torch

from hq_sam_hf import HQSamProcessor
from hq_sam_hf.evaluation.evaluator import evaluate
from support.evaluation_rows import ROWS
from support.oracle import SMALL, pair


class CountedRows(list):
    """Rows that count how often one is read."""

    read = 0

    def __getitem__(self, index):
        self.read += 1
        return super().__getitem__(index)


def evaluate_share(folder: str) -> None:
    model, rows = pair(SMALL)[1], CountedRows(ROWS)
    result = evaluate(model, HQSamProcessor.from_config(model.config), rows, prompts=("box", "points-2"))
    torch.save((rows.read, result.records), f"{folder}/{torch.distributed.get_rank()}")


if __name__ == "__main__":
    evaluate_share(sys.argv[1])
