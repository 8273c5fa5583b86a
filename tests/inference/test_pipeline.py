"""`transformers.pipeline("mask-generation")` for HQ-SAM, without torchvision, and for other models as before."""

import base64
import io
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import SamConfig, SamModel, image_utils, pipeline
from transformers.pipelines.mask_generation import MaskGenerationPipeline

from hq_sam_hf import HQSamMaskGenerator, HQSamProcessor
from hq_sam_hf.inference.pipeline import HQSamMaskGenerationPipeline
from hq_sam_hf.masks.rle import rle_to_mask
from support.images import random_image
from support.oracle import SMALL, lively_pair

IMAGE = Image.fromarray(random_image((70, 52)))
STOCK = {"points_per_crop": 6, "pred_iou_thresh": 0.62, "stability_score_thresh": 0.5, "crops_nms_thresh": 0.9}
OURS = {
    "points_per_side": 6,
    "pred_iou_thresh": 0.62,
    "stability_score_thresh": 0.5,
    "box_nms_thresh": 0.9,
    "crop_nms_thresh": 0.9,
}


@pytest.fixture(autouse=True)
def without_torchvision(monkeypatch):
    for name in ("torchvision", "torchvision.ops", "torchvision.ops.boxes"):
        monkeypatch.setitem(sys.modules, name, None)  # importing it now raises ImportError


@pytest.fixture(scope="module")
def model():
    return lively_pair(SMALL)[1]


@pytest.fixture(scope="module")
def processor(model):
    return HQSamProcessor.from_config(model.config)


@pytest.fixture
def pipe(model, processor):
    return pipeline("mask-generation", model=model, image_processor=processor.image_processor, device="cpu")


def assert_same_masks(result: dict, records: list[dict]) -> None:
    assert len(result["masks"]) == len(result["scores"]) == len(records) > 3
    for mask, record in zip(result["masks"], records):
        assert mask.dtype == np.bool_
        assert np.array_equal(mask, record["segmentation"])
    np.testing.assert_array_equal(
        result["scores"].numpy(), np.float32([record["predicted_iou"] for record in records])
    )


@pytest.mark.parametrize(
    ("stock", "ours"),
    [
        ({}, {}),
        ({"crops_n_layers": 1}, {"crop_n_layers": 1}),
        ({"crops_n_layers": 1, "crop_n_points_downscale_factor": 2}, None),
        ({"hq_token_only": True}, None),
        ({"candidates": 3, "crops_n_layers": 1}, {"candidates": 3, "crop_n_layers": 1}),
        ({"min_mask_region_area": 60, "points_per_batch": 5, "mask_threshold": 0}, {"min_mask_region_area": 60}),
    ],
    ids=["plain", "crops", "coarser crops", "hq", "three", "parts"],
)
def test_the_pipeline_gives_the_records_of_the_generator(pipe, model, processor, stock, ours):
    ours = {name.replace("crops_", "crop_"): value for name, value in stock.items()} if ours is None else ours
    assert_same_masks(
        pipe(IMAGE, **STOCK, **stock), HQSamMaskGenerator(model, processor, **OURS, **ours).generate(IMAGE)
    )


def test_options_may_be_given_when_the_pipeline_is_created(model, processor):
    pipe = pipeline(
        "mask-generation", model=model, image_processor=processor.image_processor, hq_token_only=True, **STOCK
    )
    assert type(pipe) is HQSamMaskGenerationPipeline
    expected = HQSamMaskGenerator(model, processor, hq_token_only=True, **OURS).generate(IMAGE)
    assert_same_masks(pipe(IMAGE), expected)
    generator = HQSamMaskGenerator(model, processor, hq_token_only=True, **{**OURS, "pred_iou_thresh": 0.3})
    assert_same_masks(
        pipe(IMAGE, multimask_output=False, pred_iou_thresh=0.3), generator.generate(IMAGE, multimask_output=False)
    )


def test_boxes_and_run_length_encodings_on_request(pipe):
    result = pipe(IMAGE, output_rle_mask=True, output_bboxes_mask=True, **STOCK)
    for mask, rle, box in zip(result["masks"], result["rle_mask"], result["bounding_boxes"].tolist()):
        assert np.array_equal(rle_to_mask(rle), mask)
        rows, columns = np.nonzero(mask)
        assert box == [columns.min(), rows.min(), columns.max(), rows.max()]
    nothing = pipe(IMAGE, **{**STOCK, "pred_iou_thresh": 9}, output_bboxes_mask=True)
    assert (nothing["masks"], nothing["bounding_boxes"].shape) == ([], (0, 4))


