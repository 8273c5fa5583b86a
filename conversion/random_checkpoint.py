"""Write a model folder with random weights, to try the tools where no published checkpoint can be had.

example: python conversion/random_checkpoint.py vit_b model
"""

import argparse
from pathlib import Path

import torch

from hq_sam_hf import HQSamConfig, HQSamModel, HQSamProcessor
from hq_sam_hf.configuration_hq_sam import PRESETS

NOTICE = """\
NOTE: the weights in {folder} are random, so its masks mean nothing. They only show that the tools run.
For real masks use the published HQ-SAM checkpoints, on the Hub as syscv-community/sam-hq-vit-base,
sam-hq-vit-large and sam-hq-vit-huge."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("preset", choices=PRESETS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--image-size", type=int, default=1024)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    config = HQSamConfig.from_preset(arguments.preset, arguments.image_size)
    HQSamModel(config).save_pretrained(arguments.folder)
    HQSamProcessor.from_config(config).save_pretrained(arguments.folder)
    print(NOTICE.format(folder=arguments.folder))


if __name__ == "__main__":
    main()
