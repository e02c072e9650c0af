"""Pointer network of 64 units on hulls: 32 sets of 10 points (the most), clipped, Adam."""

import torch
from torch import nn
from torch.nn import functional as F

from tools.benchmarks._torch import adam, fill_linear, fill_lstm, own, parameter, tensor, trainer

B, POINTS, D, H, LR, BETA2 = 32, 10, 2, 64, 1e-2, 0.98


class PointerNet(nn.Module):
    def __init__(self, P):
        super().__init__()
        self.encoder, self.decoder = nn.LSTM(D, H, batch_first=True), nn.LSTM(D, H, batch_first=True)
        for who, lstm in (("enc", self.encoder), ("dec", self.decoder)):
            fill_lstm(lstm, P[f"{who}.W_x"], P[f"{who}.W_h"], P[f"{who}.b"])
        self.key, self.query = nn.Linear(H, H, bias=False), nn.Linear(H, H, bias=False)
        self.score = nn.Linear(H, 1, bias=False)
        fill_linear(self.key, P["W_1"])
        fill_linear(self.query, P["W_2"])
        fill_linear(self.score, P["v"][:, None])
        self.go, self.end = parameter(P["go"]), parameter(P["e_0"])

    def forward(self, x, answers):
        e, state = self.encoder(x)
        before = (answers[:, :-1] - 1).clamp(min=0)              # after END: fed, but not in the loss
        before = x.gather(1, before[..., None].expand(-1, -1, D))
        d, _ = self.decoder(torch.cat([self.go.expand(len(x), 1, D), before], dim=1), state)
        e = torch.cat([self.end.expand(len(x), 1, H), e], dim=1)
        return self.score(torch.tanh(self.key(e)[:, None] + self.query(d)[:, :, None])).squeeze(-1)


def make(N, rng):
    points = rng.random((B, POINTS, 2))
    X, Y = N.spread(points), N.hulls(points)
    P0 = N.init("Ptr-Net", rng)

    def ours():
        P = own(P0)
        state = N.adam_init(P)

        def step():
            loss, G = N.loss_and_gradients(N.HEADS["Ptr-Net"], X, Y, P)
            N.clip_by_norm(G, 2.0)
            N.adam_update(P, G, state, LR, beta2=BETA2)
            return loss
        return step

    def pytorchs():
        model, x, answers = PointerNet(P0), tensor(X), tensor(Y)
        return trainer(model, adam(model, LR, betas=(0.9, BETA2)),
                       lambda m: F.cross_entropy(m(x, answers).flatten(0, 1), answers.flatten(),
                                                 ignore_index=N.PAD), clip=2.0)

    return ours, pytorchs
