"""Relation network, 16 pairs of objects: 128 questions, clipped gradients, Adam."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from tools.benchmarks._torch import adam, fill, fill_linear, own, tensor, trainer

B, OBJECTS, D_O, D_Q, K, LR, CLIP = 128, 4, 7, 9, 10, 5e-3, 1.0


class RelationNetwork(nn.Module):
    """Equation 1 as it reads: rows of both objects and the question go through g, their sum through f."""

    def __init__(self, P, g, f):
        super().__init__()
        self.g = self.mlp((2 * D_O + D_Q, *g), P, "g")
        self.g.append(nn.ReLU())
        self.f = self.mlp((g[-1], *f, K), P, "f")
        fill(self.g[0].weight, np.concatenate([P["W_i"], P["W_j"], P["W_q"]]).T)
        fill(self.g[0].bias, P["b_1"])

    @staticmethod
    def mlp(widths, P, name):
        """Linear layers with ReLU in between; those that P has under name1, name2, .. are filled."""
        layers = []
        for k, (a, b) in enumerate(zip(widths[:-1], widths[1:], strict=True), 1):
            layers += [nn.Linear(a, b), nn.ReLU()]
            if f"{name}{k}.W" in P:
                fill_linear(layers[-2], P[f"{name}{k}.W"], P[f"{name}{k}.b"])
        return nn.Sequential(*layers[:-1])

    def forward(self, O, q):
        n = O.shape[1]
        rows = torch.cat([O[:, :, None].expand(-1, n, n, -1), O[:, None].expand(-1, n, n, -1),
                          q[:, None, None].expand(-1, n, n, -1)], -1)
        return self.f(self.g(rows).sum((1, 2)))


def make(N, rng):
    O, q, target = N.clevr_task(N.sort_of_clevr(rng, 1000))(rng, B)
    g, f = (64, 64, 64), (64, 64)
    P0 = N.init(rng, OBJECTS, D_O, D_Q, K, g, f)

    def ours():
        P = own(P0)
        state = N.adam_init(P)

        def step():
            loss, G, *_ = N.loss_and_gradients(O, q, target, P)
            N.clip_by_norm(G, CLIP)
            N.adam_update(P, G, state, LR)
            return loss
        return step

    def pytorchs():
        model, x, question, y = RelationNetwork(P0, g, f), tensor(O), tensor(q), tensor(target)
        return trainer(model, adam(model, LR), lambda m: F.cross_entropy(m(x, question), y), clip=CLIP)

    return ours, pytorchs
