"""Network of 32 tanh units on all 800 points of two spirals, weight decay in the loss, Adam."""

import numpy as np
from torch import nn
from torch.nn import functional as F

from tools.benchmarks._torch import adam, fill_linear, own, tensor, trainer

POINTS, H, LR = 800, 32, 0.03                                    # the widest of nine


class Network(nn.Sequential):
    def __init__(self, P):
        super().__init__(nn.Linear(2, H), nn.Tanh(), nn.Linear(H, 1))
        fill_linear(self[0], P["W1"], P["b1"])
        fill_linear(self[2], P["W2"], P["b2"])


def make(N, rng):
    x, y = N.spirals(rng, POINTS)
    P0 = N.initial(rng, H)

    def ours():
        P = own(P0)
        state = N.adam_init(P)

        def step():
            loss, G = N.objective(x, y, P, N.DECAY)
            N.adam_update(P, G, state, LR)
            return loss
        return step

    def pytorchs():
        model, points, labels = Network(P0), tensor(x), tensor(y.astype(np.float32))

        def loss(m):
            nats = F.binary_cross_entropy_with_logits(m(points).squeeze(1), labels)
            return nats / np.log(2) + N.DECAY / 2 / POINTS * sum(p.square().sum() for p in m.parameters())

        return trainer(model, adam(model, LR), loss)

    return ours, pytorchs
