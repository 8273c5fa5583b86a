import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from hq_sam_hf import HQSamConfig, HQSamModel, HQSamProcessor
from hq_sam_hf.cli import main
from hq_sam_hf.data.factory import load_rows
from hq_sam_hf.evaluation.evaluator import evaluate
from hq_sam_hf.model.checkpoint_format import is_hq_key
from hq_sam_hf.model.key_mapping import keys_to_original
from hq_sam_hf.scenes import SceneGenerator
from hq_sam_hf.training.trainer import TrainingRun, learning_rate, train
from hq_sam_hf.training.trainer import main as training_main
from hq_sam_hf.training.validation import first_of_each_set
from support.launched import LAUNCHER, LEFT_OPEN
from support.small_hqseg44k import small_files, write_folders
from support.small_runs import ARCHITECTURE, save_base, small_run

FINAL = "final/model.safetensors"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def whole(base, tmp_path_factory):
    """A run of four steps that nothing disturbed."""
    return train(small_run(base, tmp_path_factory.mktemp("runs") / "whole")).parent


def equal_weights(first: Path, second: Path) -> None:
    one, two = load_file(first / FINAL), load_file(second / FINAL)
    assert one.keys() == two.keys()
    for name in one:
        assert torch.equal(one[name], two[name]), name


def close_weights(first: Path, second: Path, base: Path) -> None:
    """Equal to rounding, by how far training moved them. In norm, since Adam blows up rounding of tiny gradients."""
    one, two, start = load_file(first / FINAL), load_file(second / FINAL), load_file(base / "model.safetensors")
    for name in one:
        moved = (one[name] - start[name]).norm().item()
        assert (one[name] - two[name]).norm().item() <= max(1e-3 * moved, 1e-7), name


def log_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_just_the_hq_head_is_trained(base, whole):
    before, after = load_file(base / "model.safetensors"), load_file(whole / FINAL)
    for name in before:
        assert torch.equal(before[name], after[name]) != is_hq_key(name), name


def test_the_encoder_keeps_no_activations(base, tmp_path):
    run = TrainingRun(small_run(base, tmp_path / "run"))
    images = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    embeddings, early = run.learner.encode(images)
    assert not embeddings.requires_grad
    assert not early[0].requires_grad
    assert {id(weight) for group in run.optimizer.param_groups for weight in group["params"]} == {
        id(weight) for name, weight in run.model.named_parameters() if is_hq_key(name)
    }


def test_a_run_leaves_what_is_documented(base, whole):
    names = {path.name for path in whole.iterdir()}
    assert {"config.yaml", "log.jsonl", "curves.png", "checkpoints", "final"} <= names
    assert [path.name for path in sorted((whole / "checkpoints").iterdir())] == ["step-00000003", "step-00000004"]
    assert [line["step"] for line in log_of(whole)] == [1, 2, 3, 4]
    model = HQSamModel.from_pretrained(whole / "final")
    HQSamProcessor.from_pretrained(whole / "final")
    other = HQSamModel.from_pretrained(base)
    other.load_hq_head(whole / "final")
    for name, weight in other.state_dict().items():
        assert torch.equal(weight, model.state_dict()[name]), name
    card = (whole / "final" / "README.md").read_text()
    assert "4 steps of 4 images" in card
    assert "hq_token_only=True" in card
    assert "learning_rate: 0.001" in card


def test_the_card_and_all_else_that_is_uploaded_names_no_folder_of_this_machine(base, whole):
    """The folders of a user are nobody's business."""
    for path in (whole / "final").iterdir():
        content = path.read_bytes()
        assert str(whole.parent).encode() not in content, path.name
        assert str(base.parent).encode() not in content, path.name
    card = (whole / "final" / "README.md").read_text()
    assert f"Base model: {base.name}\n" in card
    assert f"model: {base.name}\n" in card
    assert "output_dir: whole\n" in card
    assert "base_model" not in card