def test_a_model_by_path_and_a_list_of_image_paths_images_and_arrays(model, processor, tmp_path):
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    IMAGE.save(tmp_path / "image.png")
    pipe = pipeline("mask-generation", model=str(tmp_path / "model"), device="cpu")
    assert type(pipe) is HQSamMaskGenerationPipeline
    results = pipe([str(tmp_path / "image.png"), IMAGE, np.asarray(IMAGE)], **STOCK)
    records = HQSamMaskGenerator(model, processor, **OURS).generate(IMAGE)
    for result in results:
        assert_same_masks(result, records)


def as_bytes(image: Image.Image, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, **options)
    return buffer.getvalue()


class OnePath(os.PathLike):
    def __init__(self, path) -> None:
        self.path = path

    def __fspath__(self) -> str:
        return str(self.path)


def test_whatever_load_image_of_transformers_takes_is_an_image(pipe, tmp_path, monkeypatch):
    content = as_bytes(IMAGE, format="PNG")
    (tmp_path / "image.png").write_bytes(content)
    plain, lines = base64.b64encode(content).decode(), base64.encodebytes(content).decode()
    assert len(plain) > 5000  # far more than a file name may have
    expected = pipe(IMAGE, **STOCK)
    sources = [plain, lines, f"data:image/png;base64,{plain}", tmp_path / "image.png", OnePath(tmp_path / "image.png")]
    for result in pipe(sources, **STOCK):
        assert all(np.array_equal(one, other) for one, other in zip(result["masks"], expected["masks"], strict=True))
    fetched = []
    monkeypatch.setattr(image_utils, "load_image", lambda url, timeout: fetched.append((url, timeout)) or IMAGE)
    assert len(pipe("https://x.org/a.png", timeout=3, **STOCK)["masks"]) == len(expected["masks"])
    assert fetched == [("https://x.org/a.png", 3)]


def test_base64_is_read_like_the_file(pipe, tmp_path):
    deep = Image.fromarray(np.asarray(IMAGE.convert("L")).astype(np.uint16) * 257)  # 16 bit
    turned = Image.Exif()
    turned[0x0112] = 6
    for name, content in (
        ("deep.png", as_bytes(deep, format="PNG")),
        ("turned.jpg", as_bytes(IMAGE, format="JPEG", exif=turned)),
    ):
        (tmp_path / name).write_bytes(content)
        from_file = pipe(str(tmp_path / name), **STOCK)["masks"]
        from_text = pipe(base64.b64encode(content).decode(), **STOCK)["masks"]
        assert len(from_file) > 0
        assert all(np.array_equal(one, other) for one, other in zip(from_file, from_text, strict=True))


@pytest.mark.parametrize("text", ["nothing.png", "A" * 5000, "data:image/png;base64,AAAA", "data:image/png", "\0", ""])
def test_other_strings_are_refused_in_a_short_sentence(pipe, text):
    with pytest.raises(ValueError, match="must be the path of an image file, a URL .* Correct the path") as caught:
        pipe(text)
    assert len(str(caught.value)) < 600


def test_the_class_may_be_chosen_explicitly(model, processor):
    options = {"image_processor": processor.image_processor, "pipeline_class": HQSamMaskGenerationPipeline}
    assert type(pipeline("mask-generation", model=model, **options)) is HQSamMaskGenerationPipeline


def test_unknown_options_raise_an_error(pipe):
    for name, value in (("crop_n_layer", 1), ("mask_threshold", 0.5), ("output_mode", "coco_rle")):
        with pytest.raises(TypeError, match=f"has no option `{name}`. It takes .*hq_token_only"):
            pipe(IMAGE, **{name: value})
    with pytest.raises(ValueError, match="`batch_size` must be 1, got 2: images are processed one at a time"):
        pipe([IMAGE, IMAGE], batch_size=2)


def test_other_models_get_the_stock_pipeline(processor):
    torch.manual_seed(0)
    config = SamConfig(
        vision_config={
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "global_attn_indexes": [0],
            "image_size": 64,
            "output_channels": 16,
            "num_pos_feats": 8,
            "window_size": 2,
        },
        prompt_encoder_config={"hidden_size": 16, "image_size": 64},
        mask_decoder_config={"hidden_size": 16, "mlp_dim": 16, "num_attention_heads": 2, "iou_head_hidden_dim": 16},
    )
    pipe = pipeline("mask-generation", model=SamModel(config), image_processor=processor.image_processor)
    assert type(pipe) is MaskGenerationPipeline


@pytest.mark.slow
@pytest.mark.parametrize(
    "order", ["import hq_sam_hf, transformers.pipelines", "import transformers.pipelines, hq_sam_hf"]
)
def test_the_pipeline_is_registered_in_either_order_of_imports(order):
    code = (
        f"{order}; print(transformers.pipelines.PIPELINE_REGISTRY.check_task('mask-generation')[1]['impl'].__name__)"
    )
    printed = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert printed.stdout.split() == ["HQSamMaskGenerationPipeline"]
