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


def adam(model: nn.Module, lr: float, **options):
    """torch.optim.Adam with the notebooks' constants."""
    return torch.optim.Adam(model.parameters(), lr=lr, **options)


def trainer(model: nn.Module, optimizer, loss, clip: float | None = None):
    """A function that takes one step on loss(model) and returns its value."""
    def step() -> float:
        optimizer.zero_grad()
        value = loss(model)
        value.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        return value.item()
    return step


def own(P: dict) -> dict:
    """A copy of parameters that one side may train in place."""
    return copy.deepcopy(P)
