"""What a launcher asked for: obeyed, or refused where it contradicts the configuration or did not come about."""

import os

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object, parse_flag_from_env

from .config import TrainingConfig

# Variables of `accelerate launch` for what Accelerate ignores on a CPU.
SHARDING = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
}
# The precisions of a configuration by the names that Accelerate has for them.
PRECISIONS = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}
# Variables with the number of a process and with the number of all processes: of torchrun, MPI and srun.
RANKS = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")
SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")
_TORCHRUN = "torchrun --nproc_per_node N -m hq_sam_hf.training CONFIG.yaml"


def refuse_contradictions(config: TrainingConfig) -> None:
    """Raise ValueError if the environment, as a launcher sets it, asks for what the run would not do."""
    for variable, name in SHARDING.items():
        if parse_flag_from_env(variable):
            raise ValueError(
                f"Training runs on one process or with DDP, got {name}. Choose multi-GPU in `accelerate config`: the "
                "trained part is small, so there is nothing to shard."
            )
    _refuse_processes_that_were_not_started()
    asked = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")  # `accelerate launch` sets "no" unless it is asked
    if asked not in ("no", PRECISIONS[config.precision]):
        known = asked in PRECISIONS
        remedy = f"Set `precision: {asked}`, or launch" if known else "Set `precision` to bf16 or fp16 and launch"
        raise ValueError(
            f"The launcher asks for the mixed precision {asked}, but the configuration says `precision: "
            f"{config.precision}`. {remedy} with `--mixed_precision no`."
        )
    passes = os.environ.get("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1")
    if passes not in ("1", str(config.accumulation)):
        raise ValueError(
            f"The launcher asks for {passes} gradient accumulation steps, but the configuration says `accumulation: "
            f"{config.accumulation}`. Set `accumulation: {passes}`, or unset ACCELERATE_GRADIENT_ACCUMULATION_STEPS."
        )
    backend = os.environ.get("ACCELERATE_DYNAMO_BACKEND", "no")
    if backend.lower() != "no":
        raise ValueError(
            f"The launcher asks to compile the model with {backend}, but training does not compile. Launch with "
            "`--dynamo_backend no`."
        )


def _refuse_processes_that_were_not_started() -> None:
    """Raise ValueError where `accelerate launch` was asked for several processes and started one.

    So it does without several GPUs. It then tells the process the address of a first process, but no number.
    """
    launched_by_accelerate = "ACCELERATE_MIXED_PRECISION" in os.environ
    if launched_by_accelerate and "MASTER_PORT" in os.environ and not any(name in os.environ for name in RANKS):
        raise ValueError(
            "`accelerate launch` was asked for several processes, but it started a single one, as it does without "
            f"several GPUs. Start N processes with `{_TORCHRUN}`. For a single one, launch with `--num_processes 1`, "
            "and without MASTER_PORT in the environment."
        )


def refuse_lone_processes(accelerator: Accelerator) -> None:
    """Raise ValueError if this process is one of several that are not connected, which would all do the same."""
    for variable in SIZES:
        size = os.environ.get(variable, "1")
        if accelerator.num_processes == 1 and size.isdigit() and int(size) > 1:
            raise ValueError(
                f"This is one of {size} processes ({variable}) that are not connected, so each would train on its own."
                f" Start them with `{_TORCHRUN}`, or start a single one."
            )


def describe_run(accelerator: Accelerator, config: TrainingConfig) -> str:
    """One line on where a run computes: processes, devices, images per step and precision."""
    device = accelerator.device
    name = f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else device.type
    devices = ", ".join(dict.fromkeys(gather_object([name])))
    processes = accelerator.num_processes
    return (
        f"{processes} process{'es' if processes > 1 else ''} on {devices}; "
        f"{config.batch_size * config.accumulation * processes} images per step (batch_size {config.batch_size} x "
        f"accumulation {config.accumulation} x processes {processes}); precision {config.precision}"
    )


__all__ = ["PRECISIONS", "describe_run", "refuse_contradictions", "refuse_lone_processes"]
