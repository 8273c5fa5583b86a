import math
import subprocess

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from hq_sam_hf import HQSamConfig, HQSamModel, HQSamProcessor
from hq_sam_hf.data.prompt_simulation import centre_point, mask_to_box, next_click
from hq_sam_hf.evaluation.evaluator import backbone_name, evaluate
from hq_sam_hf.evaluation.results import Evaluation
from hq_sam_hf.export.reference import run_original
from hq_sam_hf.masks.metrics import boundary_iou, mask_iou
from support.evaluation_rows import ROWS
from support.launched import LAUNCHER, LEFT_OPEN
from support.oracle import SMALL, pair


@pytest.fixture(scope="module")
def model() -> HQSamModel:
    return pair(SMALL)[1]


@pytest.fixture(scope="module")
def processor(model) -> HQSamProcessor:
    return HQSamProcessor.from_config(model.config)


def arrays(row: dict) -> tuple[np.ndarray, np.ndarray]:
    return np.array(row["image"]), np.stack([np.asarray(mask) for mask in row["masks"]]) > 128


def metrics(result: Evaluation, **fields: object) -> list[tuple[float, float]]:
    """IoU and boundary IoU of the records with these fields."""
    chosen = [one for one in result.records if all(one[key] == value for key, value in fields.items())]
    return [(one["iou"], one["boundary_iou"]) for one in chosen]


def assert_same(ours: list[dict], theirs: list[dict], tolerance: float = 2e-3) -> None:
    """The same records in the same order. Metrics may differ by a pixel: batches sum in another order."""
    numbers = ("iou", "boundary_iou", "score")
    fields = [[{key: one[key] for key in one if key not in numbers} for one in records] for records in (ours, theirs)]
    assert fields[0] == fields[1]
    values = [np.array([[one[name] for name in numbers] for one in records]) for records in (ours, theirs)]
    assert np.abs(values[0] - values[1]).max() < tolerance


def test_the_stretch_protocol_gives_the_metrics_of_the_originals_evaluation(model, processor):
    sam, _ = pair(SMALL)
    result = evaluate(model, processor, ROWS, outputs=("hq", "sum"))
    for hq_token_only, output in ((True, "hq"), (False, "sum")):
        expected = []
        for row in ROWS:
            image, masks = arrays(row)
            side = (128, 128)
            pixels = F.interpolate(torch.from_numpy(image).permute(2, 0, 1)[None].float(), side, mode="bilinear")
            pixels = sam.preprocess(pixels.to(torch.uint8).float())
            for mask in masks:
                label = F.interpolate(torch.from_numpy(mask)[None, None].float() * 255, side, mode="bilinear")[0, 0]
                box = torch.from_numpy(mask_to_box(label.numpy() > 128))[None]
                logits, _ = run_original(sam, pixels, boxes=box, hq_token_only=hq_token_only)
                predicted = (F.interpolate(logits, mask.shape, mode="bilinear")[0, 0] > 0).numpy()
                expected.append((mask_iou(predicted, mask), boundary_iou(predicted, mask)))
        assert np.abs(np.array(metrics(result, output=output)) - expected).max() < 1e-3
        assert np.std(expected) > 0.01  # the masks differ, so the comparison can fail


@pytest.mark.parametrize(
    ("output", "options"), [("sam", {"sam_only": True}), ("hq", {"hq_token_only": True}), ("sum", {})]
)
@pytest.mark.slow
def test_the_aspect_protocol_gives_the_masks_of_processor_and_model(model, processor, output, options):
    result = evaluate(model, processor, ROWS, prompts=("box", "centre"), protocol="aspect", outputs=(output,))
    for prompt in ("box", "centre"):
        expected = []
        for row in ROWS:
            image, masks = arrays(row)
            for mask in masks:
                prompts = {"input_boxes": [[mask_to_box(mask)]]} if prompt == "box" else {}
                prompts = prompts or {"input_points": [[centre_point(mask)]]}
                inputs = processor(image, **prompts)
                with torch.no_grad():
                    outputs = model(**inputs, multimask_output=False, **options)
                predicted = processor.post_process_masks(outputs, inputs)[0][0, 0].numpy()
                expected.append((mask_iou(predicted, mask), boundary_iou(predicted, mask)))
        assert np.abs(np.array(metrics(result, prompt=prompt)) - expected).max() < 1e-3


