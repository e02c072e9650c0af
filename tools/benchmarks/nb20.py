"""Neural Turing machine of 16 slots: 8 sequences of 10 words (the most), clipped, Adam."""

import torch
from torch import nn
from torch.nn import functional as F

from tools.benchmarks._torch import adam, fill_linear, own, parameter, tensor, trainer

B, LENGTH, BITS, SLOTS, W, H, S, LR = 8, 10, 6, 16, 12, 64, 3, 1e-2


class TuringMachine(nn.Module):
    def __init__(self, P, start):
        super().__init__()
        self.from_input, self.from_memory = nn.Linear(BITS + 1, H), nn.Linear(W, H, bias=False)
        self.heads, self.out = nn.Linear(H, 4 * W + 6 + 2 * S), nn.Linear(H, BITS)
        self.out_read, self.first_read = nn.Linear(W, BITS, bias=False), parameter(P["r_0"])
        for layer, name, b in ((self.from_input, "W_x", "b_h"), (self.from_memory, "W_r", None),
                               (self.heads, "W_o", "b_o"), (self.out, "W_yh", "b_y"),
                               (self.out_read, "W_yr", None)):
            fill_linear(layer, P[name], None if b is None else P[b])
        self.start = [tensor(a) for a in start]

    def address(self, k, beta, g, s, gamma, w, M):               # two heads: (B, 2, ...)
        similar = F.normalize(k, dim=-1) @ F.normalize(M, dim=-1).transpose(1, 2)
        w = torch.lerp(w, (beta[..., None] * similar).softmax(-1), g[..., None])
        w = sum(s[..., j, None] * w.roll(j - S // 2, dims=-1) for j in range(S))
        return (gamma[..., None] * (w + 1e-6).log()).softmax(-1)

    def forward(self, x):                                        # (B, T, BITS + 1) -> (B, T, BITS)
        w, M = (a.expand(len(x), -1, -1) for a in self.start)
        r, hidden, reads = self.first_read.expand(len(x), W), [], []
        for x_t in self.from_input(x).unbind(1):
            h = torch.tanh(x_t + self.from_memory(r))
            k_a, e_g, plus, s = self.heads(h).split([3 * W, W + 2, 4, 2 * S], dim=1)
            k, add = torch.tanh(k_a).split([2 * W, W], dim=1)
            erase, g = torch.sigmoid(e_g).split([W, 2], dim=1)
            beta, gamma = F.softplus(plus).chunk(2, dim=1)
            w = self.address(k.unflatten(1, (2, W)), beta, g, s.unflatten(1, (2, S)).softmax(-1),
                             1 + gamma, w, M)
            write, read = w[:, 0, :, None], w[:, 1:]
            M = M * (1 - write * erase[:, None]) + write * add[:, None]
            r = (read @ M)[:, 0]
            hidden.append(h)
            reads.append(r)
        return self.out(torch.stack(hidden, 1)) + self.out_read(torch.stack(reads, 1))


def make(N, rng):
    X, target = N.copy_batch(rng, B, LENGTH, BITS)
    P0, start = N.init_ntm(rng, BITS + 1, BITS, H, W, S), N.blank_memory(SLOTS, W)

    def ours():
        P, machine = own(P0), N.machine(start)
        state = N.adam_init(P)

        def step():
            loss, G = N.loss_and_gradients(machine, X, target, P)
            N.clip_by_norm(G, 1.0)
            N.adam_update(P, G, state, LR)
            return loss
        return step

    def pytorchs():
        model, x, y = TuringMachine(P0, start), tensor(X), tensor(target)
        return trainer(model, adam(model, LR),
                       lambda m: F.binary_cross_entropy_with_logits(m(x)[:, -LENGTH:], y), clip=1.0)

    return ours, pytorchs
