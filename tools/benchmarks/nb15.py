"""Five residual networks at once, 54 pre-activation units of width 16, 128 points, SGD.

All five have rate 0.02, because torch.optim has no rates for parts of a tensor; each has its own weights.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from tools.benchmarks._torch import own, parameter, tensor, trainer

M, UNITS, D, B, LR, DECAY = 5, 54, 16, 128, 0.02, 1e-4


class Linear(nn.Module):
    """W x of M networks: (M, n, B) -> (M, D, B)."""

    def __init__(self, W):
        super().__init__()
        self.weight = parameter(W)

    def forward(self, x):
        return torch.bmm(self.weight, x)


class Norm(nn.Module):
    """Batch normalisation of M networks at once, as the M D channels of one."""

    def __init__(self, g, b):
        super().__init__()
        self.g, self.b = parameter(g.ravel()), parameter(b.ravel())

    def forward(self, x):
        rows = x.reshape(1, -1, x.shape[-1])
        return F.batch_norm(rows, None, None, self.g, self.b, training=True).view_as(x)


def chain(P, name, ops):
    """The layers ops in turn: W weights, N normalisation, R ReLU."""
    layers = {"W": lambda at: Linear(P[at + "W"]), "N": lambda at: Norm(P[at + "g"], P[at + "b"]),
              "R": lambda at: nn.ReLU()}
    return nn.Sequential(*[layers[op](f"{name}.{i}.") for i, op in enumerate(ops)])


class ResNets(nn.Module):
    def __init__(self, P, unit_part):
        super().__init__()
        self.stem, self.last = chain(P, "stem", "WNR"), chain(P, "last", "NR")
        self.units = nn.ModuleList([chain(unit_part(P, u), "F", "NRWNRW") for u in range(UNITS)])
        self.W_y, self.b_y = parameter(P["W_y"]), parameter(P["b_y"])

    def forward(self, x):
        x = self.stem(x)
        for unit in self.units:
            x = x + unit(x)
        return torch.baddbmm(self.b_y[..., None], self.W_y, self.last(x))


def make(N, rng):
    cfg = N.Config(UNITS, "full pre-activation", D=D)
    points, y = N.spiral(B, rng, N.K)
    several = [N.net_init(rng, cfg) for _ in range(M)]
    P0 = {k: np.concatenate([P[k] for P in several]) for k in several[0]}

    def ours():
        P, x, rates = own(P0), np.broadcast_to(points, (M, 2, B)), np.full(M, LR)
        V = {k: np.zeros_like(p) for k, p in P.items()}

        def step():
            losses, _, G, _ = N.loss_and_gradients(x, y, P, cfg)
            norms = np.sqrt(sum(np.square(g, dtype=float).reshape(M, -1).sum(1) for g in G.values()))
            N.sgd_update(P, G, V, rates * np.minimum(1, np.inf / norms))
            return float(losses.sum())
        return step

    def pytorchs():
        model, x = ResNets(P0, N.unit_part), tensor(points).expand(M, 2, B)
        target = tensor(y).expand(M, B).flatten()
        weights, others = ([p for p in model.parameters() if (p.ndim > 2) == many] for many in (True, False))
        sgd = torch.optim.SGD([{"params": weights, "weight_decay": DECAY}, {"params": others}], LR, 0.9)

        def loss(m):
            """The mean over points, the sum over networks."""
            return M * F.cross_entropy(m(x).transpose(1, 2).flatten(0, 1), target)
        return trainer(model, sgd, loss)

    return ours, pytorchs
