"""Exported graphs in ONNX Runtime give the masks of the model and of the original's own ONNX graph."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from hq_sam_hf import HQSamModel, HQSamPredictor, HQSamProcessor
from hq_sam_hf.cli import main
from hq_sam_hf.export import onnx_export
from hq_sam_hf.export.onnx_export import export_onnx, lock_export
from hq_sam_hf.export.reference import import_original
from hq_sam_hf.inference import loading
from hq_sam_hf.model import files
from hq_sam_hf.model.image_reading import load_image
from hq_sam_hf.utils.embedded import EMBEDDED
from hq_sam_hf.utils.output_lock import output_lock
from support.images import random_image
from support.oracle import FINE, SMALL, TINY, Architecture, lively_pair, pair

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

DECODER_INPUTS = [
    "image_embeddings",
    "interm_embeddings",
    "point_coords",
    "point_labels",
    "mask_input",
    "has_mask_input",
    "orig_im_size",
]


def open_graphs(folder):
    return [onnxruntime.InferenceSession(folder / name) for name in ("encoder.onnx", "decoder.onnx")]


def run_decoder(decoder, embeddings, points, labels, size, mask=None):
    """Masks, scores and low-resolution logits of a decoder. points: in model input coordinates."""
    side = decoder.get_inputs()[4].shape[-1]
    values = [
        *embeddings,
        np.array([points], dtype=np.float32),
        np.array([labels], dtype=np.float32),
        np.zeros((1, 1, side, side), dtype=np.float32) if mask is None else mask,
        np.array([mask is not None], dtype=np.float32),
        np.array(size, dtype=np.float32),
    ]
    return decoder.run(None, dict(zip(DECODER_INPUTS, values, strict=True)))


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    """The embedded checkpoint, its processor and the folder of its exported graphs."""
    folder = tmp_path_factory.mktemp("onnx") / "embedded"
    assert main(["export", str(folder)]) == 0
    return HQSamModel.from_pretrained(EMBEDDED), HQSamProcessor.from_pretrained(EMBEDDED), folder


@pytest.mark.slow
@pytest.mark.parametrize("turned", [False, True], ids=["landscape", "portrait"])
def test_a_box_and_a_refining_click_on_a_photo_give_the_masks_of_the_predictor(embedded, photo_path, turned):
    model, processor, folder = embedded
    photo = np.asarray(load_image(photo_path))
    photo = np.ascontiguousarray(photo.swapaxes(0, 1)) if turned else photo
    size, side = photo.shape[:2], processor.image_processor.image_size
    height, width = processor.image_processor.reshaped_size(size)
    box, click = np.array([[165, 15], [415, 310]]), np.array([[290, 150]])
    box, click = (box[:, ::-1], click[:, ::-1]) if turned else (box, click)
    scale = np.array([width / size[1], height / size[0]])

    encoder, decoder = open_graphs(folder)
    assert encoder.get_modelmeta().custom_metadata_map["image_size"] == str(side)
    assert [each.name for each in decoder.get_inputs()] == DECODER_INPUTS
    assert [each.name for each in decoder.get_outputs()] == ["masks", "iou_predictions", "low_res_masks"]
    embeddings = encoder.run(None, {"image": photo.astype(np.float32)})
    predictor = HQSamPredictor(model, processor)
    predictor.set_image(photo)

    masks, scores, logits = run_decoder(decoder, embeddings, box * scale, [2, 3], size)
    expected, expected_scores, expected_logits = predictor.predict(boxes=box.ravel())
    assert masks.shape == (1, 1, *size)
    assert ((masks[0] > 0) == expected).mean() > 0.9995
    assert expected.mean() > 0.05
    assert scores[0] == pytest.approx(expected_scores, abs=0.01)

    masks, _, _ = run_decoder(decoder, embeddings, [*(click * scale), (0, 0)], [1, -1], size, logits)
    expected, _, _ = predictor.predict(points=click, mask=expected_logits)
    assert ((masks[0] > 0) == expected).mean() > 0.9995


@pytest.mark.slow
@pytest.mark.parametrize("multimask_output", [False, True], ids=["single", "multi"])
@pytest.mark.parametrize("hq_token_only", [False, True], ids=["sum", "hq"])
def test_the_decoder_gives_the_outputs_of_the_originals_graph(tmp_path, multimask_output, hq_token_only):
    """The original's `SamOnnxModel`, which is written for export, runs on the same tensors."""
    import_original()
    from segment_anything_hq.utils.onnx import SamOnnxModel

    original, model = lively_pair(SMALL)
    processor = HQSamProcessor.from_config(model.config)
    folder = tmp_path / "graphs"
    options = {"multimask_output": multimask_output, "hq_token_only": hq_token_only}
    export_onnx(model, processor, folder, **options)
    encoder, decoder = open_graphs(folder)
    image = random_image((96, 128))  # fits the model input, because Pillow resizes with another rounding
    embeddings = encoder.run(None, {"image": image.astype(np.float32)})
    with torch.no_grad():
        encoded, levels = original.image_encoder(processor(image)["pixel_values"])
    assert len(levels) == len(embeddings[1])
    graph = SamOnnxModel(original, **options)

    random = np.random.default_rng(0)
    side = model.config.mask_size
    prompts = [
        ([[60, 40], [0, 0]], [1, -1], None),
        ([[20, 10], [100, 80]], [2, 3], None),
        ([[20, 10], [100, 80], [60, 40], [5, 5]], [2, 3, 1, 0], random.normal(size=(1, 1, side, side)) * 5),
        (random.uniform(0, 120, (9, 2)), [1, 0, 1, 1, 0, 1, 1, 1, -1], random.normal(size=(1, 1, side, side)) * 5),
    ]
    for size in ((90, 120), (120, 90), (30, 400), (1000, 700)):
        for points, labels, mask in prompts:
            mask = None if mask is None else mask.astype(np.float32)
            results = run_decoder(decoder, embeddings, points, labels, size, mask)
            with torch.no_grad():
                expected = graph(
                    encoded,
                    torch.stack(levels),
                    torch.tensor(np.array([points]), dtype=torch.float32),
                    torch.tensor([labels], dtype=torch.float32),
                    torch.zeros(1, 1, side, side) if mask is None else torch.from_numpy(mask),
                    torch.tensor([float(mask is not None)]),
                    torch.tensor(size, dtype=torch.float32),
                )
            for ours, theirs in zip(results, expected, strict=True):
                np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-4 * float(theirs.abs().max()))


