"""The pre- and post-processing subgraphs do the same as the processor, at any image size."""

import numpy as np
import pytest
import torch
from PIL import Image

from hq_sam_hf import HQSamImageProcessor
from hq_sam_hf.export.onnx_processing import OPSET, postprocessing_graph, preprocessing_graph

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

# (height, width): landscape, portrait, panorama, one row, one column, fits the model input, smaller, square
SIZES = [(200, 300), (300, 200), (60, 700), (1, 400), (500, 1), (96, 128), (50, 31), (77, 77)]
PROCESSOR = HQSamImageProcessor(size={"longest_edge": 128}, mask_size={"longest_edge": 32})


def session(subgraph):
    model = onnx.helper.make_model(subgraph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return onnxruntime.InferenceSession(model.SerializeToString())


@pytest.fixture(scope="module")
def preprocessing():
    return session(preprocessing_graph(128, PROCESSOR.image_mean, PROCESSOR.image_std))


@pytest.mark.parametrize("size", SIZES)
def test_preprocessing_gives_the_pixel_values_of_the_processor(preprocessing, size):
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (*size, 3), dtype=np.uint8)
    expected = PROCESSOR.preprocess(image)["pixel_values"].numpy()
    (pixels,) = preprocessing.run(None, {"image": image.astype(np.float32)})
    assert pixels.shape == expected.shape
    levels = np.abs(pixels - expected) * 255 * np.array(PROCESSOR.image_std).reshape(3, 1, 1)
    assert levels.max() < 1.01  # Pillow also rounds between the two directions of resizing
    assert (levels > 0.5).mean() < 0.002
    height, width = PROCESSOR.reshaped_size(size)
    assert (pixels[:, :, height:] == 0).all()
    assert (pixels[..., width:] == 0).all()


def test_pixels_are_rounded_and_clipped_to_bytes(preprocessing):
    image = np.array([-20.0, 300.0, 0.4, 254.6], dtype=np.float32).reshape(2, 2, 1).repeat(3, axis=2)
    whole = np.array([0, 255, 0, 255], dtype=np.float32).reshape(2, 2, 1).repeat(3, axis=2)
    assert (preprocessing.run(None, {"image": image})[0] == preprocessing.run(None, {"image": whole})[0]).all()


@pytest.mark.parametrize("size", SIZES)
def test_postprocessing_gives_the_masks_of_the_processor(size):
    random = np.random.default_rng(1)
    coarse = Image.fromarray(random.normal(size=(8, 8)).astype(np.float32)).resize((32, 32), Image.Resampling.BICUBIC)
    logits = np.array(coarse)[None, None]
    (masks,) = session(postprocessing_graph(128, 32)).run(
        None, {"low_res_masks": logits, "orig_im_size": np.array(size, dtype=np.float32)}
    )
    (expected,) = PROCESSOR.post_process_masks(
        torch.from_numpy(logits), [size], [PROCESSOR.reshaped_size(size)], binarize=False
    )
    assert masks.shape == (1, 1, *size)
    np.testing.assert_allclose(masks[0], expected.numpy(), atol=1e-5)
