"""Nine LSTMs of 16 units side by side: 16 sequences of 100 steps each, clipped, Adam."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from tools.benchmarks._torch import fill, fill_linear, tensor

B, T, D, H, K = 16, 100, 10, 16, 8
BIASES = [(5, -5)] * 3 + [(b, 0) for b in (5, 5, 5, 0, 1, 3)]
RATES = np.repeat([0.02, 0.005], [3, 6])
ORDER = [1, 0, 3, 2]                                             # f, i, o, candidate -> i, f, candidate, o


class Recall(nn.Module):
    """One LSTM of which the last state is read."""

    def __init__(self, P):
        super().__init__()
        self.lstm, self.out = nn.LSTM(D, H), nn.Linear(H, K)
        for name, k in (("weight_ih_l0", "W_x"), ("weight_hh_l0", "W_h"), ("bias_ih_l0", "b")):
            rows = np.concatenate(list(P[k][ORDER].swapaxes(1, 2)))
            fill(getattr(self.lstm, name), rows[:, 0] if k == "b" else rows)
        fill(self.lstm.bias_hh_l0, np.zeros(4 * H))
        self.lstm.bias_hh_l0.requires_grad_(False)               # one bias, as in the notebook
        fill_linear(self.out, P["W_y"], P["b_y"][0])

    def forward(self, x):
        return self.out(self.lstm(x)[0][-1])


def make(N, rng):
    nets = [N.init("lstm", H, rng, *bias) for bias in BIASES]
    batches = [N.recall_batch(rng, B, T) for _ in nets]
    x, y = np.stack([x for x, _ in batches], axis=1), np.stack([y for _, y in batches])

    def ours():
        start, P = N.stack_nets(nets), N.stack_nets(nets)
        walk, lr = {k: np.zeros_like(p) for k, p in P.items()}, RATES.astype(np.float32)[:, None, None]
        state = N.adam_init(walk)

        def step():
            loss, _, _, G = N.loss_and_gradients("lstm", x, y, P)
            N.clip_each(G, 1.0)
            N.adam_update(walk, G, state, 1)
            P.update({k: start[k] + lr * w for k, w in walk.items()})
            return loss.sum()
        return step

    def pytorchs():                                              # nine nn.LSTMs, faster than a stack by hand
        models = nn.ModuleList(Recall(P) for P in nets)
        data = [(tensor(x), tensor(y)) for x, y in batches]
        optimizer = torch.optim.Adam([{"params": model.parameters(), "lr": lr}
                                      for model, lr in zip(models, RATES.tolist(), strict=True)])

        def step():
            optimizer.zero_grad()
            loss = sum(F.cross_entropy(model(x), y) for model, (x, y) in zip(models, data, strict=True))
            loss.backward()
            for model in models:
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            return loss.item()
        return step

    return ours, pytorchs
