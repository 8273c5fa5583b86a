"""A launcher is obeyed, or refused where it contradicts the configuration; a run says first what it computes on."""

import subprocess
import sys

import pytest
import yaml
from accelerate import Accelerator, PartialState

from hq_sam_hf.training.__main__ import main
from hq_sam_hf.training.accelerator import fresh_accelerator_state, make_accelerator
from hq_sam_hf.training.trainer import train
from support.small_runs import small_run

LAUNCHED = {"ACCELERATE_MIXED_PRECISION": "no", "ACCELERATE_DYNAMO_BACKEND": "NO"}  # by `accelerate launch`
ADDRESS = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


@pytest.fixture(autouse=True)
def one_process():
    """Accelerate reads a launcher's variables once in a process, and writes others into the environment."""
    PartialState(cpu=True)


@pytest.mark.parametrize(
    ("variables", "fields", "message"),
    [
        ({**LAUNCHED, **ADDRESS}, {}, "asked for several processes, but it started a single one.*Start N .*torchrun"),
        ({**LAUNCHED, **ADDRESS, "ACCELERATE_USE_CPU": "True"}, {}, "asked for several processes"),
        ({"ACCELERATE_MIXED_PRECISION": "bf16"}, {}, "precision bf16, .*`precision: fp32`. Set `precision: bf16`, or"),
        ({"ACCELERATE_MIXED_PRECISION": "fp16"}, {"precision": "bf16"}, "fp16, .*`precision: bf16`"),
        ({"ACCELERATE_MIXED_PRECISION": "fp8"}, {}, "fp8, .*Set `precision` to bf16 or fp16 and launch with `--mixed"),
        (
            {"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4"},
            {"accumulation": 2},
            "asks for 4 gradient accumulation steps, .*`accumulation: 2`. Set `accumulation: 4`",
        ),
        ({"ACCELERATE_DYNAMO_BACKEND": "INDUCTOR"}, {}, "compile the model with INDUCTOR.*`--dynamo_backend no`"),
        ({"PMI_SIZE": "2"}, {}, r"one of 2 processes \(PMI_SIZE\) that are not connected"),
        ({"WORLD_SIZE": "3"}, {}, r"one of 3 processes \(WORLD_SIZE\) that are not connected.*torchrun"),
    ],
)
def test_a_launcher_that_contradicts_the_configuration_is_refused(
    base, tmp_path, monkeypatch, variables, fields, message
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with fresh_accelerator_state(), pytest.raises(ValueError, match=message):
        make_accelerator(small_run(base, tmp_path / "run", **fields))


@pytest.mark.parametrize(
    ("variables", "fields"),
    [
        (LAUNCHED, {}),
        (LAUNCHED, {"precision": "bf16"}),  # `accelerate launch` says "no" unless it is asked
        ({"ACCELERATE_MIXED_PRECISION": "bf16"}, {"precision": "bf16"}),
        ({"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "2"}, {"accumulation": 2}),
        (ADDRESS, {}),  # of a cluster, without a launcher
        ({"WORLD_SIZE": "1", "RANK": "0"}, {}),
    ],
)
def test_a_launcher_that_agrees_is_obeyed(base, tmp_path, monkeypatch, variables, fields):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with fresh_accelerator_state():
        accelerator = make_accelerator(small_run(base, tmp_path / "run", **fields))
        assert accelerator.mixed_precision == ("bf16" if fields.get("precision") == "bf16" else "no")
        assert accelerator.gradient_accumulation_steps == 1  # it would divide the loss, which the run does itself


def test_a_run_leaves_the_accelerator_of_the_program_alone(base, tmp_path):
    """Its own has another precision, which Accelerate refuses in one process."""
    with fresh_accelerator_state():
        own = Accelerator(cpu=True)
        folder = train(small_run(base, tmp_path / "run", max_steps=1, precision="bf16"))
        assert (folder / "model.safetensors").exists()
        assert (own.mixed_precision, str(own.device), own.num_processes) == ("no", "cpu", 1)
        assert Accelerator(cpu=True).mixed_precision == "no"
        with pytest.raises(ValueError, match="`precision: fp16` needs a GPU"):
            train(small_run(base, tmp_path / "other", precision="fp16"))
        assert own.mixed_precision == "no"


def test_the_first_line_of_a_run_says_what_it_computes_on(base, tmp_path, capsys):
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(small_run(base, tmp_path / "run", max_steps=1).to_dict()))
    main([str(file), "batch_size=2", "accumulation=2", "precision=bf16"])
    lines = [line.split("\r")[-1].strip() for line in capsys.readouterr().err.splitlines()]
    assert next(line for line in lines if line) == (
        "1 process on cpu; 4 images per step (batch_size 2 x accumulation 2 x processes 1); precision bf16"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--num_processes", "2", "--cpu"], "asked for several processes, but it started a single one"),
        (["--num_processes", "1", "--cpu", "--mixed_precision", "bf16"], "asks for the mixed precision bf16"),
        (["--num_processes", "1", "--cpu"], "1 process on cpu; 4 images per step"),
        (["--config_file", "multi_cpu.yaml"], "asked for several processes, but it started a single one"),
    ],
)
def test_accelerate_launch_is_never_ignored(base, tmp_path, options, expected):
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(small_run(base, tmp_path / "run", max_steps=1).to_dict()))
    config = {"compute_environment": "LOCAL_MACHINE", "distributed_type": "MULTI_CPU", "use_cpu": True}
    config |= {"num_processes": 2, "num_machines": 1, "mixed_precision": "no"}
    (tmp_path / "multi_cpu.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "accelerate.commands.launch", *options, "-m", "hq_sam_hf.training", "run.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert expected in done.stderr
    assert (done.returncode == 0) == expected.startswith("1 process")
    assert (tmp_path / "run").exists() == expected.startswith("1 process")
