"""Training: one configuration, one loop.

Run as `hq-sam train config.yaml` or `accelerate launch -m hq_sam_hf.training config.yaml`.
"""

import argparse
import logging
import math
import shutil
import signal
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from accelerate.tracking import get_available_trackers
from accelerate.utils import LoggerType, parse_flag_from_env, set_seed
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from ..data.factory import load_rows
from ..evaluation.prompts import parse_prompt
from ..model.files import write_atomically
from ..utils.distributed import connect
from .base_model import load_base
from .checkpoints import Checkpoints, copy_weights, learned_weights
from .config import FROM_SCRATCH, TrainingConfig
from .dataset import Batch, Deliveries, StepBatches, TrainingSamples
from .ema import WeightAverage
from .export import export_run
from .logs import RunLog
from .lora import merged_adapters
from .objectives import MaskLearner
from .sam_objective import SamLearner
from .validation import first_of_each_set, score, validate

logger = logging.getLogger(__name__)

# How `accelerate launch` tells what its configuration asks for. On a CPU, Accelerate itself would pass over them.
SHARDING = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
}
# Seconds that processes which load data stay after SIGTERM, for the step that the run then finishes and saves.
GRACE = 60
PRECISIONS = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


@dataclass
class Position:
    """Where a run is: steps done, the best validation score so far, validations since, and figures of the last one."""

    step: int = 0
    images_per_step: int = 0
    best: float | None = None
    waited: int = 0
    figures: dict[str, float] = field(default_factory=dict)


def train(config: TrainingConfig) -> Path:
    """Run a training to its end and give the folder of the result, `output_dir/final`.

    On SIGTERM or Ctrl-C the state is saved and SystemExit raised, with code 0 or 130; with `resume` a run goes on from
    its newest checkpoint, bit for bit on a CPU. Raises ValueError for a configuration that does not fit the data, the
    model or an earlier run, FloatingPointError where the loss is no longer a number, OSError where a checkpoint cannot
    be written.
    """
    try:
        return TrainingRun(config).run()
    finally:
        AcceleratorState._reset_state()  # the next run of this process may want another precision


