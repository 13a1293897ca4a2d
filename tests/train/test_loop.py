"""The loop: resumed to the bit, best weights kept, told where it went wrong, on two processes."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import os
import socket

import pytest
import torch
from safetensors import safe_open
from torch import nn

from harpsstar.errors import TrainingError
from harpsstar.train import checkpoint
from harpsstar.train.log import COLUMNS
from harpsstar.train.loop import Fit, Task
from harpsstar.train.recipes import OptimiserOptions
from harpsstar.train.world import World, enter

TRUTH = torch.tensor([[1.0], [-2.0], [0.5]])
OPTIONS = OptimiserOptions(epochs=6, batch=16, learning_rate=0.05, weight_decay=0.0)


class Line(nn.Module):
    """Mean squared error of a linear model with dropout in front: random, so resuming must be."""

    def __init__(self, dropout=0.2):
        super().__init__()
        self.linear = nn.Linear(3, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x, y):
        return (self.linear(self.dropout(x)) - y).square().mean()


def spectra(n, seed):
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))
    return x, x @ TRUTH


def task(n=64, batch=16, dropout=0.2, world=None):
    world = world or World()
    torch.manual_seed(0)

    def batches(epoch):
        x, y = spectra(n, 100 + epoch)
        for i in range(0, n, batch):
            mine = slice(i + world.rank, i + batch, world.size)
            yield x[mine], y[mine]

    return Task(Line(dropout), batches, lambda: iter([spectra(32, 7)]), n // batch, n, seed=3)


def weights(fit):
    return {k: v.clone() for k, v in fit.task.objective.state_dict().items()}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=0, atol=0, msg=name)


def log_of(folder):
    with (folder / "log.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("options", [
    OPTIONS,
    dataclasses.replace(OPTIONS, algorithm="adam", schedule="step", last_epochs=2),
    dataclasses.replace(OPTIONS, precision="bfloat16"),
], ids=["one-cycle", "step", "bfloat16"])  # fmt: skip
@pytest.mark.parametrize("stop", [1, 4])
def test_an_interrupted_training_goes_on_as_if_it_had_not_been(options, stop, tmp_path):
    whole, halved = tmp_path / "whole", tmp_path / "halved"
    whole.mkdir()
    halved.mkdir()
    one = Fit(task(), options, whole)
    one.run()

    def interrupt(stage, done, total, remark):
        if done == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Fit(task(), options, halved).run(interrupt)
    second = Fit(task(), options, halved)
    assert second.state.epoch == stop
    second.run()
    assert_same(weights(one), weights(second))
    assert one.state.samples == second.state.samples == 6 * 64
    rows, again = log_of(whole), log_of(halved)
    for row in rows + again:
        del row["seconds"]
    assert rows == again
    assert tuple(log_of(whole)[0]) == COLUMNS


def test_an_epoch_that_is_interrupted_costs_no_other(tmp_path):
    """Ctrl-C between two batches: the epoch begins anew, from what the one before has left."""
    whole, halved = tmp_path / "whole", tmp_path / "halved"
    whole.mkdir()
    halved.mkdir()
    one, other = Fit(task(), OPTIONS, whole), task()
    one.run()

    def batches(epoch):
        for i, batch in enumerate(other.batches(epoch)):
            if (epoch, i) == (3, 2):
                raise KeyboardInterrupt
            yield batch

    with pytest.raises(KeyboardInterrupt):
        Fit(dataclasses.replace(other, batches=batches), OPTIONS, halved).run()
    second = Fit(task(), OPTIONS, halved)
    assert second.state.epoch == 3
    second.run()
    assert_same(weights(one), weights(second))


def test_work_lost_by_a_kill_is_done_again_and_logged_once(tmp_path):
    """Killed after an epoch that no checkpoint has: its row must not stay."""
    fit = Fit(task(), OPTIONS, tmp_path)
    fit.run()
    (tmp_path / "checkpoint.safetensors").unlink()
    Fit(task(), OPTIONS, tmp_path).run()
    assert [row["epoch"] for row in log_of(tmp_path)] == [str(i) for i in range(6)]


def test_a_training_converges_and_keeps_the_best_weights(tmp_path):
    options = dataclasses.replace(OPTIONS, epochs=120)
    fit = Fit(task(dropout=0.0), options, tmp_path)
    best = fit.run()
    torch.testing.assert_close(fit.task.objective.linear.weight, TRUTH.T, rtol=0, atol=0.02)
    validation = [float(row["validation"]) for row in log_of(tmp_path)]
    assert best == pytest.approx(min(validation))
    assert not fit.task.objective.training


def test_the_best_is_not_the_last(tmp_path):
    """A learning rate that runs away at the end: what is kept is what was good before."""
    options = dataclasses.replace(OPTIONS, schedule="step", last_epochs=2, gamma=200.0)
    fit = Fit(task(dropout=0.0), options, tmp_path)
    best = fit.run()
    with torch.no_grad():
        assert float(fit.task.objective(*spectra(32, 7))) == pytest.approx(best)
    assert float(log_of(tmp_path)[-1]["validation"]) > best
    assert Fit(task(dropout=0.0), options, tmp_path).take_best() == pytest.approx(best)


def test_the_rate_of_a_step_schedule_drops_for_the_last_epochs(tmp_path):
    options = dataclasses.replace(OPTIONS, schedule="step", last_epochs=2, gamma=0.1)
    Fit(task(), options, tmp_path).run()
    rates = [float(row["learning_rate"]) for row in log_of(tmp_path)]
    assert rates == pytest.approx([0.05] * 4 + [0.005] * 2)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("step", [0, 2, 3])
def test_a_loss_that_is_not_finite_stops_and_names_the_step(bad, step, tmp_path):
    good = task()

    def batches(epoch):
        for i, (x, y) in enumerate(good.batches(epoch)):
            yield (x * bad if (epoch, i) == (2, step) else x), y

    fit = Fit(dataclasses.replace(good, batches=batches), OPTIONS, tmp_path)
    with pytest.raises(TrainingError, match=f"epoch 2, step {step} .step {8 + step} in all."):
        fit.run()
    state, *_ = checkpoint.read(tmp_path / "checkpoint.safetensors")
    assert (state.epoch, math.isfinite(state.best)) == (2, True)


def test_a_checkpoint_is_tensors_and_json(tmp_path):
    Fit(task(), OPTIONS, tmp_path).run()
    with safe_open(tmp_path / "checkpoint.safetensors", framework="pt") as file:
        names = set(file.keys())
        training = json.loads(file.metadata()["training"])
    assert {"network.linear.weight", "best.linear.weight", "optimiser.0.exp_avg"} <= names
    assert training["state"]["epoch"] == 6
    assert [item.name for item in tmp_path.iterdir() if item.suffix in (".pt", ".pkl")] == []


def test_tensorboard_has_what_the_log_has(tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    Fit(task(), OPTIONS, tmp_path).run()
    board = events.EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    for name in ("loss", "validation", "learning_rate"):
        logged = [float(row[name]) for row in log_of(tmp_path)]
        assert [event.value for event in board.Scalars(name)] == pytest.approx(logged)


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    Fit(task(), OPTIONS, tmp_path).run()
    other = dataclasses.replace(task(), objective=nn.Linear(5, 2))
    with pytest.raises(TrainingError, match="does not fit"):
        Fit(other, OPTIONS, tmp_path)
    (tmp_path / "checkpoint.safetensors").write_bytes(b"0123456789")
    with pytest.raises(TrainingError, match="no checkpoint"):
        Fit(task(), OPTIONS, tmp_path)


def test_progress_tells_speed_and_validation(tmp_path):
    told = []
    Fit(task(), OPTIONS, tmp_path, stage="stage").run(lambda *words: told.append(words))
    assert [words[:3] for words in told] == [("stage", i + 1, 6) for i in range(6)]
    assert all("validation" in words[3] and "spectra/s" in words[3] for words in told)


def _place(rank, port, folder):
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank),
                      MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))  # fmt: skip
    torch.set_num_threads(1)
    with enter("cpu") as world:
        fit = Fit(task(dropout=0.0, world=world), OPTIONS, folder, world)
        fit.run()
        assert (world.size, world.rank) == (2, rank)
        torch.save(weights(fit), folder / f"{rank}.pt")


def test_two_processes_do_what_one_does(tmp_path):
    """Each has half of every batch; averaged gradients are those of the whole."""
    alone, together = tmp_path / "alone", tmp_path / "together"
    alone.mkdir()
    together.mkdir()
    one = Fit(task(dropout=0.0), OPTIONS, alone)
    one.run()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    torch.multiprocessing.start_processes(_place, (port, together), nprocs=2, start_method="fork")
    for rank in range(2):
        found = torch.load(together / f"{rank}.pt", weights_only=True)
        for name, value in weights(one).items():
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5)
    assert len(log_of(together)) == 6
