"""What a launcher asked for: obeyed, or refused where it contradicts the configuration."""

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


def refuse_contradictions(config: TrainingConfig) -> None:
    """Raise ValueError if the environment, as a launcher sets it, asks for what the run would not do."""
    for variable, name in SHARDING.items():
        if parse_flag_from_env(variable):
            raise ValueError(
                f"Training runs on one process or with DDP, got {name}. Choose multi-GPU in `accelerate config`: the "
                "trained part is small, so there is nothing to shard."
            )
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


__all__ = ["PRECISIONS", "describe_run", "refuse_contradictions"]
