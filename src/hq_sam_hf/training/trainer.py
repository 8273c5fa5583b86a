"""The training run: its set-up, the loop, and what it leaves. `TrainingRun.run` is the loop."""

import logging
import math
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor
from tqdm.auto import tqdm

from ..data.factory import load_rows
from ..data.several import SeveralDataSets
from ..evaluation.prompts import parse_prompt
from .accelerator import fresh_accelerator_state, make_accelerator
from .base_model import load_base
from .batch import Batch
from .card import TrainingFacts
from .checkpoints import BestWeights, TrainingCheckpoints
from .config import TrainingConfig
from .contents import data_digest, model_digest
from .dataset import TrainingDataset
from .ema import WeightAverage
from .export import export_run
from .gradients import add_gradients, send_weights
from .image_order import ImageOrder
from .launcher import describe_run
from .loader import StepSampler, load_batches
from .logs import LossMeans, RunLog
from .lora import merged_adapters
from .objectives import ModelWithLoss
from .optimizer import learning_rate, make_optimizer
from .position import Position
from .run_folder import refuse_another_run, refuse_changed_contents, save_config
from .run_lock import hold_run_folder
from .run_state import RunState
from .stop_signals import watch_stop_signals
from .trained_weights import copy_weights, trained_weights
from .validation import first_of_each_set, validate

logger = logging.getLogger(__name__)


def train(config: TrainingConfig) -> Path:
    """Run a training to its end and return the folder of the trained model, `output_dir/final`.

    On SIGTERM or Ctrl-C the run saves its state and raises SystemExit, with code 0 or 130. With `resume` a run
    continues from its newest checkpoint, bit for bit on a CPU.

    Raises ValueError for a configuration that does not fit the data, the model or an earlier run; FloatingPointError
    if the loss is not finite; OSError if a checkpoint cannot be written.
    """
    with fresh_accelerator_state():
        accelerator = make_accelerator(config)
        with hold_run_folder(config.output_dir) if accelerator.is_main_process else nullcontext():
            return TrainingRun(config, accelerator).run()


class StepResult(NamedTuple):
    """A step of all processes.

    loss_sums: over all masks. masks: their number. stop_requested: whether any process was asked to stop. skipped:
    unusable samples that were replaced.
    """

    loss_sums: dict[str, float]
    masks: int
    stop_requested: bool
    skipped: int


