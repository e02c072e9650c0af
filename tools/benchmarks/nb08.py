"""Read-Process-Write of 48 units, 5 process steps: 32 sets of 8 numbers, clipped, Adam."""

import torch
from torch import nn
from torch.nn import functional as F

from tools.benchmarks._torch import adam, fill_linear, fill_lstm, own, parameter, tensor, trainer

B, SET, H, A, STEPS, LR = 32, 8, 48, 24, 5, 1e-2


class ReadProcessWrite(nn.Module):
    def __init__(self, P):
        super().__init__()
        self.read = nn.Sequential(nn.Linear(1, H), nn.Tanh(), nn.Linear(H, H, bias=False))
        fill_linear(self.read[0], P["read.w_1"][None], P["read.b_1"])
        fill_linear(self.read[2], P["read.W_2"])
        self.process = nn.LSTMCell(H, H)                         # reads r; its state is q
        fill_lstm(self.process, P["proc.W"][H:], P["proc.W"][:H], P["proc.b"])
        self.start, self.go = nn.Linear(2 * H, 2 * H), parameter(P["go"])
        fill_linear(self.start, P["start.W"], P["start.b"])
        self.write = nn.LSTM(H, H, batch_first=True)
        fill_lstm(self.write, P["dec.W_x"], P["dec.W_h"], P["dec.b"])
        self.key, self.query = nn.Linear(H, A, bias=False), nn.Linear(H, A, bias=False)
        self.score = nn.Linear(A, 1, bias=False)
        for layer, W in ((self.key, P["point.W_m"]), (self.query, P["point.W_d"]),
                         (self.score, P["point.v"][:, None])):
            fill_linear(layer, W)

    def forward(self, x, answers):
        m = self.read(x[..., None])
        q = c = r = m.new_zeros(len(m), H)
        for _ in range(STEPS):
            q, c = self.process(r, (q, c))
            r = F.scaled_dot_product_attention(q[:, None], m, m)[:, 0]
        h, c = self.start(torch.cat([q, r], dim=1)).chunk(2, dim=1)
        fed = m.gather(1, answers[:, :-1, None].expand(-1, -1, H))
        fed = torch.cat([self.go.expand(len(m), 1, H), fed], dim=1)
        d, _ = self.write(fed, (torch.tanh(h)[None], c.contiguous()[None]))
        return self.score(torch.tanh(self.key(m)[:, None] + self.query(d)[:, :, None])).squeeze(-1)


def make(N, rng):
    X, Y = N.set_batch(rng, B, SET)
    cfg = N.Config(n_steps=STEPS)
    P0 = N.init_sorter(rng, cfg, H, A, SET)

    def ours():
        P = own(P0)
        state = N.adam_init(P)

        def step():
            loss, G = N.sorter_gradients(P, X, Y, cfg)
            N.clip_by_norm(G, 2.0)
            N.adam_update(P, G, state, LR)
            return loss
        return step

    def pytorchs():
        model, x, answers = ReadProcessWrite(P0), tensor(X), tensor(Y)
        return trainer(model, adam(model, LR),
                       lambda m: F.cross_entropy(m(x, answers).flatten(0, 1), answers.flatten()), clip=2.0)

    return ours, pytorchs
