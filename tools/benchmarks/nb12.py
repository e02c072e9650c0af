"""Message passing, 6 gated rounds, 32 units: 32 molecules of 12 atoms, clipping, Adam.

Molecules have 6 to 12 atoms; half of all have 12, the largest size.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from tools.benchmarks._torch import adam, fill_linear, own, tensor, trainer

B, ATOMS, K, H, LR, CLIP = 32, 12, 2, 32, 4e-3, 1.0


class Round(nn.Module):
    """Messages over K channels, then the GRU of the paper, whose reset gate acts on the state itself."""

    def __init__(self, P, t):
        super().__init__()
        self.message = nn.Linear(K * H, H, bias=False)
        self.gates, self.candidate = nn.Linear(2 * H, 2 * H), nn.Linear(2 * H, H)
        fill_linear(self.message, P["msg.A"][t].reshape(K * H, H))
        fill_linear(self.gates, P["gru.W_g"][t], P["gru.b"][t, :2 * H])
        fill_linear(self.candidate, P["gru.W_c"][t], P["gru.b"][t, 2 * H:])

    def forward(self, h, C):
        m = self.message((C @ h).view(B, ATOMS, K * H))
        z, r = torch.sigmoid(self.gates(torch.cat([h, m], -1))).chunk(2, -1)
        return torch.lerp(h, torch.tanh(self.candidate(torch.cat([r * h, m], -1))), z)


class MPNN(nn.Module):
    def __init__(self, P):
        super().__init__()
        self.embed = nn.Linear(len(P["in.W"]), H, bias=False)
        self.rounds = nn.ModuleList([Round(P, t) for t in range(len(P["msg.A"]))])
        self.i, self.j, self.out = nn.Linear(2 * H, H), nn.Linear(H, H), nn.Linear(H, 1)
        fill_linear(self.embed, P["in.W"])
        for layer, name in ((self.i, "i"), (self.j, "j"), (self.out, "out")):
            fill_linear(layer, P[name + ".W"], P[name + ".b"])

    def forward(self, X, C):
        h = h0 = self.embed(X)
        for one in self.rounds:
            h = one(h, C)
        u = torch.sigmoid(self.i(torch.cat([h, h0], -1))) * self.j(h)
        return self.out(u.sum(1))[:, 0]


def make(N, rng):
    atom, bond = N.random_molecules(rng, B, ATOMS)
    X, C, net = N.one_hot(atom), N.typed(bond), N.Net()
    y, P0 = rng.normal(size=B).astype(np.float32), N.init(rng, net, K, X.shape[2], H)

    def ours():
        P = own(P0)
        state = N.adam_init(P)

        def step():
            loss, G = N.gradients(P, X, C, y, net)
            N.clip_by_norm(G, CLIP)
            N.adam_update(P, G, state, LR)
            return loss
        return step

    def pytorchs():
        model, kinds, target = MPNN(P0), tensor(X), tensor(y)
        channels = tensor(C).reshape(B, ATOMS * K, ATOMS)
        return trainer(model, adam(model, LR), lambda m: F.mse_loss(m(kinds, channels), target), clip=CLIP)

    return ours, pytorchs
