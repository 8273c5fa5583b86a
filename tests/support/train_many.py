"""Run the trainings of a YAML file, which holds a list of configurations, one after the other.

The command is `python -m support.train_many FILE`, for launchers that start several processes.
"""

import sys
from pathlib import Path

import yaml

from hq_sam_hf.training.config import TrainingConfig
from hq_sam_hf.training.trainer import train

if __name__ == "__main__":
    for fields in yaml.safe_load(Path(sys.argv[1]).read_text()):
        train(TrainingConfig.from_dict(fields))
