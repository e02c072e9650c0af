"""Associative memory of 1,024 directions, the largest: 1,024 tokens as distinct contexts, Adam."""

import itertools

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from tools.benchmarks._torch import adam, fill_linear, own, tensor, trainer

D, B, STEPS, LR = 1024, 1024, 2040, 0.15


class Memory(nn.Module):
    def __init__(self, W, E):
        super().__init__()
        self.register_buffer("E", tensor(E.astype(np.float32)))  # frozen signs (3, 256, D)
        self.out = nn.Linear(D, W.shape[1], bias=False)
        fill_linear(self.out, W)

    def forward(self, c):
        f = (F.embedding(c & 255, self.E[0]) * F.embedding(c >> 8 & 255, self.E[1])
             * F.embedding(c >> 16, self.E[2]))
        return self.out(f * D ** -0.5)


def make(N, rng):
    key = 1000
    stream = N.context(N.draw_ranks(rng, N.A, B), key)
    P0, E = N.new_memory(rng, D)

    def ours():
        P = own(P0)
        state, times = N.adam_init(P), itertools.cycle(range(STEPS))
        look, forward, backward = N.features, N.memory_forward, N.memory_backward

        def step():
            c, count = np.unique(stream, return_counts=True)
            Z, cache = forward(look(c, E), P)
            L, c_loss = N.xent_forward(Z, N.next_token(c, key), (count / B).astype(np.float32))
            G = backward(N.xent_backward(np.ones_like(L), c_loss), cache, False)[1]
            N.adam_update(P, G, state, N.rate(next(times), STEPS, LR), 0.9, 0.95, 1e-10)
            return L[0]
        return step

    def pytorchs():
        model, tokens, following = Memory(P0["W"][0], E[0]), tensor(stream), tensor(N.next_token(stream, key))
        optimizer = adam(model, 1.0, betas=(0.9, 0.95), eps=1e-10)

        def loss(m):
            c, place, count = torch.unique(tokens, return_inverse=True, return_counts=True)
            y = torch.empty_like(c).scatter_(0, place, following)
            return F.cross_entropy(m(c), y, reduction="none") @ (count / B)

        return trainer(model, optimizer, loss, rate=lambda t: N.rate(t % STEPS, STEPS, LR))

    return ours, pytorchs