class TrainingRun:
    """A run that is set up. `run` is the loop; the other methods are its parts."""

    def __init__(self, config: TrainingConfig) -> None:
        self.config, self.output = config, Path(config.output_dir)
        _refuse_what_cannot_run(config)
        self.accelerator = connect(
            Accelerator,
            mixed_precision=PRECISIONS[config.precision],
            log_with=config.trackers or None,
            project_dir=config.output_dir,
            # A step from scratch may use only some weights: a box asks for one mask, a point for three.
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=config.train == FROM_SCRATCH)],
        )
        if config.precision == "fp16" and self.accelerator.device.type == "cpu":  # Accelerate would take fp32
            raise ValueError("`precision: fp16` needs a GPU. On a CPU choose bf16 or fp32.")
        self.is_main = self.accelerator.is_main_process
        if self.is_main:
            _refuse_another_run(self.output, config)
        self.accelerator.wait_for_everyone()
        set_seed(config.seed)  # for the weights that start at random
        self.model, self.processor = load_base(config)
        pictures = self.processor.image_processor
        kind = SamLearner if config.train == FROM_SCRATCH else MaskLearner
        learner = kind(self.model, config, pictures.image_mean, pictures.image_std)
        optimizer = _make_optimizer([weight for _, weight in learner.learned_parameters()], config)
        self.learner, self.optimizer = self.accelerator.prepare(learner, optimizer)
        self.average = WeightAverage(self.model, config.ema_decay)
        self.accelerator.register_for_checkpointing(self.average)

        rows = load_rows(config.data, "train")
        self.samples = TrainingSamples(
            rows, config, self.model.config.vision_config.image_size, self.model.config.mask_size
        )
        self.validation = load_rows(config.validation, "validation") if config.validation else None
        if self.validation is not None:
            if len(self.validation) == 0:
                raise ValueError(
                    f"The validation data {config.validation!r} hold no images. Name others, or null for none."
                )
            self.validation = first_of_each_set(self.validation, config.eval_samples)
        self.batches = StepBatches(
            len(rows),
            config.seed,
            config.batch_size,
            config.accumulation,
            self.accelerator.num_processes,
            self.accelerator.process_index,
        )
        steps = self.batches.steps_per_epoch * config.epochs
        self.last = min(steps, config.max_steps or steps)
        self.validate_every = config.eval_steps or self.batches.steps_per_epoch
        self.checkpoints = Checkpoints(self.accelerator, self.output / "checkpoints", config.keep_checkpoints)
        self.log = RunLog(self.output)
        self.position = Position(images_per_step=self.batches.images_per_step)
        if config.resume:
            self._resume()
        if self.is_main:
            _claim_folder(self.output, config)
            self.log.forget_after(self.position.step)
        self.accelerator.wait_for_everyone()
        self.accelerator.init_trackers("hq_sam_hf", config={key: str(value) for key, value in asdict(config).items()})

    def _resume(self) -> None:
        """Put the newest checkpoint in place, if there is any."""
        found = self.checkpoints.newest_position()
        if found is None:
            if self.is_main:
                logger.warning("there is no checkpoint in %s to resume, so the run starts", self.checkpoints.folder)
            return
        images, processes = self.batches.images_per_step, self.accelerator.num_processes
        if found.get("images_per_step", images) != images:
            raise ValueError(
                f"The run in {self.output} was started with {found['images_per_step']} images a step, and on "
                f"{processes} process{'es' if processes > 1 else ''} it would be {images}. Resume it on as many."
            )
        self.checkpoints.load_newest()
        self.position = Position(**{"images_per_step": images, **found})

    @property
    def is_over(self) -> bool:
        """After the last step, or where validations have not become better for too long."""
        patience = self.config.patience
        return self.position.step >= self.last or (patience is not None and self.position.waited >= patience)

    def run(self) -> Path:
        config, position, batches = self.config, self.position, self.batches
        batches.first, batches.last = position.step, self.last
        stream = _batches(self.samples, batches, config.num_workers)
        sums: dict[str, float] = defaultdict(float)
        with _progress(batches, position.step, self.last, self.is_main) as progress, _watching_for_stop() as told:
            while not self.is_over:
                passes = [next(stream).to(self.accelerator.device) for _ in range(config.accumulation)]
                rate = learning_rate(config, position.step, self.last, batches.steps_per_epoch)
                stop = self.take_step(passes, rate, sums, told.is_set)
                self.average.update(self.model)
                position.step += 1
                progress.update(batches.images_per_step)
                ends = position.step == self.last
                if position.step % config.log_steps == 0 or ends:
                    self.report({"learning_rate": rate, **_means(sums)}, progress)
                if self.validation is not None and (position.step % self.validate_every == 0 or ends):
                    self.report(self.validate(), progress)
                if position.step % config.save_steps == 0 or self.is_over or stop:
                    self.checkpoints.save(asdict(position))
                if stop and not self.is_over:
                    logger.warning("told to stop: step %d is saved, go on with --resume", position.step)
                    raise SystemExit(told.code)
        self.finish()
        return self.output / "final"

    def take_step(self, passes: list[Batch], rate: float, sums: dict[str, float], told: bool) -> bool:
        """One update of the weights. Adds to `sums`; tells if any process was asked to stop."""
        accelerator = self.accelerator
        masks = sum(int(batch.present.sum()) for batch in passes)
        total = accelerator.reduce(torch.tensor(float(masks), device=accelerator.device), "sum")
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        parts: dict[str, Tensor] = {}
        for turn, batch in enumerate(passes):
            with accelerator.no_sync(self.learner) if turn + 1 < len(passes) else nullcontext():
                losses = self.learner(batch)
                # Processes average their gradients, so the mean over all masks needs the number of processes again.
                accelerator.backward(losses["loss"] * accelerator.num_processes / total)
            for name, value in losses.items():
                parts[name] = parts.get(name, 0) + value.detach().float()
        told_and_losses = torch.stack([torch.tensor(float(told), device=accelerator.device), *parts.values()])
        told_and_losses = accelerator.reduce(told_and_losses, "sum").tolist()
        values = dict(zip(parts, told_and_losses[1:]))
        if not math.isfinite(values["loss"]):
            self._refuse_to_go_on(passes, values["loss"])
        if self.config.max_grad_norm is not None:
            accelerator.clip_grad_norm_(self.learner.parameters(), self.config.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        for name, value in {**values, "masks": float(total)}.items():
            sums[name] += value
        for line in (line for batch in passes for line in batch.skipped):
            logger.warning("skipped %s", line)
        return told_and_losses[0] > 0

    def _refuse_to_go_on(self, passes: list[Batch], loss: float) -> None:
        names = ", ".join(name for batch in passes for name in batch.names)
        found = self.checkpoints.all()
        raise FloatingPointError(
            f"The loss of step {self.position.step + 1} is {loss}, with the images {names}. The weights of the step "
            f"before are {'in ' + str(found[-1]) if found else 'not saved yet'}. Lower learning_rate, set "
            "max_grad_norm, or leave these images out."
        )

    def report(self, line: dict[str, float], progress: tqdm) -> None:
        if self.is_main:
            self.log.append({"step": self.position.step, **line})
            progress.set_postfix(
                {name: f"{value:.4g}" for name, value in line.items() if name in ("loss", "val_hq_mbiou")}
            )
        self.accelerator.log(line, step=self.position.step)

    def validate(self) -> dict[str, float]:
        """Figures of the validation data, with the averaged weights where there are any; keeps the best weights."""
        folder = self.output / "overlays" / f"step-{self.position.step:08d}"
        with self.average.in_place(self.model):
            figures = validate(self.config, self.model, self.processor, self.accelerator, self.validation, folder)
            reached = score(figures, self.config)
            if reached is None:
                return {}
            self.position.figures = figures
            if self.position.best is None or reached > self.position.best:
                self.position.best, self.position.waited = reached, 0
                if self.is_main:
                    best = {name: weight.cpu() for name, weight in learned_weights(self.model).items()}
                    state = {"weights": best, "figures": figures, "step": self.position.step}
                    write_atomically(self.output / "best.pt", lambda file: torch.save(state, file))
            else:
                self.position.waited += 1
        if self.is_main:
            self.log.draw_curves()
        return figures

    def finish(self) -> None:
        """Write `final/`, the last weights, and `best/`, those of the best validation."""
        if self.is_main:
            with self.average.in_place(self.model):
                self._export("final", self.position.step, self.position.figures)
            best = self.output / "best.pt"
            if best.is_file():
                state = torch.load(best, map_location="cpu", weights_only=True)
                copy_weights(state["weights"], learned_weights(self.model))
                self._export("best", state["step"], state["figures"])
            self.log.draw_curves()
            if self.config.push_to_hub is not None:
                from ..export.conversion import push_folder

                push_folder(self.output / "final", self.config.push_to_hub)
        self.accelerator.wait_for_everyone()
        self.accelerator.end_training()

    def _export(self, name: str, steps: int, figures: dict[str, float]) -> None:
        weights = list(self.model.parameters())
        facts = {
            "trained": sum(weight.numel() for weight in weights if weight.requires_grad),
            "total": sum(weight.numel() for weight in weights),
            "steps": steps,
            "images_per_step": self.batches.images_per_step,
        }
        with merged_adapters(self.model):
            export_run(self.output / name, self.model, self.processor, self.config, facts, figures)


def learning_rate(config: TrainingConfig, step: int, last: int, steps_per_epoch: int) -> float:
    """The rate of update `step`, counted from 0."""
    rate = config.learning_rate * min(1.0, (step + 1) / max(1, config.warmup_steps))
    if config.schedule == "step":
        return rate * (0.1 if step // steps_per_epoch >= config.drop_epoch else 1.0)
    if config.schedule == "cosine":
        return rate * 0.5 * (1 + math.cos(math.pi * min(1.0, step / (config.schedule_steps or last))))
    return rate


def _refuse_what_cannot_run(config: TrainingConfig) -> None:
    for variable, name in SHARDING.items():
        if parse_flag_from_env(variable):
            raise ValueError(
                f"Training runs on one process or with DDP, got {name}. Choose multi-GPU in `accelerate config`: the "
                "trained part is small, so there is nothing to shard."
            )
    for name in config.eval_prompts:
        parse_prompt(name)
    absent = set(config.trackers) & set(LoggerType.list()) - {str(one) for one in [*get_available_trackers(), "all"]}
    if absent:  # Accelerate would go on without
        raise ValueError(f"`trackers` names {', '.join(sorted(absent))}, which is not installed: pip install it.")


def _refuse_another_run(output: Path, config: TrainingConfig) -> None:
    import yaml

    file = output / "config.yaml"
    if file.is_file():
        if not config.resume:
            raise ValueError(f"{output} holds a run already. Pass --resume to go on with it, or another output_dir.")
        config.refuse_changes(yaml.safe_load(file.read_text()))


def _claim_folder(output: Path, config: TrainingConfig) -> None:
    """Make the folder and note the configuration in it. Done last, so that what cannot start leaves nothing behind."""
    import yaml

    output.mkdir(parents=True, exist_ok=True)
    for part in (output / "checkpoints").glob(".step-*.part"):  # a kill while saving left it
        shutil.rmtree(part)
    text = yaml.safe_dump({**config.to_dict(), "resume": False}, sort_keys=False)
    write_atomically(output / "config.yaml", lambda stream: stream.write(text.encode()))


def _make_optimizer(weights: list[torch.nn.Parameter], config: TrainingConfig) -> torch.optim.Optimizer:
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind(weights, lr=config.learning_rate, weight_decay=config.weight_decay)


def _batches(samples: TrainingSamples, batches: StepBatches, num_workers: int) -> Iterator[Batch]:
    loader: Any = DataLoader(
        Deliveries(samples),
        sampler=batches,
        batch_size=None,
        num_workers=num_workers,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_outlive_the_step,
    )
    for delivered in loader:
        if isinstance(delivered, Exception):
            raise delivered
        yield delivered


def _outlive_the_step(_: int) -> None:
    """Let a process that loads data go on for the step when all processes of a run are told to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "alarm"):  # which ends the process; there is none on Windows, nor are such signals
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE))


def _progress(batches: StepBatches, first: int, last: int, shown: bool) -> tqdm:
    size = batches.images_per_step
    return tqdm(total=last * size, initial=first * size, unit="image", disable=not shown, mininterval=1.0)


def _means(sums: dict[str, float]) -> dict[str, float]:
    masks = sums.pop("masks", 0.0)
    means = {name: value / max(masks, 1.0) for name, value in sums.items()}
    sums.clear()
    return means


@dataclass
class _Told:
    """Whether the run was asked to stop, and the code that it then exits with."""

    is_set: bool = False
    code: int = 0


@contextmanager
def _watching_for_stop() -> Iterator[_Told]:
    """Within the block SIGTERM and Ctrl-C set a flag that the loop looks at after each step; a second Ctrl-C stops.

    In a thread, where Python lets nobody watch for signals, they do what they did before.
    """
    told = _Told()
    if threading.current_thread() is not threading.main_thread():
        yield told
        return

    def note(number: int, _: object) -> None:
        told.is_set = True
        if number == signal.SIGINT:
            told.code = 128 + signal.SIGINT  # as shells have it, so that `train && evaluate` stops
            signal.signal(signal.SIGINT, signal.default_int_handler)
            logger.warning("stopping after this step; press Ctrl-C again to stop at once and save nothing")

    earlier = {signal.SIGTERM: signal.signal(signal.SIGTERM, note)}
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as it is for commands in the background of a script
        earlier[signal.SIGINT] = signal.signal(signal.SIGINT, note)
    try:
        yield told
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def main(argv: list[str] | None = None) -> None:
    """`CONFIG.yaml [key=value ...] [--resume]`, for `accelerate launch -m hq_sam_hf.training`."""
    parser = argparse.ArgumentParser(prog="hq_sam_hf.training", description=main.__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--resume", action="store_true")
    arguments = parser.parse_intermixed_args(argv)
    try:
        train(TrainingConfig.load(arguments.config, arguments.overrides, arguments.resume))
    except (ValueError, TypeError, OSError, FloatingPointError) as error:
        raise SystemExit(f"hq_sam_hf.training: {' '.join(str(error).split())}") from None


__all__ = ["TrainingRun", "learning_rate", "main", "train"]
