"""The ends of exported graphs do what the processor does, at any size."""

import numpy as np
import pytest
import torch
from PIL import Image

from hq_sam_hf import HQSamImageProcessor
from hq_sam_hf.export.onnx_processing import OPSET, mask_end, picture_end

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

# (height, width): landscape, portrait, panorama, one row, one column, as large as the frame, smaller, square
SIZES = [(200, 300), (300, 200), (60, 700), (1, 400), (500, 1), (96, 128), (50, 31), (77, 77)]
PICTURES = HQSamImageProcessor(size={"longest_edge": 128}, mask_size={"longest_edge": 32})


def session(end):
    model = onnx.helper.make_model(end, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return onnxruntime.InferenceSession(model.SerializeToString())


@pytest.fixture(scope="module")
def read_picture():
    return session(picture_end(128, PICTURES.image_mean, PICTURES.image_std))


@pytest.mark.parametrize("size", SIZES)
def test_pictures_become_the_processors_pixels(read_picture, size):
    random = np.random.default_rng(0)
    picture = random.integers(0, 256, (*size, 3), dtype=np.uint8)
    expected = PICTURES.preprocess(picture)["pixel_values"].numpy()
    (pixels,) = read_picture.run(None, {"image": picture.astype(np.float32)})
    assert pixels.shape == expected.shape
    levels = np.abs(pixels - expected) * 255 * np.array(PICTURES.image_std).reshape(3, 1, 1)
    assert levels.max() < 1.01  # Pillow rounds at another place
    assert (levels > 0.5).mean() < 0.002
    height, width = PICTURES.reshaped_size(size)
    assert (pixels[:, :, height:] == 0).all()
    assert (pixels[..., width:] == 0).all()


def test_values_beyond_those_of_a_picture_are_bounded(read_picture):
    picture = np.array([-20.0, 300.0, 0.4, 254.6], dtype=np.float32).reshape(2, 2, 1).repeat(3, axis=2)
    whole = np.array([0, 255, 0, 255], dtype=np.float32).reshape(2, 2, 1).repeat(3, axis=2)
    assert (read_picture.run(None, {"image": picture})[0] == read_picture.run(None, {"image": whole})[0]).all()


@pytest.mark.parametrize("size", SIZES)
def test_masks_become_those_of_the_picture(size):
    random = np.random.default_rng(1)
    coarse = Image.fromarray(random.normal(size=(8, 8)).astype(np.float32)).resize((32, 32), Image.Resampling.BICUBIC)
    logits = np.array(coarse)[None, None]
    (masks,) = session(mask_end(128, 32)).run(
        None, {"low_res_masks": logits, "orig_im_size": np.array(size, dtype=np.float32)}
    )
    (expected,) = PICTURES.post_process_masks(
        torch.from_numpy(logits), [size], [PICTURES.reshaped_size(size)], binarize=False
    )
    assert masks.shape == (1, 1, *size)
    np.testing.assert_allclose(masks[0], expected.numpy(), atol=1e-5)