def annotate(folder, photo, corners):
    """Predict a mask as X-AnyLabeling's `sam_hq` does with its two graphs: on a canvas of 684 x 1024 pixels."""
    encoder, decoder = open_graphs(folder)
    canvas = np.zeros((684, 1024, 3), dtype=np.float32)
    canvas[: photo.shape[0], : photo.shape[1]] = photo
    features = encoder.run(None, {encoder.get_inputs()[0].name: canvas})
    embeddings = features[0], np.stack(features[1:])
    masks, _, _ = run_decoder(decoder, embeddings, [*corners, (0, 0)], [2, 3, -1], canvas.shape[:2])
    return masks[0, 0, : photo.shape[0], : photo.shape[1]] > 0


@pytest.mark.slow
def test_separate_embeddings_work_as_x_anylabeling_stacks_them(tmp_path):
    _, model = lively_pair(Architecture(dim=32, depth=3, heads=2, global_blocks=(0, 2), width=64, mlp=64))
    processor = HQSamProcessor.from_config(model.config)
    export_onnx(model, processor, tmp_path / "graphs", intermediate="separate")
    image = random_image((500, 1024))
    mask = annotate(tmp_path / "graphs", image, [[300, 100], [700, 400]])
    canvas = np.zeros((684, 1024, 3), dtype=np.uint8)
    canvas[:500] = image
    inputs = processor(canvas, input_points=[[[300, 100], [700, 400], [0, 0]]], input_labels=[[1, 1, -1]])
    assert inputs["input_points"].tolist() == [[[[300, 100], [700, 400], [0, 0]]]]
    with torch.no_grad():  # only graphs accept corners that are followed by a padding point
        tokens = model.prompt_encoder.embed_labelled(
            model.shared_image_embedding, inputs["input_points"][0], torch.tensor([[2, 3, -1]]), with_corners=True
        )
        features = model.get_image_features(inputs["pixel_values"])
        logits, _ = model.mask_decoder(
            features.image_embeddings,
            model.shared_image_embedding.cells(64, torch.float32),
            features.hq_features,
            tokens[None],
            torch.zeros(1, 1, 3, dtype=torch.bool),
            model.prompt_encoder.no_mask_embed.weight.reshape(1, 1, -1, 1, 1),
            num_prompts=1,
            multimask_output=False,
        )
    expected = processor.image_processor.post_process_masks(logits[0], [(684, 1024)], [(684, 1024)])[0][0, :500]
    assert (mask == expected.numpy()).mean() > 0.9995
    assert 0.01 < mask.mean() < 0.99


