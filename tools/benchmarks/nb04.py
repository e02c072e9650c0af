"""Two-layer LSTM of 64 units, masks between layers: 20 streams, 15 words, clipped, Adam."""

import itertools

import numpy as np
from torch import nn
from torch.nn import functional as F

from tools.benchmarks._torch import adam, fill, fill_linear, fill_lstm, own, tensor, trainer

B, T, H, V, LR = 20, 15, 64, 89, 6e-3


class LanguageModel(nn.Module):
    def __init__(self, P):
        super().__init__()
        self.embed, self.out = nn.Embedding(V, H), nn.Linear(H, V)
        self.layers = nn.ModuleList(nn.LSTM(H, H) for _ in range(2))
        fill(self.embed.weight, P["E"])
        fill_linear(self.out, P["W_y"], P["b_y"])
        for k, lstm in enumerate(self.layers, 1):
            fill_lstm(lstm, P[f"W_x{k}"], P[f"W_h{k}"], P[f"b{k}"])
        self.states = [None, None]

    def forward(self, ids, masks):
        x = self.embed(ids)
        for k, lstm in enumerate(self.layers):
            x, state = lstm(x * masks[k], self.states[k])
            self.states[k] = [s.detach() for s in state]         # carried on, but not the gradient
        return self.out(x * masks[2])


def make(N, rng):
    ids, targets = rng.integers(V, size=(2, T, B))
    P0 = N.init(V, H, 2, rng)
    drawn = [N.draw_masks("between", 0.5, T, B, H, 2, rng) for _ in range(5)]
    weights = np.full((T, B), 1 / (T * B), np.float32)

    def ours():
        P, masks = own(P0), itertools.cycle(drawn)
        state, s = N.adam_init(P), N.zero_state(P, B)

        def step():
            nonlocal s
            loss, G, s = N.loss_and_gradients(ids, targets, weights, s, P, next(masks))
            N.clip_by_norm(G, 5.0)
            N.adam_update(P, G, state, LR)
            return loss
        return step

    def pytorchs():
        model, x, y = LanguageModel(P0), tensor(ids), tensor(targets).flatten()
        masks = itertools.cycle([[tensor(m[f"x{k}"]) for k in (1, 2, 3)] for m in drawn])
        return trainer(model, adam(model, LR),
                       lambda m: F.cross_entropy(m(x, next(masks)).flatten(0, 1), y), clip=5.0)

    return ours, pytorchs
