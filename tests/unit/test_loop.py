"""A training keeps the weights that validated best, stops when nothing is gained, and goes on where it was killed."""

import io
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import nn
from torch.nn import functional
from transformers import TrainerState

from build.settings import Training
from build.training import loop
from build.training.loop import COMPLETE, Epochs, fit, last_complete
from build.workspace import CHECKPOINTS, Workspace

QUIET = Console(file=io.StringIO())
TRAINING = Training(epochs=3, batch=4, learning_rate=0.05)
STEPS = 6
"""Of an epoch."""


def epoch(number: int) -> list[list[float]]:
    chance = torch.Generator().manual_seed(number)
    return torch.rand(STEPS, TRAINING.batch, generator=chance).tolist()


class Lesson:
    """A line to learn, and a note of how far it has come; `killed_at` is the call in which the process dies."""

    def __init__(self, killed_at: int = -1) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(1, 8), nn.Dropout(0.5), nn.Linear(8, 1))
        self.calls, self.killed_at = 0, killed_at

    def loss(self, batch: list[float]) -> torch.Tensor:
        self.calls += 1
        if self.calls == self.killed_at:
            os.kill(os.getpid(), signal.SIGKILL)
        x = torch.tensor(batch)[:, None]
        return functional.mse_loss(self.model(x), 3 * x + 1)

    def figure(self) -> float:
        x = torch.linspace(0, 1, 20)[:, None]
        return 1 - functional.mse_loss(self.model(x), 3 * x + 1).item()

    def train(self, folder: Path, **more: object) -> float:
        given = {"training": TRAINING, "folder": folder, "console": QUIET, "cpu": True, "validate": self.figure}
        return fit(self.model, epoch, self.loss, **{**given, **more})


def train_and_die(root: str) -> None:
    """What the process that is killed does: see below."""
    loop.BETWEEN_CHECKPOINTS = 0
    Workspace(Path(root), QUIET).stage("s", lambda folder: Lesson(killed_at=10).train(folder))


def test_a_killed_training_goes_on_from_its_last_checkpoint(tmp_path):
    whole = Lesson()
    (tmp_path / "whole").mkdir()
    best = whole.train(tmp_path / "whole")
    program = "import sys; from tests.unit.test_loop import train_and_die; train_and_die(sys.argv[1])"
    died = subprocess.run([sys.executable, "-c", program, tmp_path], cwd=Path(__file__).parents[2], check=False)
    assert died.returncode == -signal.SIGKILL
    again = Lesson()
    figures = []
    folder = Workspace(tmp_path, QUIET).stage("s", lambda folder: figures.append(again.train(folder)))
    assert again.calls == 3 * STEPS - 9
    assert figures == [pytest.approx(best)]
    assert not (folder / CHECKPOINTS).exists()
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(again.model.state_dict()[name], value)


def test_the_weights_that_validated_best_are_kept(tmp_path):
    lesson, seen = Lesson(), []

    def figure() -> float:
        seen.append(next(lesson.model.parameters()).clone())
        return [0.1, 0.3, 0.2, 0.25][len(seen) - 1]

    assert lesson.train(tmp_path, validate=figure) == 0.3
    assert torch.equal(next(lesson.model.parameters()), seen[1])


def test_a_training_that_gains_nothing_ends_and_leaves_what_there_was(tmp_path):
    lesson, figures = Lesson(), iter([0.5, 0.4, 0.3, 0.9])
    before = next(lesson.model.parameters()).clone()
    assert lesson.train(tmp_path, validate=lambda: next(figures)) == 0.5
    assert torch.equal(next(lesson.model.parameters()), before)
    assert lesson.calls == TRAINING.patience * STEPS
    assert next(figures) == 0.9


def test_without_validation_the_last_weights_are_kept(tmp_path):
    lesson = Lesson()
    assert math.isnan(lesson.train(tmp_path, validate=None))
    assert lesson.calls == 3 * STEPS
    assert lesson.figure() > 0.9


def test_gradients_of_some_batches_make_one_step(tmp_path):
    twice = Training(epochs=1, batch=4, learning_rate=0.05, warmup=0, accumulation=2)
    scheduled = []
    lesson = Lesson()
    lesson.model.register_forward_pre_hook(lambda model, _: scheduled.append(next(model.parameters()).clone()))
    lesson.train(tmp_path, training=twice, validate=None)
    assert len({tuple(one.flatten().tolist()) for one in scheduled}) == STEPS / 2


def test_a_checkpoint_that_was_not_finished_is_passed_over(tmp_path):
    for step in (9, 10, 11):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text("{")
    for step in (9, 10):
        (tmp_path / f"checkpoint-{step}" / COMPLETE).touch()
    assert last_complete(tmp_path) == tmp_path / "checkpoint-10"
    assert last_complete(tmp_path / "nowhere") is None


def test_a_checkpoint_that_is_cut_short_costs_no_more_than_the_steps_since_the_one_before(tmp_path, monkeypatch):
    """The trainer's own record is its last file, and half of it may be there."""
    monkeypatch.setattr(loop, "BETWEEN_CHECKPOINTS", 0)
    whole, stopped, again = Lesson(), Lesson(), Lesson()
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    best = whole.train(tmp_path / "whole")
    save = TrainerState.save_to_json

    def cut_short(state: TrainerState, path: str) -> None:
        if state.global_step < 9:
            save(state, path)
        else:
            Path(path).write_text('{"best_')
            raise KeyboardInterrupt

    monkeypatch.setattr(TrainerState, "save_to_json", cut_short)
    with pytest.raises(KeyboardInterrupt):
        stopped.train(tmp_path / "killed")
    monkeypatch.setattr(TrainerState, "save_to_json", save)
    assert again.train(tmp_path / "killed") == pytest.approx(best)
    assert again.calls == 3 * STEPS - 8


def test_each_epoch_draws_its_own_batches_once():
    drawn = []
    epochs = Epochs(lambda number: drawn.append(number) or [[number]] * 2)
    for number in (0, 1, 1, 2):
        epochs.set_epoch(number)
        assert epochs[0] == [number]
    assert drawn == [0, 1, 2]