@pytest.mark.slow
@pytest.mark.parametrize("intermediate", ["first", "stacked", "separate"])
def test_light_hq_sam_can_be_exported(tmp_path, intermediate):
    model = pair(TINY)[1]
    folder = tmp_path / "graphs"
    export_onnx(model, HQSamProcessor.from_config(model.config), folder, intermediate=intermediate)  # verifies masks
    encoder, _ = open_graphs(folder)
    shapes = {output.name: output.shape for output in encoder.get_outputs()}
    name = "interm_embeddings_0" if intermediate == "separate" else "interm_embeddings"
    assert shapes[name] == [1] * (intermediate == "stacked") + [1, 64, 64, 24]


@pytest.fixture
def fine():
    model = pair(FINE)[1]
    return model, HQSamProcessor.from_config(model.config)


@pytest.mark.slow
def test_the_decoder_needs_only_the_first_intermediate_embedding(embedded, tmp_path):
    model, processor, folder = embedded
    image, box = random_image((171, 256)).astype(np.float32), [[60, 40], [180, 120]]
    paths = export_onnx(model, processor, tmp_path / "graphs", intermediate="first")
    assert [path.name for path in paths] == ["decoder.onnx", "encoder.onnx"]
    results = []
    for each in (folder, tmp_path / "graphs"):
        encoder, decoder = open_graphs(each)
        embeddings = encoder.run(None, {"image": image})
        results.append(run_decoder(decoder, embeddings, box, [2, 3], (171, 256)))
        if each == folder:  # the decoder reads the first of any number of levels
            fewer = run_decoder(decoder, [embeddings[0], embeddings[1][:1]], box, [2, 3], (171, 256))
    for all_levels, one_level, first in zip(results[0], fewer, results[1], strict=True):
        np.testing.assert_allclose(one_level, all_levels, atol=1e-4)
        np.testing.assert_allclose(first, all_levels, atol=1e-4)


