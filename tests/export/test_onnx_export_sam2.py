"""Exported graphs of HQ-SAM 2 in ONNX Runtime give the masks of the predictor and of Meta's code."""

import numpy as np
import pytest
import torch

from hq_sam_hf import HQSamPredictor
from hq_sam_hf.cli import main
from hq_sam_hf.export.onnx_export import export_onnx
from hq_sam_hf.export.onnx_processing import OPSET, postprocessing_graph, preprocessing_graph
from hq_sam_hf.model.image_processing_hq_sam2 import HQSam2ImageProcessor
from hq_sam_hf.model.processing_hq_sam2 import HQSam2Processor
from support.images import random_image
from support.lively_sam2 import lively_sam2_pair
from support.oracle_sam2 import run_original_sam2

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

FEATURES = ["image_embed", "high_res_feats_0", "high_res_feats_1"]
PROMPT_INPUTS = ["point_coords", "point_labels", "mask_input", "has_mask_input", "orig_im_size"]
# (height, width): landscape, portrait, panorama, one row, one column, the model input size
SIZES = [(200, 300), (300, 200), (60, 700), (1, 400), (500, 1), (128, 128)]
PROCESSOR = HQSam2ImageProcessor(size={"height": 128, "width": 128}, mask_size={"height": 32, "width": 32})


def session(subgraph):
    model = onnx.helper.make_model(subgraph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return onnxruntime.InferenceSession(model.SerializeToString())


def test_preprocessing_gives_the_pixel_values_of_the_processor():
    graph = session(preprocessing_graph(128, PROCESSOR.image_mean, PROCESSOR.image_std, stretched=True))
    for size in SIZES:
        image = random_image(size)
        (pixels,) = graph.run(None, {"image": image.astype(np.float32)})
        assert np.abs(pixels - PROCESSOR.preprocess(image)["pixel_values"].numpy()).max() < 1e-4, size


@pytest.mark.parametrize("masks", [1, 3])
def test_postprocessing_gives_the_logits_of_the_processor(masks):
    logits = torch.randn(1, masks, 32, 32, generator=torch.Generator().manual_seed(0))
    graph = session(postprocessing_graph(128, 32, stretched=True, masks=masks))
    for size in SIZES:
        inputs = {"low_res_masks": logits.numpy(), "orig_im_size": np.array(size, dtype=np.float32)}
        (expected,) = PROCESSOR.post_process_masks([logits[0][None]], [size], [(128, 128)], binarize=False)
        assert np.abs(graph.run(None, inputs)[0] - expected.numpy()).max() < 1e-4, size


def run_decoder(decoder, features, points, labels, size, mask=None):
    side = decoder.get_inputs()[5].shape[-1]
    values = [
        np.array([points], dtype=np.float32),
        np.array([labels], dtype=np.float32),
        np.zeros((1, 1, side, side), dtype=np.float32) if mask is None else mask,
        np.array([mask is not None], dtype=np.float32),
        np.array(size, dtype=np.float32),
    ]
    return decoder.run(None, {**features, **dict(zip(PROMPT_INPUTS, values, strict=True))})


@pytest.mark.slow
@pytest.mark.parametrize(("multimask_output", "hq_token_only"), [(False, True), (True, False)], ids=["hq", "three"])
def test_the_graphs_give_the_masks_of_the_predictor_and_of_metas_code(tmp_path, multimask_output, hq_token_only):
    sam, model = lively_sam2_pair()
    processor = HQSam2Processor.from_config(model.config)
    options = {"multimask_output": multimask_output, "hq_token_only": hq_token_only}
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    flags = ["--multimask-output"] * multimask_output + ["--hq-token-only"] * hq_token_only
    assert main(["export", "--model", str(tmp_path / "model"), "-o", str(tmp_path / "graphs"), *flags]) == 0
    encoder, decoder = (
        onnxruntime.InferenceSession(tmp_path / "graphs" / name) for name in ("encoder.onnx", "decoder.onnx")
    )
    assert [one.name for one in encoder.get_outputs()] == FEATURES
    assert [one.name for one in decoder.get_inputs()] == [*FEATURES, *PROMPT_INPUTS]
    assert [one.name for one in decoder.get_outputs()] == ["masks", "iou_predictions", "low_res_masks"]
    assert encoder.get_modelmeta().custom_metadata_map["image_size"] == "128"
    size = (70, 100)
    image = random_image(size)
    features = dict(zip(FEATURES, encoder.run(None, {"image": image.astype(np.float32)})))
    predictor = HQSamPredictor(model, processor)
    predictor.set_image(image)
    encoded = [torch.from_numpy(features[name]) for name in (*FEATURES[1:], FEATURES[0])]
    scale = np.array([128 / size[1], 128 / size[0]])

    box, points = np.array([[20.0, 10.0], [80.0, 60.0]]), np.array([[50.0, 30.0], [90.0, 65.0]])
    click = {"points": points[:1]}
    calls = [
        (click, points[:1], [1]),
        ({"boxes": box.ravel()}, box, [2, 3]),
        ({"boxes": box.ravel(), "points": points, "labels": [1, 0]}, [*box, *points], [2, 3, 1, 0]),
    ]
    logits = None
    for prompt, coordinates, labels in calls:
        in_model = np.array(coordinates) * scale
        masks, scores, low = run_decoder(decoder, features, in_model, labels, size, logits)
        expected, expected_scores, expected_low = predictor.predict(
            **prompt, mask=None if logits is None else logits[0], return_logits=True, **options
        )
        assert masks.shape == (1, len(expected), *size)
        assert np.abs(masks[0] - expected).max() <= 1e-4 * np.abs(expected).max()
        assert np.abs(scores[0] - expected_scores).max() <= 1e-5
        metas, _, _ = run_original_sam2(
            sam,
            encoded,
            (torch.tensor(in_model[None], dtype=torch.float32), torch.tensor([labels])),
            masks=None if logits is None else torch.from_numpy(logits).clamp(-32, 32),
            source="hq" if hq_token_only else "sum",
            multimask_output=multimask_output,
        )
        best = metas[0] if len(metas[0]) == 1 else None
        if best is not None:
            assert np.abs(low[0] - best.numpy()).max() <= 1e-4 * best.abs().max()
        assert np.abs(low[0] - expected_low).max() <= 1e-4 * np.abs(expected_low).max()
        logits = low[:, :1]


def test_intermediate_embeddings_are_refused(tmp_path, capsys):
    model = lively_sam2_pair()[1]
    processor = HQSam2Processor.from_config(model.config)
    with pytest.raises(ValueError, match="`intermediate` is for HQ-SAM, got 'first' for an HQ-SAM 2, .* Leave it out"):
        export_onnx(model, processor, tmp_path / "graphs", intermediate="first")
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    arguments = ["export", "--model", str(tmp_path / "model"), "-o", str(tmp_path / "graphs")]
    assert main([*arguments, "--intermediate", "separate"]) == 1
    assert "Leave it out" in capsys.readouterr().err
