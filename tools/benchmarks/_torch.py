"""What the benchmarks share: parameters handed over, one training step, one clipping rule."""

import copy

import numpy as np
import torch
from torch import nn


def tensor(array) -> torch.Tensor:
    """A float32 copy of an array; whole numbers become int64."""
    array = np.asarray(array)
    return torch.tensor(array, dtype=torch.float32 if array.dtype.kind == "f" else torch.int64)


def parameter(array) -> nn.Parameter:
    return nn.Parameter(tensor(array))


@torch.no_grad()
def fill(parameter: torch.Tensor, array) -> None:
    """Copy an array into a parameter. Raises ValueError if the shapes differ."""
    if tuple(parameter.shape) != np.shape(array):
        raise ValueError(f"array of shape {np.shape(array)}: expected {tuple(parameter.shape)}")
    parameter.copy_(tensor(array))


def fill_linear(layer: nn.Linear, W, b=None) -> None:
    """Our x W + b with W (in, out) into a linear layer."""
    fill(layer.weight, np.asarray(W).T)
    if b is not None:
        fill(layer.bias, b)


def fill_lstm(lstm: nn.LSTM | nn.LSTMCell, W_x, W_h, b) -> None:
    """Our weights, gates i, f, o, g in columns, into PyTorch's, gates i, f, g, o in rows."""
    i, f, o, g = np.split(np.arange(len(b)), 4)
    rows = np.concatenate([i, f, g, o])
    w_ih, w_hh, b_ih, b_hh = lstm.parameters()
    for ours, theirs in ((W_x[:, rows].T, w_ih), (W_h[:, rows].T, w_hh), (b[rows], b_ih), (0 * b, b_hh)):
        fill(theirs, ours)
    b_hh.requires_grad_(False)                                   # one bias, as in the notebook


def adam(model: nn.Module, lr: float, **options):
    """torch.optim.Adam with the notebooks' constants."""
    return torch.optim.Adam(model.parameters(), lr=lr, **options)


def trainer(model: nn.Module, optimizer, loss, clip: float | None = None, rate=None):
    """A function that takes one step on loss(model) and returns its value.

    rate(k): factor of the learning rate at step k = 0, 1, ...
    """
    schedule = rate and torch.optim.lr_scheduler.LambdaLR(optimizer, rate)

    def step() -> float:
        optimizer.zero_grad()
        value = loss(model)
        value.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        if schedule:
            schedule.step()
        return value.item()
    return step


def own(P: dict) -> dict:
    """A copy of parameters that one side may train in place."""
    return copy.deepcopy(P)