class TrainingRun:
    """A run that is set up: the constructor checks and loads everything, `run` trains.

    The constructor makes the output folder last, so that a configuration that cannot run leaves nothing behind.
    """

    def __init__(self, config: TrainingConfig, accelerator: Accelerator | None = None) -> None:
        self.config, self.output = config, Path(config.output_dir)
        for prompt in config.eval_prompts:
            parse_prompt(prompt)
        self.accelerator = accelerator or make_accelerator(config)
        self.is_main = self.accelerator.is_main_process
        logger.info("%s", describe_run(self.accelerator, config))
        self.moved = refuse_another_run(self.output, config)
        self.accelerator.wait_for_everyone()
        self._set_up_model()
        self._set_up_data()
        self._set_up_output()

    def _set_up_model(self) -> None:
        config = self.config
        set_seed(config.seed)  # for weights that start at random
        self.objective = config.make_objective()
        self.model, self.processor = load_base(config)
        self.contents: dict[str, Any] = {"model": model_digest(self.model)}
        image_processor = self.processor.image_processor
        mean, std = image_processor.image_mean, image_processor.image_std
        module = ModelWithLoss(self.model, self.objective, mean, std, config.lora, config.gradient_checkpointing)
        self.trained = [weight for _, weight in module.trained_parameters()]
        optimizer = make_optimizer(self.trained, config)
        # For evaluation, so that it is not wrapped in DistributedDataParallel; see the module `gradients`.
        self.module = self.accelerator.prepare_model(module, evaluation_mode=True)
        self.optimizer = self.accelerator.prepare_optimizer(optimizer)
        send_weights(trained_weights(self.model).values(), self.accelerator)
        self.average = WeightAverage(self.model, config.ema_decay)

    def _set_up_data(self) -> None:
        config, model_config = self.config, self.model.config
        rows = load_rows(config.data, "train")
        self.dataset = TrainingDataset(rows, config, model_config.vision_config.image_size, model_config.mask_size)
        self.validation_rows = _load_validation_rows(config)
        self.contents["data"] = data_digest(rows)
        if self.validation_rows is not None:
            self.contents["validation"] = data_digest(self.validation_rows)
        parts = zip(map(len, rows.parts), rows.weights) if isinstance(rows, SeveralDataSets) else [(len(rows), 1.0)]
        self.sampler = StepSampler(
            ImageOrder(list(parts), config.seed),
            config.seed,
            config.batch_size,
            config.accumulation,
            self.accelerator.num_processes,
            self.accelerator.process_index,
        )
        steps = self.sampler.steps_per_epoch * config.epochs
        self.last_step = min(steps, config.max_steps or steps)
        self.eval_steps = config.eval_steps or self.sampler.steps_per_epoch

    def _set_up_output(self) -> None:
        config = self.config
        accelerator = self.accelerator
        state = RunState(
            self.model,
            self.optimizer,
            self.average,
            accelerator.scaler,
            accelerator.device,
            accelerator.process_index,
        )
        self.checkpoints = TrainingCheckpoints(
            accelerator, state, self.output / "checkpoints", config.keep_checkpoints
        )
        self.log = RunLog(self.output)
        self.position = Position(images_per_step=self.sampler.images_per_step)
        if config.resume:
            refuse_changed_contents(self.output, self.contents, self.moved)
            self._resume()
        accelerator.wait_for_everyone()
        if self.is_main:
            save_config(self.output, config, self.contents)
            self.checkpoints.remove_incomplete()
            self.log.drop_after(self.position.step, self.position.unlogged_masks > 0)
        accelerator.wait_for_everyone()
        fields = {key: str(value) for key, value in config.to_dict().items()}
        accelerator.init_trackers("hq_sam_hf", config=fields)

    def _resume(self) -> None:
        """Restore the newest checkpoint, if there is any."""
        saved = self.checkpoints.newest_position()
        if saved is None:
            if self.is_main:
                logger.warning("no checkpoint to resume from in %s, so the run starts anew", self.checkpoints.folder)
            return
        images, processes = self.sampler.images_per_step, self.accelerator.num_processes
        position = Position.from_saved(saved, images, self.checkpoints.all()[-1])
        if position.images_per_step != images:
            raise ValueError(
                f"The run in {self.output} was started with {position.images_per_step} images per step, got {images} "
                f"on {processes} process{'es' if processes > 1 else ''}. Resume it with as many processes as before."
            )
        BestWeights.load(self.output, trained_weights(self.model))  # raises before the training, not after it
        self.checkpoints.load_newest()
        self.position = position

    @property
    def is_over(self) -> bool:
        """Whether the last step is done, or `patience` validations have passed without a better one."""
        patience = self.config.patience
        return self.position.step >= self.last_step or (patience is not None and self.position.waited >= patience)

    def run(self) -> Path:
        """Train to the end and return the folder of the trained model; see `train`."""
        config, position, sampler = self.config, self.position, self.sampler
        sampler.first, sampler.last = position.step, self.last_step
        batches = load_batches(self.dataset, sampler, config.num_workers)
        means = LossMeans(position.unlogged_masks, position.unlogged_losses)
        with self._progress_bar() as progress, watch_stop_signals() as stop:
            while not self.is_over:
                passes = [next(batches).to(self.accelerator.device) for _ in range(config.accumulation)]
                rate = learning_rate(config, position.step, self.last_step, sampler.steps_per_epoch)
                result = self.take_step(passes, rate, stop.received)
                self.average.update(self.model)
                position.step += 1
                position.skipped += result.skipped
                means.add(result.loss_sums, result.masks)
                progress.update(sampler.images_per_step)

                is_last = position.step == self.last_step
                if position.step % config.log_steps == 0 or is_last:
                    skipped = {"skipped": position.skipped} if position.skipped else {}
                    self.report({"learning_rate": rate, **means.values(), **skipped}, progress)
                if position.step % config.log_steps == 0:  # a longer run goes on with the means of its last line
                    means.reset()
                position.unlogged_masks, position.unlogged_losses = means.masks, dict(means.sums)
                if self.validation_rows is not None and (position.step % self.eval_steps == 0 or is_last):
                    self.report(self.validate(), progress)
                if position.step % config.save_steps == 0 or self.is_over or result.stop_requested:
                    self.checkpoints.save(asdict(position))
                if result.stop_requested and not self.is_over:
                    logger.warning("stopped on request: step %d is saved, continue with --resume", position.step)
                    raise SystemExit(stop.exit_code)
        self.finish()
        return self.output / "final"

    def take_step(self, passes: list[Batch], rate: float, stop_requested: bool) -> StepResult:
        """Update the weights once, with the gradients of all forward passes and processes.

        Raises FloatingPointError, with unchanged weights, if the loss is not finite.
        """
        accelerator = self.accelerator
        masks = sum(int(batch.valid.sum()) for batch in passes)
        total = accelerator.reduce(torch.tensor(float(masks), device=accelerator.device), "sum")
        sums: dict[str, Tensor] = {}
        for batch in passes:
            losses = self.module(batch)
            accelerator.backward(losses["loss"] / total)
            for name, value in losses.items():
                sums[name] = sums.get(name, 0) + value.detach().float()
        # One reduction for all of them, since each costs a round trip.
        skipped = [message for batch in passes for message in batch.skipped]
        counts = torch.tensor([float(stop_requested), float(len(skipped))], device=accelerator.device)
        reduced = accelerator.reduce(torch.cat([counts, torch.stack([*sums.values()])]), "sum")
        stops, replaced, *values = reduced.tolist()
        loss_sums = dict(zip(sums, values))
        if not math.isfinite(loss_sums["loss"]):
            self._raise_not_finite(loss_sums["loss"], passes)
        add_gradients(self.trained, accelerator)
        if self.config.max_grad_norm is not None:
            accelerator.clip_grad_norm_(self.module.parameters(), self.config.max_grad_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        for message in skipped:
            logger.warning("skipped %s", message)
        return StepResult(loss_sums, int(total), stops > 0, int(replaced))

    def _raise_not_finite(self, loss: float, passes: list[Batch]) -> None:
        names = ", ".join(name for batch in passes for name in batch.names)
        saved = self.checkpoints.all()
        last = f"The last checkpoint is {saved[-1]}." if saved else "There is no checkpoint yet."
        raise FloatingPointError(
            f"The loss of step {self.position.step + 1} is {loss}, with the images {names}. {last} Lower "
            "learning_rate, set max_grad_norm, or leave these images out."
        )

    def _progress_bar(self) -> tqdm:
        size = self.sampler.images_per_step
        total, done = self.last_step * size, self.position.step * size
        return tqdm(total=total, initial=done, unit="image", disable=not self.is_main, mininterval=1.0)

    def report(self, values: dict[str, float], progress: tqdm) -> None:
        """Write losses or metrics to the log, the progress bar and the trackers."""
        if self.is_main:
            self.log.append({"step": self.position.step, **values})
            shown = {name: f"{values[name]:.4g}" for name in ("loss", "val_hq_mbiou") if name in values}
            progress.set_postfix(shown)
        self.accelerator.log(values, step=self.position.step)

    def validate(self) -> dict[str, float]:
        """Return the metrics of the validation data, with averaged weights if there are any; keep the best weights."""
        position = self.position
        folder = self.output / "overlays" / f"step-{position.step:08d}"
        with self.average.applied_to(self.model):
            metrics = validate(
                self.config, self.objective, self.model, self.processor, self.accelerator, self.validation_rows, folder
            )
            if self.objective.best_metric not in metrics:
                return {}
            position.metrics, score = metrics, metrics[self.objective.best_metric]
            if position.best is None or score > position.best:
                position.best, position.waited = score, 0
                if self.is_main:
                    BestWeights(trained_weights(self.model), metrics, position.step).save(self.output)
            else:
                position.waited += 1
        if self.is_main:
            self.log.draw_curves()
        return metrics

    def finish(self) -> None:
        """Write `final/` with the last weights and `best/` with those of the best validation; upload `final/`."""
        if self.is_main:
            if self.position.skipped:
                seen = self.position.step * self.sampler.images_per_step
                logger.warning("%d unusable samples were replaced, for %d in use", self.position.skipped, seen)
            with self.average.applied_to(self.model):
                self._export("final", self.position.step, self.position.metrics)
            best = BestWeights.load(self.output, trained_weights(self.model))
            if best is not None:
                copy_weights(best.weights, trained_weights(self.model))
                self._export("best", best.step, best.metrics)
            self.log.draw_curves()
            if self.config.push_to_hub is not None:
                from ..export.hub import push_folder

                push_folder(self.output / "final", self.config.push_to_hub)
        self.accelerator.wait_for_everyone()
        # Not `end_training`, which would also part the processes of a program that trains again.
        for tracker in self.accelerator.trackers:
            tracker.finish()

    def _export(self, name: str, steps: int, metrics: dict[str, float]) -> None:
        weights = list(self.model.parameters())
        facts = TrainingFacts(
            trained=sum(weight.numel() for weight in weights if weight.requires_grad),
            total=sum(weight.numel() for weight in weights),
            steps=steps,
            images_per_step=self.sampler.images_per_step,
        )
        with merged_adapters(self.model):
            export_run(self.output / name, self.model, self.processor, self.objective, self.config, facts, metrics)


def _load_validation_rows(config: TrainingConfig) -> Any:
    if not config.validation:
        return None
    rows = load_rows(config.validation, "validation")
    if len(rows) == 0:
        raise ValueError(
            f"The validation data {config.validation!r} hold no images. Give other data, or null for no validation."
        )
    return first_of_each_set(rows, config.eval_samples)


__all__ = ["StepResult", "TrainingRun", "train"]
