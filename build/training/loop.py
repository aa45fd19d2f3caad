"""How every network is trained: transformers' `Trainer`, with a loss, batches and a figure of our own.

It brings the device (a GPU where there is one), gradient accumulation, early stopping, and checkpoints: a training that
was killed goes on from its last one when it is started again with the same folder.
"""

import copy
import shutil
import time
from collections.abc import Callable, Sequence
from itertools import chain
from math import nan
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn
from torch.utils.data import Dataset
from torch.utils.tensorboard import SummaryWriter
from transformers import EarlyStoppingCallback, PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.integrations.integration_utils import TensorBoardCallback

from build.progress import progress
from build.settings import Training
from build.workspace import CHECKPOINTS
from shelfbridge.changes import sync_all

Item = TypeVar("Item")

LOGGED = 10
"""Steps of which TensorBoard shows the mean loss."""
COMPLETE = "complete"
"""File of a checkpoint that says that all others are on disk."""
BETWEEN_CHECKPOINTS = 600.0
"""Seconds within an epoch; there is one after each epoch too, where a figure chooses among them."""


def fit(
    model: nn.Module,
    epoch: Callable[[int], Sequence[Sequence[Item]]],
    loss: Callable[[list[Item]], Tensor],
    validate: Callable[[], float] | None,
    *,
    training: Training,
    folder: Path,
    console: Console,
    cpu: bool = False,
) -> float:
    """Train with AdamW, linear warmup and decay; leave the model on the CPU with the weights that validated best.

    Validation comes before the first step and after each epoch; `training.patience` epochs without gain end the run.
    Without validation all epochs are run and the last weights are kept.

    Args:
        epoch: the batches of an epoch, by its number; the same each time that it is asked for.
        loss: scalar loss of a batch. It computes on the device that the model is on.
        validate: a figure to maximise; None where nothing is held out.
        folder: TensorBoard's event files go to `folder/tensorboard`, and checkpoints beside it until the end.
        cpu: stay on the CPU.

    Returns:
        The best validation figure; NaN without validation.
    """
    epochs, checkpoints = Epochs(epoch), folder / CHECKPOINTS
    last = last_complete(checkpoints)
    interval = "epoch" if validate else "no"
    first = copy.deepcopy(model.state_dict()) if validate else {}
    arguments = TrainingArguments(
        output_dir=str(checkpoints),
        num_train_epochs=training.epochs,
        per_device_train_batch_size=1,  # an item is a batch already
        train_sampling_strategy="sequential",
        gradient_accumulation_steps=training.accumulation,
        learning_rate=training.learning_rate,
        warmup_steps=int(training.warmup * training.epochs * (len(epochs) // training.accumulation)),
        weight_decay=0.01,
        seed=training.seed,
        eval_strategy=interval,
        eval_on_start=validate is not None and last is None,
        save_strategy=interval,
        save_total_limit=2,  # the last one, and the one before until that is on disk
        load_best_model_at_end=validate is not None,
        metric_for_best_model="dev",
        greater_is_better=True,
        restore_callback_states_from_checkpoint=True,
        logging_steps=LOGGED,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        use_cpu=cpu,
    )
    with SummaryWriter(str(folder / "tensorboard")) as log, progress(console) as bar:
        callbacks = [TensorBoardCallback(log), _Bar(bar), _SaveByTime()]
        if validate:
            callbacks.append(EarlyStoppingCallback(training.patience))
        trainer = _Trainer(
            model,
            arguments,
            data_collator=lambda batches: {"batch": list(chain.from_iterable(batches))},
            train_dataset=epochs,
            eval_dataset=(),  # there is no other: `validate` brings its own
            callbacks=callbacks,
        )
        trainer.loss, trainer.validate = loss, validate or (lambda: nan)
        trainer.remove_callback(PrinterCallback)
        trainer.train(resume_from_checkpoint=str(last) if last else None)
    if validate and not trainer.state.best_global_step:
        model.load_state_dict(first)
    model.to("cpu").eval()
    shutil.rmtree(checkpoints, ignore_errors=True)
    best = trainer.state.best_metric
    return nan if best is None else best


def last_complete(checkpoints: Path) -> Path | None:
    """The last checkpoint of which all is on disk: one that a kill or a power failure cut short is passed over."""
    found = [file.parent for file in checkpoints.glob(f"checkpoint-*/{COMPLETE}")]
    return max(found, key=lambda folder: int(folder.name.rpartition("-")[2]), default=None)


class Epochs(Dataset[Sequence[Item]], Generic[Item]):
    """The batches of one epoch after another, of about as many as the first has."""

    def __init__(self, draw: Callable[[int], Sequence[Sequence[Item]]]) -> None:
        self.draw = draw
        self.number, self.batches = 0, draw(0)

    def set_epoch(self, number: int) -> None:
        """Draw the batches of an epoch; the trainer calls it before each."""
        if number != self.number:
            self.number, self.batches = number, self.draw(number)

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, place: int) -> Sequence[Item]:
        return self.batches[place]


class _Trainer(Trainer):
    """The kept trainer, with a loss and a figure that are functions."""

    loss: Callable[[list[Any]], Tensor]
    validate: Callable[[], float]

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *_: object, **__: object) -> Tensor:
        """The loss of a batch."""
        return self.loss(inputs["batch"])

    def evaluate(self, *_: object, **__: object) -> dict[str, float]:
        """The figure, without dropout or gradients."""
        self.model_wrapped.eval()
        with torch.inference_mode():
            metrics = {"eval_dev": self.validate()}
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        if self.state.best_metric is None:  # before the first step: what any epoch has to beat
            self.state.best_metric = metrics["eval_dev"]
        return metrics


class _Bar(TrainerCallback):
    """The bar that every long step shows."""

    def __init__(self, bar: Progress) -> None:
        self.bar = bar
        self.task = bar.add_task("training", total=None)

    def on_train_begin(self, args: object, state: Any, control: object, **_: object) -> None:
        """Say how many steps there are; a training that goes on has some behind it."""
        self.bar.update(self.task, total=state.max_steps, completed=state.global_step)

    def on_step_end(self, args: object, state: Any, control: object, **_: object) -> None:
        """Move on."""
        self.bar.update(self.task, completed=state.global_step)

    def on_evaluate(self, args: object, state: Any, control: object, **more: Any) -> None:
        """Show the best figure so far."""
        figure = more["metrics"]["eval_dev"]
        best = figure if state.best_metric is None else max(figure, state.best_metric)
        self.bar.update(self.task, description=f"training, dev {best:.3f}")


class _SaveByTime(TrainerCallback):
    """Checkpoints within an epoch, where it is long."""

    def __init__(self) -> None:
        self.saved = time.monotonic()

    def on_step_end(self, args: object, state: object, control: Any, **_: object) -> None:
        """Ask for a checkpoint if the last one is long ago."""
        if time.monotonic() - self.saved >= BETWEEN_CHECKPOINTS:
            control.should_save = True

    def on_save(self, args: Any, state: Any, control: object, **_: object) -> None:
        """Note when one was written, and that it is whole."""
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        sync_all(folder)
        (folder / COMPLETE).touch()
        self.saved = time.monotonic()
