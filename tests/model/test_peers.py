"""What the README says about transformers' own port, `SamHQModel`. Where a release mends it, the README must change.

`test_loading` shows that its masks are not the original's.
"""

import inspect

import pytest
import torch
from PIL import Image
from transformers import SamHQConfig, SamHQModel, SamHQProcessor, SamImageProcessor

from hq_sam_hf import HQSamProcessor
from support.checkpoints import transformers_config
from support.oracle import SMALL, pair

IMAGES = [Image.new("RGB", (80, 60)), Image.new("RGB", (60, 80))]
ONE_BOX_AND_TWO = [[[10.0, 10.0, 40.0, 40.0]], [[5.0, 5.0, 30.0, 30.0], [10.0, 20.0, 50.0, 60.0]]]


def test_transformers_computes_no_loss():
    model = SamHQModel(transformers_config(SamHQConfig)).eval()
    pixels = torch.zeros(1, 3, SMALL.image, SMALL.image)
    with torch.no_grad():
        output = model(pixels, input_points=torch.tensor([[[[8.0, 8.0]]]]), labels=torch.zeros(1, 1, 32, 32))
    assert "loss" not in output
    assert "labels" not in inspect.signature(SamHQModel.forward).parameters


def test_transformers_refuses_images_with_different_numbers_of_boxes_and_we_do_not():
    processor = SamHQProcessor(SamImageProcessor())
    with pytest.raises(ValueError, match="batched tensors|same length|inhomogeneous"):
        processor(IMAGES, input_boxes=ONE_BOX_AND_TWO, return_tensors="pt")
    model = pair(SMALL)[1]
    ours = HQSamProcessor.from_config(model.config)
    inputs = ours(IMAGES, input_boxes=ONE_BOX_AND_TWO)
    with torch.no_grad():
        masks = ours.post_process_masks(model(**inputs, multimask_output=False), inputs)
    assert [mask.shape for mask in masks] == [(1, 1, 60, 80), (2, 1, 80, 60)]
