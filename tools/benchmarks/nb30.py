"""Two-layer Transformer, keys of width 2: 128 contexts of 20 documents (the longest), clipping, Adam."""

import itertools

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from tools.benchmarks._torch import adam, fill_linear, own, parameter, tensor, trainer

B, DOCUMENTS, STEPS, LR, CLIP = 128, 20, 1200, 4e-3, 1.0


def rate(step):
    """Share of the learning rate: warm-up, constant for the first half, then a cosine down to 5 %."""
    step %= STEPS
    return min(1, (step + 1) / 50) * (0.525 + 0.475 * np.cos(np.pi * max(0, 2 * step / STEPS - 1)))


def linear(W):
    """x W without a bias, as a layer."""
    layer = nn.Linear(*W.shape, bias=False)
    fill_linear(layer, W)
    return layer


class Layer(nn.Module):
    """Causal attention of the last n_out tokens, with a bias for distance, then an MLP; one head."""

    def __init__(self, P):
        super().__init__()
        self.q, self.kv, self.o = (linear(P[k]) for k in ("W_q", "W_kv", "W_o"))
        self.mlp = nn.Sequential(linear(P["W_1"]), nn.ReLU(), linear(P["W_2"]))
        self.rel = parameter(P["rel"][0])
        self.d_k = P["W_q"].shape[1]

    def forward(self, x, n_out):
        T, D = x.shape[1:]
        y = F.layer_norm(x, (D,))
        k, v = self.kv(y).split([self.d_k, D], 2)
        delta = torch.arange(T - n_out, T)[:, None] - torch.arange(T)
        bias = self.rel[delta.abs()].masked_fill(delta < 0, -torch.inf)
        x = x[:, T - n_out:] + self.o(F.scaled_dot_product_attention(self.q(y[:, T - n_out:]), k, v, bias))
        return x + self.mlp(F.layer_norm(x, (D,)))


class Transformer(nn.Module):
    def __init__(self, P, part):
        super().__init__()
        self.embed, self.out, self.positions = linear(P["E"]), linear(P["W_out"]), parameter(P["pos"])
        self.first, self.last = (Layer(part(P, name)) for name in ("l0", "l1"))

    def forward(self, x):
        x = self.embed(x) + self.positions[:x.shape[1]]
        x = self.last(self.first(x, x.shape[1]), 1)[:, 0]
        return self.out(F.layer_norm(x, x.shape[1:]))


def make(N, rng):
    X, target = N.draw(rng, B, DOCUMENTS, "after", N.demand_weights(DOCUMENTS, "edges"))
    P0 = N.init(rng)

    def ours():
        P = own(P0)
        state, times = N.adam_init(P), itertools.count()

        def step():
            loss, G = N.loss_and_gradients(X, target, P, True)
            N.clip_by_norm(G, CLIP)
            N.adam_update(P, G, state, LR * rate(next(times)))
            return loss
        return step

    def pytorchs():
        model, x, y = Transformer(P0, N.part), tensor(X), tensor(target)
        optimizer = adam(model, LR)
        return trainer(model, optimizer, lambda m: F.cross_entropy(m(x), y), clip=CLIP, rate=rate)

    return ours, pytorchs