@pytest.mark.parametrize("stopped_after", [1, 3])
def test_a_resumed_run_equals_one_that_was_not_stopped(base, whole, tmp_path, stopped_after):
    train(small_run(base, tmp_path / "run", max_steps=stopped_after))
    train(small_run(base, tmp_path / "run", resume=True))
    equal_weights(tmp_path / "run", whole)
    assert log_of(tmp_path / "run") == log_of(whole)


def test_there_may_be_nothing_to_resume(base, whole, tmp_path, caplog):
    train(small_run(base, tmp_path / "run", resume=True))
    assert f"there is no checkpoint in {tmp_path / 'run' / 'checkpoints'} to resume" in caplog.text
    equal_weights(tmp_path / "run", whole)


def test_a_run_is_resumed_on_as_many_processes_as_before(base, tmp_path):
    train(small_run(base, tmp_path / "run", max_steps=1))
    position = tmp_path / "run" / "checkpoints" / "step-00000001" / "position.json"
    position.write_text(position.read_text().replace('"images_per_step": 4', '"images_per_step": 8'))
    with pytest.raises(
        ValueError, match="started with 8 images a step, and on 1 process it would be 4. Resume it on as many"
    ):
        train(small_run(base, tmp_path / "run", resume=True))


def test_fields_beyond_the_recipe_resume_exactly_too(base, tmp_path):
    fields = {"optimizer": "adamw", "ema_decay": 0.9, "max_grad_norm": 0.1, "warmup_steps": 3, "accumulation": 2}
    fields |= {"batch_size": 2, "train": "hq_head_and_decoder"}
    train(small_run(base, tmp_path / "whole", **fields))
    train(small_run(base, tmp_path / "run", max_steps=2, **fields))
    train(small_run(base, tmp_path / "run", resume=True, **fields))
    equal_weights(tmp_path / "run", tmp_path / "whole")


@pytest.mark.usefixtures("with_ctrl_c")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
@pytest.mark.parametrize("workers", [0, 1])
def test_told_to_stop_it_saves_and_ends_well(base, whole, tmp_path, monkeypatch, number, code, workers):
    take_step = TrainingRun.take_step

    def take_step_and_be_told(self, *arguments):
        if self.position.step == 1:
            os.kill(os.getpid(), number)
            for worker in multiprocessing.active_children():  # a scheduler tells all, and is none's parent
                subprocess.run(["kill", f"-{int(number)}", str(worker.pid)], check=True)
        return take_step(self, *arguments)

    monkeypatch.setattr(TrainingRun, "take_step", take_step_and_be_told)
    with pytest.raises(SystemExit) as ended:
        train(small_run(base, tmp_path / "run", save_steps=100, num_workers=workers))
    assert ended.value.code == code
    assert not (tmp_path / "run" / "final").exists()
    monkeypatch.undo()
    train(small_run(base, tmp_path / "run", save_steps=100, num_workers=workers, resume=True))
    equal_weights(tmp_path / "run", whole)


