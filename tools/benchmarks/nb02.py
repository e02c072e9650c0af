"""Character model, LSTM of 64 units: 32 streams, 50 characters, clipped gradients, Adam."""

import numpy as np
from torch import nn
from torch.nn import functional as F

from tools.benchmarks._torch import adam, fill, fill_linear, fill_lstm, own, tensor, trainer

B, T, H, V, LR = 32, 50, 64, 39, 1e-2


class CharLSTM(nn.Module):
    def __init__(self, P):
        super().__init__()
        self.embed = nn.Embedding(V, V)
        self.lstm = nn.LSTM(V, H, batch_first=True)
        self.out = nn.Linear(H, V)
        fill(self.embed.weight, np.eye(V))
        self.embed.weight.requires_grad_(False)                  # characters enter as one-hot rows
        fill_lstm(self.lstm, P["W_xh"], P["W_hh"], P["b_h"])
        fill_linear(self.out, P["W_hy"], P["b_y"])

    def forward(self, ids):
        return self.out(self.lstm(self.embed(ids))[0])


def make(N, rng):
    ids, targets = rng.integers(V, size=(2, B, T))
    P0 = N.init("lstm", H, V, rng)

    def ours():
        P = own(P0)
        state, s = N.adam_init(P), N.zero_state("lstm", P, B)

        def step():
            loss, _, G, _ = N.loss_and_gradients("lstm", ids, targets, s, P)
            N.clip_by_norm(G, 5.0)
            N.adam_update(P, G, state, LR)
            return loss
        return step

    def pytorchs():
        model, x, y = CharLSTM(P0), tensor(ids), tensor(targets).flatten()
        return trainer(model, adam(model, LR), lambda m: F.cross_entropy(m(x).flatten(0, 1), y), clip=5.0)

    return ours, pytorchs