@pytest.mark.slow
def test_large_weights_are_written_beside_the_graph(fine, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(onnx_export, "LARGEST_FILE", 10_000)
    paths = export_onnx(*fine, tmp_path / "graphs")  # verifies masks
    names = ["decoder.onnx", "decoder.onnx.data", "encoder.onnx", "encoder.onnx.data"]
    assert [path.name for path in paths] == names
    assert sorted(path.name for path in (tmp_path / "graphs").iterdir()) == names
    assert paths[2].stat().st_size < 100_000 + paths[3].stat().st_size
    assert capsys.readouterr() == ("", "")
    monkeypatch.undo()
    with pytest.raises(ValueError, match="is not empty.*--overwrite"):
        export_onnx(*fine, tmp_path / "graphs")
    export_onnx(*fine, tmp_path / "graphs", overwrite=True)
    assert sorted(path.name for path in (tmp_path / "graphs").iterdir()) == ["decoder.onnx", "encoder.onnx"]


@pytest.mark.slow
def test_graphs_with_other_masks_than_the_model_are_not_written(fine, tmp_path, monkeypatch):
    correct = onnx_export.preprocessing_graph
    monkeypatch.setattr(onnx_export, "preprocessing_graph", lambda side, mean, *rest: correct(side, mean[::-1], *rest))
    with pytest.raises(ValueError, match="must give the masks of the model"):
        export_onnx(*fine, tmp_path / "graphs")
    assert list(tmp_path.iterdir()) == []


def fake_export(folder, metadata=b"\n\nimage_size\x12\x0264"):
    """A folder that looks as if an export had written it, without the time of an export."""
    folder.mkdir()
    for name in ("encoder.onnx", "decoder.onnx"):
        (folder / name).write_bytes(b"graph" + metadata)
    return folder


def test_the_metadata_of_an_export_are_recognised(tmp_path):
    folder = fake_export(tmp_path / "graphs")
    graph = onnx.helper.make_graph([], "graph", [], [])
    for name in ("encoder.onnx", "decoder.onnx"):
        model = onnx.helper.make_model(graph)
        onnx.save(model, folder / name)
        with pytest.raises(ValueError, match=f"such as '{name}', which would be lost"), lock_export(folder, True):
            pass  # encoders and decoders of other programs have these names too
        model.metadata_props.add(key="image_size", value="1024")
        onnx.save(model, folder / name)
    with pytest.raises(ValueError, match="is not empty.*--overwrite"), lock_export(folder, False):
        pass
    with lock_export(folder, True):
        pass


def test_only_an_earlier_export_is_replaced(tmp_path, monkeypatch):
    folder = fake_export(tmp_path / "graphs")
    (folder / "encoder.onnx.data").mkdir()
    with pytest.raises(ValueError, match="such as 'encoder.onnx.data'"), lock_export(folder, True):
        pass
    (folder / "encoder.onnx.data").rmdir()
    (tmp_path / "link").symlink_to("graphs")
    with pytest.raises(ValueError, match="is a link to"), lock_export(tmp_path / "link", True):
        pass
    with pytest.raises(ValueError, match="is also an input"), lock_export(folder, True, [tmp_path / "link"]):
        pass
    with (
        pytest.raises(ValueError, match="lies inside the output"),
        lock_export(folder, True, [folder / "encoder.onnx"]),
    ):
        pass
    monkeypatch.chdir(folder)
    with pytest.raises(ValueError, match="the current folder"), lock_export(Path("."), True):
        pass
    assert sorted(path.name for path in folder.iterdir()) == ["decoder.onnx", "encoder.onnx"]


def test_the_command_takes_the_lock_before_it_loads_the_model(tmp_path, monkeypatch, capsys):
    def load(*_):
        raise AssertionError("it loaded the model first")

    monkeypatch.setattr(loading, "load_model", load)
    with output_lock(tmp_path / "graphs", beside=True), ThreadPoolExecutor(1) as other:
        assert other.submit(main, ["export", "-o", str(tmp_path / "graphs")]).result() == 1
    assert f"is being written by process {os.getpid()}" in capsys.readouterr().err
    (tmp_path / "graphs").mkdir()
    (tmp_path / "graphs" / "mine.txt").touch()
    assert main(["export", "-o", str(tmp_path / "graphs"), "--overwrite"]) == 1
    assert "such as 'mine.txt', which would be lost" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["graphs"]


def test_an_export_that_fails_at_any_step_leaves_the_old_one(fine, tmp_path, monkeypatch):
    """The graphs themselves are not made here: the steps from the finished graphs to the folder are interrupted."""
    folder = fake_export(tmp_path / "graphs")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for name in ("_to_onnx", "_export_decoder"):
        monkeypatch.setattr(onnx_export, name, lambda *_: onnx_model())
    for name in ("prepend", "append", "verify_graphs"):
        monkeypatch.setattr(onnx_export, name, lambda *_: None)
    for name, owner in (("_save", onnx_export), ("verify_graphs", onnx_export), ("replace_folder", files)):
        original = getattr(owner, name)

        def interrupt(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr(owner, name, interrupt)
        with pytest.raises(KeyboardInterrupt):
            export_onnx(*fine, folder, overwrite=True)
        monkeypatch.setattr(owner, name, original)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
        assert [path.name for path in tmp_path.iterdir()] == ["graphs"]
    (tmp_path / ".graphs.0123456789abcdef.part").mkdir()  # of a killed export
    export_onnx(*fine, folder, overwrite=True)
    export_onnx(*fine, folder, overwrite=True)  # the one before is recognised as an export
    assert [path.name for path in tmp_path.iterdir()] == ["graphs"]


def onnx_model():
    return onnx.helper.make_model(onnx.helper.make_graph([], "graph", [], []))


def test_wrong_arguments_raise_errors_before_the_export(fine, tmp_path, monkeypatch):
    model, processor = fine
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    (tmp_path / "file").touch()
    for destination, options, message in (
        ("x", {"intermediate": "all"}, "`intermediate` must be one of stacked, separate, first, got 'all'"),
        ("full", {}, "is not empty"),
        ("full", {"overwrite": True}, "holds other files than an export, such as 'thesis.tex', which would be lost"),
        ("file", {}, "is a file"),
        ("no/where", {}, "is not a folder"),
    ):
        with pytest.raises(ValueError, match=message):
            export_onnx(model, processor, tmp_path / destination, **options)
    with pytest.raises(ValueError, match="`model` expects images of 64 x 64 .* `processor` makes 1024"):
        export_onnx(model, HQSamProcessor(), tmp_path / "x")
    half = HQSamModel(model.config).bfloat16()
    with pytest.raises(ValueError, match="must be in float32 on a CPU to be exported, got torch.bfloat16 on cpu"):
        export_onnx(half, processor, tmp_path / "x")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ValueError, match=r'pip install "hq-sam-hf\[export\]"'):
        export_onnx(model, processor, tmp_path / "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "full"]
