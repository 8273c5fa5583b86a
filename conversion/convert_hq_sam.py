"""The command `hq-sam convert` as a script: converts original checkpoints to safetensors folders and back.

Example: python conversion/convert_hq_sam.py sam_hq_vit_l.pth -o hq-sam-vit-l
"""

import sys

from hq_sam_hf.cli import main

if __name__ == "__main__":
    sys.exit(main(["convert", *sys.argv[1:]]))