@pytest.mark.usefixtures("with_ctrl_c")
def test_a_second_interrupt_stops_at_once(base, tmp_path, monkeypatch):
    def interrupted(self, *arguments):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(TrainingRun, "take_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(small_run(base, tmp_path / "run", save_steps=100))
    assert not list((tmp_path / "run" / "checkpoints").glob("step-*"))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_run_in_a_thread_is_the_same(base, whole, tmp_path):
    with ThreadPoolExecutor() as threads:  # signals can be watched in the main one alone
        threads.submit(train, small_run(base, tmp_path / "run")).result()
    equal_weights(tmp_path / "run", whole)


def test_accumulation_divides_a_step(base, whole, tmp_path):
    train(small_run(base, tmp_path / "run", batch_size=2, accumulation=2))
    close_weights(tmp_path / "run", whole, base)
    assert [line["loss"] for line in log_of(tmp_path / "run")] == pytest.approx(
        [line["loss"] for line in log_of(whole)], rel=1e-5
    )


@pytest.mark.slow
def test_two_processes_divide_a_step(base, whole, tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(small_run(base, tmp_path / "run", batch_size=2).to_dict()))
    run = [*LAUNCHER, "hq_sam_hf.training", str(file)]
    done = subprocess.run(run, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert LEFT_OPEN not in done.stderr
    close_weights(tmp_path / "run", whole, base)
    assert [line["loss"] for line in log_of(tmp_path / "run")] == pytest.approx(
        [line["loss"] for line in log_of(whole)], rel=1e-5
    )
    with pytest.raises(ValueError, match="started with 4 images a step, and on 1 process it would be 2"):
        train(small_run(base, tmp_path / "run", batch_size=2, resume=True))


@pytest.mark.slow
def test_killed_at_any_moment_and_resumed_equals_undisturbed(base, tmp_path):
    fields = {"epochs": 8, "num_workers": 1}
    train(small_run(base, tmp_path / "whole", **fields))
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(small_run(base, tmp_path / "run", **fields).to_dict()))
    moments = np.random.default_rng(5)
    for _ in range(3):
        process = start(file)
        wait_for(lambda: any((tmp_path / "run" / "checkpoints").glob("step-*")), process)
        time.sleep(moments.uniform(0.0, 0.6))
        process.send_signal(signal.SIGKILL)
        process.wait()
    final = start(file)
    assert final.wait(timeout=120) == 0
    equal_weights(tmp_path / "run", tmp_path / "whole")
    assert log_of(tmp_path / "run") == log_of(tmp_path / "whole")


def start(file: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "hq_sam_hf.training", str(file), "--resume"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def wait_for(condition, process: subprocess.Popen) -> None:
    limit = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, "the run ended on its own"
        assert time.monotonic() < limit
        time.sleep(0.02)


def test_a_folder_with_another_run_is_left_alone(base, whole, tmp_path):
    before = (whole / "config.yaml").read_bytes()
    with pytest.raises(ValueError, match="holds a run already. Pass --resume"):
        train(small_run(base, whole))
    with pytest.raises(ValueError, match="`learning_rate` was 0.001 and is 0.1"):
        train(small_run(base, whole, learning_rate=0.1, resume=True))
    assert (whole / "config.yaml").read_bytes() == before


def test_a_loss_that_is_no_number_stops_the_run_and_leaves_the_last_checkpoint(base, tmp_path):
    with pytest.raises(
        FloatingPointError, match=r"The loss of step \d is (nan|inf), with the images (thin|solid)/train_0"
    ):
        train(small_run(base, tmp_path / "run", learning_rate=1e30, epochs=20))
    left = sorted((tmp_path / "run" / "checkpoints").iterdir())
    assert left
    weights = torch.load(left[0] / "learned_weights.pt", weights_only=True)
    assert weights


def test_a_full_disk_is_reported_with_what_is_left(base, tmp_path, monkeypatch):
    save, calls = torch.save, []

    def fail_later(*arguments, **options):
        calls.append(arguments)
        if len(calls) > 6:
            raise OSError(28, "No space left on device")
        return save(*arguments, **options)

    monkeypatch.setattr(torch, "save", fail_later)
    with pytest.raises(
        OSError, match=r"Cannot write the checkpoint step-0000000\d.*No space left.*last whole one is .*step-"
    ):
        train(small_run(base, tmp_path / "run"))
    names = [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()]
    assert names
    assert all(name.startswith("step-") for name in names)


def test_a_corrupt_file_in_the_middle_of_an_epoch_is_skipped_and_named(base, tmp_path, caplog):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for i, scene in enumerate(SceneGenerator(8, size=64)):
        scene["image"].save(tmp_path / "images" / f"{i}.jpg")
        scene["masks"][0].point(lambda value: 255 * (value > 127)).save(tmp_path / "masks" / f"{i}.png")
    whole = (tmp_path / "images" / "3.jpg").read_bytes()
    (tmp_path / "images" / "3.jpg").write_bytes(whole[: len(whole) // 2])
    data = {"kind": "folders", "images": str(tmp_path / "images"), "masks": str(tmp_path / "masks")}
    train(small_run(base, tmp_path / "run", data=data, num_workers=1))
    skipped = [record.message for record in caplog.records if record.message.startswith("skipped")]
    assert len(skipped) == 2  # once an epoch
    assert all("/3: cannot read the image" in line for line in skipped)
    assert len(log_of(tmp_path / "run")) == 4
    with pytest.raises(
        ValueError, match=r"^\w+/3: cannot read the image '.*3\.jpg'[^\n]*$"
    ):  # one line, from a worker
        train(small_run(base, tmp_path / "strict", data=data, num_workers=1, bad_samples="stop"))


@pytest.mark.parametrize(
    ("variable", "name"), [("ACCELERATE_USE_FSDP", "FSDP"), ("ACCELERATE_USE_DEEPSPEED", "DeepSpeed")]
)
def test_sharded_training_is_refused(base, tmp_path, monkeypatch, variable, name):
    monkeypatch.setenv(variable, "true")  # as `accelerate launch` sets it
    with pytest.raises(ValueError, match=f"one process or with DDP, got {name}"):
        train(small_run(base, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


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
            "got 'hidden' in vision_config. Known are .*hidden_size",
        ),
        (
            {"model": None, "architecture": {"encoder": {}}, "train": "sam"},
            "fields of HQSamConfig, got 'encoder'. Known are vision_config, ",
        ),
        ({"hq_init": "sam"}, "`hq_init` must be left out for .*, which has an HQ head"),
        ({"trackers": ["comet_ml"]}, "`trackers` names comet_ml, which is not installed"),
        ({"trackers": ["tensorbord"]}, "tensorbord. Choose between"),
        ({"precision": "fp16"}, "`precision: fp16` needs a GPU"),
    ],
)
def test_a_run_that_cannot_start_says_why_and_leaves_no_folder(base, tmp_path, fields, message):
    """So that the mended configuration may have the same folder."""
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


@pytest.mark.parametrize("command", [["train"], None], ids=["hq-sam train", "python -m hq_sam_hf.training"])
def test_overrides_and_resume_come_in_any_order(tmp_path, monkeypatch, command, capsys):
    seen = []
    monkeypatch.setattr("hq_sam_hf.training.trainer.train", lambda config: seen.append(config) or tmp_path)
    (tmp_path / "run.yaml").write_text("model: base\ndata: x\noutput_dir: y\n")
    run = training_main if command is None else lambda arguments: main([*command, *arguments])
    file = str(tmp_path / "run.yaml")
    for arguments in ([file, "epochs=3", "--resume"], [file, "--resume", "epochs=3"], ["--resume", file, "epochs=3"]):
        run(arguments)
        assert (seen[-1].epochs, seen[-1].resume) == (3, True)
    with pytest.raises(SystemExit) as ended:
        run([file, "epochs=3", "--resum", "--fast"])
    assert ended.value.code == 2
    with pytest.raises(SystemExit) as ended:
        main(["convert", "a", "b", "c=3"])
    assert "unrecognized arguments: c=3" in capsys.readouterr().err


def test_a_launched_run_that_cannot_start_is_one_line(tmp_path):
    (tmp_path / "run.yaml").write_text("model: base\ndata: x\noutput_dir: y\nepoch: 3\n")
    with pytest.raises(SystemExit, match="hq_sam_hf.training: `epoch` is no field .* Did you mean `epochs`"):
        training_main([str(tmp_path / "run.yaml")])


def test_rates_of_the_schedules():
    step = small_run("base", "out", epochs=12)
    rates = [learning_rate(step, epoch * 10, 120, 10) for epoch in range(12)]
    assert rates == pytest.approx(10 * [1e-3] + 2 * [1e-4])
    cosine = small_run("base", "out", schedule="cosine", warmup_steps=10)
    assert learning_rate(cosine, 0, 100, 10) == pytest.approx(1e-4)
    assert learning_rate(cosine, 50, 100, 10) == pytest.approx(5e-4)
    assert learning_rate(cosine, 99, 100, 10) < 1e-6
    longer = small_run("base", "out", schedule="cosine", schedule_steps=200)
    assert learning_rate(longer, 100, 100, 10) == pytest.approx(5e-4)
    assert learning_rate(longer, 250, 300, 10) == 0


@pytest.mark.parametrize("target", ["sam_mask_token", "sam_decoder", "hq_head_and_decoder"])
def test_other_targets_move_their_own_weights_alone(base, tmp_path, target):
    final = train(small_run(base, tmp_path / "run", train=target, max_steps=2))
    before, after = load_file(base / "model.safetensors"), load_file(final / "model.safetensors")
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert all(name.startswith("mask_decoder.") for name in moved)
    if target == "sam_mask_token":
        assert all("mask_tokens" in name or "output_hypernetworks_mlps.0" in name for name in moved)
    else:
        assert "mask_decoder.upscale_conv1.weight" in moved
        assert any(map(is_hq_key, moved)) == (target == "hq_head_and_decoder")


def test_a_sam_from_scratch_becomes_a_base(tmp_path):
    config = small_run("", tmp_path / "run", model=None, architecture=ARCHITECTURE, train="sam", epochs=1)
    final = train(config)
    assert "iou_2" in log_of(tmp_path / "run")[0]  # a first prompt and two corrective clicks
    assert "vit_dim" not in (final / "config.json").read_text()  # a plain SAM has no HQ head
    model = HQSamModel.from_sam_pretrained(final)
    assert model.config.mask_decoder_config.hidden_size == 32
    assert model.config.vision_config.patch_size == 8
    random, as_sam = (
        train(small_run(final, tmp_path / hq_init, epochs=1, hq_init=hq_init)) for hq_init in ("random", "sam")
    )
    decoders = {path: HQSamModel.from_pretrained(path).mask_decoder for path in (random, as_sam)}
    distance = {path: (one.hq_token.weight - one.mask_tokens.weight[:1]).abs().max() for path, one in decoders.items()}
    assert distance[as_sam] < 0.01 < distance[random]  # two steps of 0.001 from SAM's token, and from elsewhere


VALIDATION = {"kind": "scenes", "count": 12, "size": 64}


def test_validation_gives_figures_pictures_curves_and_the_best_weights(base, tmp_path):
    final = train(small_run(base, tmp_path / "run", validation=VALIDATION, eval_overlays=3))
    lines = [line for line in log_of(tmp_path / "run") if "val_hq_mbiou" in line]
    assert [line["step"] for line in lines] == [2, 4]  # after each epoch
    assert {"val_sam_miou", "val_hq_miou", "val_sum_mbiou", "val_hq_mbiou_thin"} <= lines[0].keys()
    figures = json.loads((final / "figures.json").read_text())
    assert figures == {name: value for name, value in lines[-1].items() if name != "step"}
    for step in (2, 4):
        assert len(list((tmp_path / "run" / "overlays" / f"step-{step:08d}").glob("*.png"))) == 3
    best = max(lines, key=lambda line: line["val_hq_mbiou"])
    kept = json.loads((tmp_path / "run" / "best" / "figures.json").read_text())
    assert kept["val_hq_mbiou"] == best["val_hq_mbiou"]
    model, processor = HQSamModel.from_pretrained(tmp_path / "run" / "best"), HQSamProcessor.from_pretrained(final)
    again = evaluate(model, processor, {"validation": load_rows(VALIDATION, "validation")}, outputs=("hq",))
    average = [row for row in again.summary() if row["set"] == "average"][0]
    assert average["mbiou"] == pytest.approx(best["val_hq_mbiou"], abs=1e-3)
    assert (tmp_path / "run" / "curves.png").stat().st_size > 5000


def test_validation_takes_the_first_images_of_each_set(tmp_path):
    rows = load_rows(str(write_folders(tmp_path / "hq", small_files(("a", "b", "c")))), "validation")
    few = first_of_each_set(rows, 2)
    assert [(row["set"], row["name"]) for row in few] == [
        (name, item) for name in ("dis", "coift", "hrsod", "thin") for item in "ab"
    ]
    assert len(first_of_each_set(rows, None)) == 12
    scenes = SceneGenerator(5, size=64)
    assert [row["name"] for row in first_of_each_set(scenes, 3)] == [scenes[i]["name"] for i in range(3)]
    assert len(first_of_each_set(scenes, 9)) == 5


def test_training_stops_early_without_progress(base, tmp_path, monkeypatch):
    falling = iter(range(100, 0, -1))
    monkeypatch.setattr("hq_sam_hf.training.trainer.score", lambda figures, config: float(next(falling)))
    fields = {"validation": {**VALIDATION, "count": 2}, "eval_steps": 1, "eval_overlays": 0, "patience": 2}
    train(small_run(base, tmp_path / "run", epochs=5, **fields))
    assert log_of(tmp_path / "run")[-1]["step"] == 3
    assert json.loads((tmp_path / "run" / "best" / "figures.json").read_text()) != {}
    final = (tmp_path / "run" / "final" / "README.md").read_text()
    assert "| val_hq_mbiou |" in final
    # Resumed, it is still over, and has the figures that it had.
    train(small_run(base, tmp_path / "run", epochs=5, resume=True, **fields))
    assert log_of(tmp_path / "run")[-1]["step"] == 3
    assert (tmp_path / "run" / "final" / "README.md").read_text() == final.replace("resume: false", "resume: true")


def test_validation_pictures_that_cannot_be_read_are_named_and_training_goes_on(base, tmp_path, caplog):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"not a picture")
    (tmp_path / "masks" / "a.png").write_bytes(b"not a picture")
    data = {"kind": "folders", "images": tmp_path / "images", "masks": tmp_path / "masks"}
    final = train(small_run(base, tmp_path / "run", validation=data, epochs=1))
    assert "left out of the validation: " in caplog.text
    assert "/a: cannot read the image" in caplog.text
    assert "no mask of the validation data could be measured" in caplog.text
    assert json.loads((final / "figures.json").read_text()) == {}
    assert not (tmp_path / "run" / "best").exists()


def test_averaged_weights_are_what_is_saved(base, tmp_path):
    plain = train(small_run(base, tmp_path / "plain", max_steps=2))
    averaged = train(small_run(base, tmp_path / "averaged", max_steps=2, ema_decay=0.99))
    name = "mask_decoder.hq_token.weight"
    start = load_file(base / "model.safetensors")[name]
    last, average = load_file(plain / "model.safetensors")[name], load_file(averaged / "model.safetensors")[name]
    state = torch.load(tmp_path / "plain/checkpoints/step-00000001/learned_weights.pt", weights_only=True)
    first = next(value for key, value in state.items() if key.endswith("hq_token.weight"))
    # decays 1/10 and 2/11: the average of the start, the first step and the second
    expected = 2 / 11 * (start / 10 + 9 / 10 * first) + 9 / 11 * last
    assert torch.allclose(average, expected, atol=1e-7)


def test_adapters_are_trained_and_merged(base, tmp_path):
    fields = {"lora": {"rank": 2, "alpha": 4, "encoder": True, "decoder": True}, "max_steps": 2}
    final = train(small_run(base, tmp_path / "run", **fields))
    before, after = load_file(base / "model.safetensors"), load_file(final / "model.safetensors")
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name]) and not is_hq_key(name)}
    assert moved
    assert all("attn" in name and name.endswith("weight") for name in moved)
    assert any(name.startswith("vision_encoder") for name in moved)
    assert any(name.startswith("mask_decoder") for name in moved)
    state = torch.load(tmp_path / "run/checkpoints/step-00000002/learned_weights.pt", weights_only=True)
    assert any("lora_" in name for name in state)
    train(small_run(base, tmp_path / "again", **{**fields, "max_steps": 1}))
    resumed = train(small_run(base, tmp_path / "again", **fields, resume=True))
    for name, weight in load_file(resumed / "model.safetensors").items():
        assert torch.equal(weight, after[name]), name


def test_precision_bf16_trains_on_a_cpu(base, tmp_path):
    train(small_run(base, tmp_path / "run", precision="bf16", max_steps=2))
    assert all(np.isfinite(line["loss"]) for line in log_of(tmp_path / "run"))


def test_tensorboard_gets_the_losses(base, tmp_path):
    train(small_run(base, tmp_path / "run", trackers=["tensorboard"], max_steps=1))
    assert list((tmp_path / "run" / "hq_sam_hf").glob("events.out.tfevents*"))
