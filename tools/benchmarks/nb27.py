"""Character model with four heads: 128 windows of 12 characters, trunk 192, heads 64, Adam."""

import numpy as np
from torch import nn
from torch.nn import functional as F

from tools.benchmarks._torch import adam, fill, fill_linear, own, tensor, trainer

B, WINDOW, V, D, HEADS, K, LR = 128, 12, 16, 192, 4, 64, 2e-3


class MultiToken(nn.Module):
    def __init__(self, P):
        super().__init__()
        self.embed = nn.Embedding(V, 16)
        self.trunk = nn.Sequential(nn.Linear(16 * WINDOW, D), nn.ReLU(), nn.Linear(D, D), nn.ReLU())
        self.heads = nn.ModuleList(nn.Linear(D, K) for _ in range(HEADS))
        self.unembed = nn.Linear(K, V)
        fill(self.embed.weight, P["E"])
        fill_linear(self.trunk[0], P["W_1"], P["b_1"][0])
        fill_linear(self.trunk[2], P["W_2"], P["b_2"][0])
        for i, head in enumerate(self.heads):
            fill_linear(head, P["W_h"][:, i * K:(i + 1) * K], P["b_h"][0, i * K:(i + 1) * K])
        fill_linear(self.unembed, P["W_u"], P["b_u"][0])

    def forward(self, tokens):
        z = self.trunk(self.embed(tokens).flatten(1))
        return [self.unembed(head(z).relu()) for head in self.heads]


def make(N, rng):
    tokens, targets = rng.integers(V, size=(B, WINDOW)), rng.integers(V, size=(B, HEADS))
    P0 = N.init(rng, "window", WINDOW, D, HEADS, K, V)

    def ours():
        P = own(P0)
        state = N.adam_init(P)

        def step():
            losses, G = N.loss_and_gradients(tokens, targets, P)
            N.adam_update(P, G, state, LR)
            for p in P.values():
                p *= np.float32(1) - np.asarray(LR * 0.0, np.float32)    # weight decay, off for text
            return losses.sum()
        return step

    def pytorchs():
        model, x, y = MultiToken(P0), tensor(tokens), tensor(targets)
        return trainer(model, adam(model, LR),
                       lambda m: sum(F.cross_entropy(logits, y[:, i]) for i, logits in enumerate(m(x))))

    return ours, pytorchs
