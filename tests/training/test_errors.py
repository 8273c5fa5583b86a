"""Runs that cannot start or cannot go on."""

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from hq_sam_hf import HQSamConfig, HQSamModel
from hq_sam_hf.model.checkpoint_format import is_hq_key
from hq_sam_hf.model.key_mapping import keys_to_original
from hq_sam_hf.scenes import SceneGenerator
from hq_sam_hf.training import state_files
from hq_sam_hf.training.trainer import train
from support.small_runs import read_log, small_run


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_checkpoint(base, tmp_path):
    message = (
        r"The loss of step \d is (nan|inf), with the images (thin|solid)/train_0.* The last checkpoint is .*step-"
    )
    with pytest.raises(FloatingPointError, match=message):
        train(small_run(base, tmp_path / "run", learning_rate=1e30, epochs=20))
    checkpoints = sorted((tmp_path / "run" / "checkpoints").iterdir())
    assert checkpoints
    assert load_file(checkpoints[0] / "trained_weights.safetensors")


def test_an_error_on_a_full_disk_names_the_last_checkpoint(base, tmp_path, monkeypatch):
    save, calls = state_files.save_file, []

    def fail_later(*arguments, **options):
        calls.append(arguments)
        if len(calls) > 6:
            raise SafetensorError("I/O error: No space left on device (os error 28)")
        return save(*arguments, **options)

    monkeypatch.setattr(state_files, "save_file", fail_later)
    message = r"Cannot write the checkpoint step-0000000\d.*No space left.*The last complete checkpoint is .*step-"
    with pytest.raises(OSError, match=message):
        train(small_run(base, tmp_path / "run"))
    names = [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()]
    assert names
    assert all(name.startswith("step-") for name in names)


@pytest.fixture
def corrupt_data(tmp_path) -> dict[str, str]:
    """A description of folders with eight images, of which one is cut off."""
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for i, scene in enumerate(SceneGenerator(8, size=64)):
        scene["image"].save(tmp_path / "images" / f"{i}.jpg")
        scene["masks"][0].point(lambda value: 255 * (value > 127)).save(tmp_path / "masks" / f"{i}.png")
    content = (tmp_path / "images" / "3.jpg").read_bytes()
    (tmp_path / "images" / "3.jpg").write_bytes(content[: len(content) // 2])
    return {"kind": "folders", "images": str(tmp_path / "images"), "masks": str(tmp_path / "masks")}


def test_a_corrupt_image_is_skipped_and_named(base, tmp_path, caplog, corrupt_data):
    train(small_run(base, tmp_path / "run", data=corrupt_data, num_workers=1))
    skipped = [record.message for record in caplog.records if record.message.startswith("skipped")]
    assert len(skipped) == 2  # once an epoch
    assert all("/3: cannot read the image" in line for line in skipped)
    assert len(read_log(tmp_path / "run")) == 4


def test_a_corrupt_image_may_stop_the_run(base, tmp_path, corrupt_data):
    """The worker's error keeps its one line."""
    with pytest.raises(ValueError, match=r"^\w+/3: cannot read the image '.*3\.jpg'[^\n]*$"):
        train(small_run(base, tmp_path / "run", data=corrupt_data, num_workers=1, bad_samples="stop"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": "nowhere"}, "`model` must be a model folder with config.json, a file or a Hub .*, got 'nowhere'"),
        ({"data": {"kind": "scenes", "count": 3, "size": 64}}, "hold 3 images, fewer than one step of 4"),
        ({"data": {"kind": "scenes", "count": 0, "size": 64}}, "hold 0 images"),
        ({"data": "no/such/root"}, "'no/such/root' is not a folder"),
        ({"validation": {"kind": "scenes", "count": 0, "size": 64}}, "validation data .* hold no images"),
        ({"eval_prompts": ["box", "oval"]}, "A prompt must be one of box"),
        (
            {"model": None, "architecture": {"vision_config": {"hidden": 3}}, "train": "sam"},
            "got 'hidden' in vision_config. The fields are .*hidden_size",
        ),
        (
            {"model": None, "architecture": {"encoder": {}}, "train": "sam"},
            "fields of HQSamConfig, got 'encoder'. The fields are vision_config, ",
        ),
        ({"hq_init": "sam"}, "`hq_init` must be left out for .*, which has an HQ head"),
        ({"trackers": ["comet_ml"]}, "`trackers` names comet_ml, which is not installed"),
        ({"trackers": ["tensorbord"]}, "tensorbord. Choose between"),
        ({"precision": "fp16"}, "`precision: fp16` needs a GPU"),
    ],
)
def test_a_run_that_cannot_start_raises_and_makes_no_folder(base, tmp_path, fields, message):
    """A corrected configuration can then use the same folder."""
    with pytest.raises((ValueError, OSError), match=message):
        train(small_run(base, tmp_path / "run", **fields))
    assert not (tmp_path / "run").exists()


def test_a_tiny_vit_is_not_trained_as_a_plain_sam(tmp_path):
    torch.manual_seed(0)
    model = HQSamModel(HQSamConfig.from_preset("vit_tiny", image_size=64))
    names = keys_to_original(model.state_dict())
    plain = {names[name]: weight for name, weight in model.state_dict().items() if not is_hq_key(name)}
    torch.save(plain, tmp_path / "mobile_sam.pt")
    with pytest.raises(ValueError, match="`train: sam` saves a plain SAM .* which has no TinyViT"):
        train(small_run(tmp_path / "mobile_sam.pt", tmp_path / "run", train="sam"))
    assert not (tmp_path / "run").exists()