def test_batching_images_changes_nothing(model, processor):
    prompts = ("box-noise-0.4", "points-3+2", "clicks-2")
    alone = evaluate(model, processor, ROWS, prompts=prompts)
    together = evaluate(model, processor, ROWS, prompts=prompts, batch_size=3)
    assert_same(alone.records, together.records)


def test_each_click_corrects_the_last_prediction_which_is_fed_back(model, processor):
    result = evaluate(model, processor, ROWS[3:4], prompts=("clicks-3",), protocol="aspect", outputs=("hq",))
    image, (mask,) = arrays(ROWS[3])
    points, labels, previous, expected = [], [], None, []
    predicted = np.zeros_like(mask)
    for _ in range(3):
        point, label = next_click(predicted, mask)
        points.append(point)
        labels.append(label)
        mask_prompt = {} if previous is None else {"input_masks": [previous.numpy()]}
        inputs = processor(image, input_points=[points], input_labels=[labels], **mask_prompt)
        with torch.no_grad():
            outputs = model(**inputs, multimask_output=False, hq_token_only=True)
        previous = outputs.pred_masks[0, 0]
        predicted = processor.post_process_masks(outputs, inputs)[0][0, 0].numpy()
        expected.append((mask_iou(predicted, mask), boundary_iou(predicted, mask)))
    assert [one["prompt"] for one in result.records] == ["clicks-1", "clicks-2", "clicks-3"]
    assert np.abs(np.array(metrics(result)) - expected).max() < 1e-3
    assert len(set(expected)) == 3


def test_multimask_takes_the_best_scored_candidate(model, processor):
    result = evaluate(model, processor, ROWS[:1], outputs=("sam",), protocol="aspect", multimask_output=True)
    image, masks = arrays(ROWS[0])
    inputs = processor(image, input_boxes=[[mask_to_box(mask) for mask in masks]])
    with torch.no_grad():
        outputs = model(**inputs, sam_only=True)
    assert [one["score"] for one in result.records] == pytest.approx(outputs.iou_scores[0, :, 0].tolist(), abs=1e-5)
    best = processor.post_process_masks(outputs, inputs)[0][:, 0].numpy()
    assert [iou for iou, _ in metrics(result)] == pytest.approx(mask_iou(best, masks).tolist(), abs=1e-3)


def test_random_prompts_depend_only_on_the_seed_and_the_sample(model, processor):
    prompts = ("points-2", "box-noise-0.4")
    data = {"a": ROWS[:3], "b": ROWS[3:]}
    whole = evaluate(model, processor, data, prompts=prompts, outputs=("hq",), trials=2)
    part = evaluate(model, processor, {"b": ROWS[3:]}, prompts=prompts[1:], outputs=("hq",), batch_size=2, limit=1)
    same = metrics(whole, dataset="b", prompt="box-noise-0.4", trial=0, index=0)
    assert np.abs(np.array(metrics(part)) - same).max() < 2e-3
    assert metrics(whole, trial=0, prompt="box-noise-0.4") != metrics(whole, trial=1, prompt="box-noise-0.4")
    other = evaluate(model, processor, data, prompts=prompts, outputs=("hq",), seed=1)
    assert metrics(other, prompt="box-noise-0.4") != metrics(whole, trial=0, prompt="box-noise-0.4")
    assert evaluate(model, processor, data, prompts=("box",), trials=2).records[-1]["trial"] == 0


def test_columns_of_the_data_set_are_copied_into_the_records(model, processor):
    rows = [{**ROWS[0], "families": ["ball", "moon"], "photographer": "N. N.", "area": -1, "tags": ["a", "b", "c"]}]
    records = evaluate(model, processor, rows, outputs=("hq",)).records
    assert [one["families"] for one in records] == ["ball", "moon"]
    assert [one["photographer"] for one in records] == ["N. N."] * 2
    assert "tags" not in records[0]
    assert records[0]["area"] == arrays(ROWS[0])[1][0].sum()


