"""The loop that the encoder and the cross-encoder share."""

import copy
from collections.abc import Callable, Sequence
from math import nan
from pathlib import Path
from typing import TypeVar

import torch
from rich.console import Console
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter
from transformers import get_linear_schedule_with_warmup

from build.progress import progress
from build.settings import Training

Batch = TypeVar("Batch")


def fit(
    model: nn.Module,
    epoch: Callable[[int], Sequence[Batch]],
    loss: Callable[[Batch], Tensor],
    validate: Callable[[], float] | None,
    *,
    training: Training,
    folder: Path,
    console: Console,
) -> float:
    """Train with AdamW, linear warmup and decay; leave the model with the weights that validated best.

    Validation comes before the first step and after each epoch; `training.patience` epochs without gain end the run.
    Without validation all epochs are run and the last weights are kept.

    Args:
        epoch: the batches of an epoch, by its number.
        loss: scalar loss of a batch.
        validate: a figure to maximise; None where nothing is held out.
        folder: TensorBoard's event files go to `folder/tensorboard`.

    Returns:
        The best validation figure; NaN without validation.
    """
    torch.manual_seed(training.seed)
    batches = epoch(0)
    optimiser = torch.optim.AdamW(model.parameters(), lr=training.learning_rate, weight_decay=0.01)
    steps = training.epochs * len(batches)
    schedule = get_linear_schedule_with_warmup(optimiser, int(training.warmup * steps), steps)
    best, best_weights, stale = nan, None, 0
    with SummaryWriter(str(folder / "tensorboard")) as log, progress(console) as bar:
        task = bar.add_task("training", total=steps)
        if validate:
            best, best_weights = validated(model, validate), copy.deepcopy(model.state_dict())
            log.add_scalar("dev", best, 0)
            bar.update(task, description=f"training, dev {best:.3f}")
        for number in range(training.epochs):
            model.train()
            for place, batch in enumerate(batches if number == 0 else epoch(number)):
                value = loss(batch)
                value.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimiser.step()
                schedule.step()
                optimiser.zero_grad()
                log.add_scalar("loss", value.item(), number * len(batches) + place)
                log.add_scalar("learning_rate", schedule.get_last_lr()[0], number * len(batches) + place)
                bar.advance(task)
            if not validate:
                continue
            figure = validated(model, validate)
            log.add_scalar("dev", figure, (number + 1) * len(batches))
            if figure > best:
                best, best_weights, stale = figure, copy.deepcopy(model.state_dict()), 0
            else:
                stale += 1
            bar.update(task, description=f"training, dev {best:.3f}")
            if stale >= training.patience:
                break
    if best_weights:
        model.load_state_dict(best_weights)
    model.eval()
    return best


def validated(model: nn.Module, validate: Callable[[], float]) -> float:
    """The validation figure, without dropout or gradients."""
    model.eval()
    with torch.inference_mode():
        return validate()
