"""Message of noisy weights, 18 networks at once, 129-4-1, 105 cases, mixture of two, Adam.

A step after the warm-up: weights at their full price, and the mixture is trained too.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from tools.benchmarks._torch import adam, own, parameter, tensor, trainer

RUNS, CASES, D, H, J, LR = 18, 105, 129, 4, 2, 5e-3


class Message(nn.Module):
    """Nats of data and weights of noisy networks, side by side along the first axis."""

    def __init__(self, P, nodes):
        super().__init__()
        for name, value in P.items():
            self.register_parameter(name, parameter(value))
        for name, value in zip(("z", "omega"), nodes, strict=True):
            self.register_buffer(name, tensor(value))

    def outputs(self, X):
        A, S = X @ self.mu, (X.square() @ (2 * self.rho).exp()).sqrt()
        h = torch.tanh(A[..., None] + S[..., None] * self.z)
        M = h @ self.omega
        V = h.square() @ self.omega - M.square()
        v, var_v = self.v[:, None], (2 * self.tau).exp()[:, None]
        y = (M * v).sum(-1) + self.b[:, None]
        return y, (V * (v.square() + var_v) + M.square() * var_v).sum(-1)

    def weights(self):
        m, ls, rho = self.m[:, None, None], self.ls[:, None, None], self.rho[..., None]
        distance = (2 * rho).exp() + (self.mu[..., None] - m).square()
        cost = ls - rho + (distance * (-2 * ls).exp() - 1) / 2
        prior = F.log_softmax(self.logit, 1)[:, None, None]
        outer = ((2 * self.tau).exp() + self.v.square() - 1) / 2 - self.tau
        return outer.sum(1) - torch.logsumexp(prior - cost, -1).sum((1, 2))

    def forward(self, X, t):
        y, var = self.outputs(X)
        misfit = ((y - t).square() + var).sum(1) * (-self.lv).exp() / 2
        data = misfit + t.shape[1] / 2 * (np.log(2 * np.pi) + self.lv)
        return (data + self.weights()).sum()


def make(N, rng):
    X = np.concatenate([rng.normal(size=(RUNS, CASES, D - 1)), np.ones((RUNS, CASES, 1))], 2)
    X, t = X.astype(np.float32), rng.normal(size=(RUNS, CASES)).astype(np.float32)
    P0 = N.noisy_init(rng, t, D, H, J)

    def ours():
        P = own(P0)
        state, beta = N.adam_init(P), np.float32(1)

        def step():
            data, weights, G = N.message(X, t, P, beta)
            N.adam_update(P, G, state, LR)
            return float((data + weights).sum())
        return step

    def pytorchs():
        model, x, y = Message(P0, N.gauss_hermite(12)), tensor(X), tensor(t)
        return trainer(model, adam(model, LR), lambda m: m(x, y))

    return ours, pytorchs