def test_unreadable_images_and_empty_masks_are_listed(model, processor, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"not an image")
    broken = {"image": {"path": str(tmp_path / "broken.jpg"), "bytes": None}, "mask": ROWS[1]["masks"][0]}
    empty = Image.new("L", ROWS[1]["image"].size)
    thin = Image.new("L", (1000, 50))
    thin.paste(255, (500, 0, 501, 50))  # a thousandth of the image's width
    rows = [
        {**broken, "set": "s", "name": "torn"},
        {**ROWS[1], "masks": [empty, *ROWS[1]["masks"]]},
        {**ROWS[1], "masks": [empty]},
        {"image": Image.new("RGB", (1000, 50)), "mask": thin, "set": "s", "name": "thread"},
    ]
    result = evaluate(model, processor, rows, outputs=("hq",), batch_size=2)
    assert [(one["index"], one["mask"]) for one in result.records] == [(1, 1)]
    assert [one["index"] for one in result.failures] == [0]
    assert "s/torn" in result.failures[0]["reason"]
    assert [(one["index"], one["reason"]) for one in result.skipped] == [
        (1, "mask 0 is empty"),
        (2, "mask 0 is empty"),
        (3, "mask 0 is too thin for the model input size"),
    ]
    assert "Could not be read: 1" in result.markdown()


def test_the_training_mode_is_restored_and_no_gradient_is_kept(model, processor):
    model.train()
    try:
        evaluate(model, processor, ROWS[3:4])
        assert model.training
        assert all(parameter.grad is None for parameter in model.parameters())
    finally:
        model.eval()


def test_global_random_generators_are_not_used(model, processor):
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    evaluate(model, processor, ROWS[3:4], prompts=("points-3", "box-noise-0.4"))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])


def test_the_longest_click_sequence_includes_the_shorter_ones(model, processor):
    result = evaluate(model, processor, ROWS[3:4], prompts=("clicks-1", "clicks-3", "box", "clicks-2"), outputs="hq")
    assert [one["prompt"] for one in result.records] == ["clicks-1", "clicks-2", "clicks-3", "box"]


def test_wrong_arguments_raise_errors(model, processor):
    import datasets

    with pytest.raises(ValueError, match="`model` expects images of 128 x 128 .* `processor` makes 1024"):
        evaluate(model, HQSamProcessor(), ROWS)
    for wrong, message in (
        ({"prompts": ("circle",)}, "one of box, box-noise-SCALE.*'circle'"),
        ({"prompts": ()}, "at least one prompt"),
        ({"outputs": ("best",)}, r"among sam, hq, sum, got \['best'\]"),
        ({"protocol": "crop"}, "one of stretch, aspect, got 'crop'"),
        ({"trials": 0}, "at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            evaluate(model, processor, ROWS, **wrong)
    stream = datasets.Dataset.from_list([{"name": "a"}]).to_iterable_dataset()
    with pytest.raises(ValueError, match="IterableDataset.*without streaming"):
        evaluate(model, processor, stream)


def test_logits_that_are_not_finite_raise_an_error(model, processor):
    broken = HQSamModel(model.config)
    broken.load_state_dict(model.state_dict())
    broken.mask_decoder.hq_token.weight.data.fill_(math.nan)
    with pytest.raises(ValueError, match="logits must be finite, but they are not for image 3.*'hq'"):
        evaluate(broken.eval(), processor, ROWS[3:4], outputs=("hq",))


def test_backbones_are_recognised_by_their_sizes(model):
    assert backbone_name(model.config) is None
    for name in ("vit_b", "vit_l", "vit_h", "vit_tiny"):
        assert backbone_name(HQSamConfig.from_preset(name)) == name
    assert backbone_name(HQSamConfig.from_preset("vit_l", image_size=512)) == "vit_l"


@pytest.mark.slow  # starts processes that import torch and transformers
def test_two_processes_share_the_images_and_count_every_mask_once(model, processor, tmp_path):
    run = [*LAUNCHER, "support.evaluate_on_two_processes", str(tmp_path)]
    done = subprocess.run(run, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert LEFT_OPEN not in done.stderr
    expected = evaluate(model, processor, ROWS, prompts=("box", "points-2")).records
    for rank in range(2):
        read, records = torch.load(tmp_path / str(rank))
        assert read == 3  # of 5 rows: one is repeated so that both processes have equally many
        assert_same(records, expected)


def test_arguments_may_be_numpy_values_and_a_wrong_type_is_named_before_the_work(model, processor):
    result = evaluate(model, processor, ROWS[:1], outputs="hq", seed=np.int64(3))
    assert type(result.settings["seed"]) is int

    class Untouched(list):
        def __getitem__(self, index):
            pytest.fail("read")

    with pytest.raises(ValueError, match=r"settings\['seed'\] must be a number"):
        evaluate(model, processor, Untouched(ROWS), seed=object())
