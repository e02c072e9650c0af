"""Attentive translator of 64 units: 32 sentences of 12 words (typical), clipped, Adam."""

import torch
from torch import nn
from torch.nn import functional as F

from tools.benchmarks._torch import adam, fill, fill_linear, own, parameter, tensor, trainer

B, WORDS, H, E, A, M, LR = 32, 12, 64, 32, 64, 32, 6e-3
N_SOURCE, N_TARGET = 27, 36


class GRU(nn.Module):
    """One step, or one of two readers at once. nn.GRU resets after the product, the paper before it."""

    def __init__(self, U):
        super().__init__()
        self.U_rz, self.U_g = parameter(U[..., :2 * H]), parameter(U[..., 2 * H:])

    def forward(self, a, s):
        rz, g = a.split([2 * H, H], dim=-1)
        r, z = torch.sigmoid(rz + s @ self.U_rz).chunk(2, dim=-1)
        return torch.lerp(s, torch.tanh(g + (r * s) @ self.U_g), z)


class Translator(nn.Module):
    def __init__(self, P):
        super().__init__()
        self.source, self.target = nn.Embedding(N_SOURCE, E), nn.Embedding(N_TARGET, E)
        fill(self.source.weight, P["E_source"])
        fill(self.target.weight, P["E_target"])
        self.enc_W, self.enc_b = parameter(P["enc.W"]), parameter(P["enc.b"])    # both readers
        self.reader, self.writer = GRU(P["enc.U"]), GRU(P["dec.U"])
        self.init, self.dec = nn.Linear(H, H), nn.Linear(E, 3 * H)
        self.context, self.key = nn.Linear(2 * H, 3 * H, bias=False), nn.Linear(2 * H, A, bias=False)
        self.query, self.score = nn.Linear(H, A, bias=False), nn.Linear(A, 1, bias=False)
        self.maxout, self.out = nn.Linear(3 * H + E, 2 * M), nn.Linear(M, N_TARGET)
        for layer, W, b in ((self.init, "init.W", "init.b"), (self.dec, "dec.W", "dec.b"),
                            (self.context, "dec.C", None), (self.key, "att.U", None),
                            (self.query, "att.W", None), (self.maxout, "out.U", "out.c"),
                            (self.out, "out.W", "out.b")):
            fill_linear(layer, P[W], None if b is None else P[b])
        fill_linear(self.score, P["att.v"][:, None])

    def encode(self, source):                                    # (B, S) -> (B, S, 2H)
        x = self.source(source).transpose(0, 1)
        a = torch.stack([x, x.flip(0)], dim=1) @ self.enc_W + self.enc_b         # (S, 2, B, 3H)
        s, states = a.new_zeros(2, x.shape[1], H), []
        for a_t in a:
            s = self.reader(a_t, s)
            states.append(s)
        states = torch.stack(states)
        return torch.cat([states[:, 0], states[:, 1].flip(0)], dim=-1).transpose(0, 1)

    def forward(self, source, before):                           # (B, S), (B, T) -> (B, T, V)
        h = self.encode(source)
        keys, x = self.key(h), self.target(before)
        s, states, contexts = torch.tanh(self.init(h[:, 0, H:])), [], []
        for a in self.dec(x).unbind(1):
            e = self.score(torch.tanh(self.query(s)[:, None] + keys))            # (B, S, 1)
            c = (e.softmax(1).transpose(1, 2) @ h)[:, 0]
            s = self.writer(a + self.context(c), s)
            states.append(s)
            contexts.append(c)
        f = torch.cat([torch.stack(states, 1), x, torch.stack(contexts, 1)], dim=-1)
        return self.out(torch.maximum(*self.maxout(f).chunk(2, dim=-1)))


def make(N, rng):
    source, target = (rng.integers(n, size=(B, WORDS + 1)) for n in (N_SOURCE, N_TARGET))
    cfg = N.Config(H, E, A, M)
    P0 = N.init_params(rng, cfg, N_SOURCE, N_TARGET)

    def ours():
        P = own(P0)
        state = N.adam_init(P)

        def step():
            loss, G = N.loss_and_gradients(source, target, P, cfg)
            N.clip_by_norm(G, 1.0)
            N.adam_update(P, G, state, LR)
            return loss
        return step

    def pytorchs():
        model, x, y, before = Translator(P0), *map(tensor, (source, target, N.shift_right(target)))
        return trainer(model, adam(model, LR),
                       lambda m: F.cross_entropy(m(x, before).flatten(0, 1), y.flatten()), clip=1.0)

    return ours, pytorchs
