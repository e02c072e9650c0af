"""Relational memory core, 7 slots of 32: 24 games of 6 swaps (the longest), clipped, Adam."""

import torch
from torch import nn
from torch.nn import functional as F

from tools.benchmarks._torch import adam, fill, fill_linear, own, parameter, tensor, trainer

B, T, SLOTS, D, HEADS, BLOCKS, LR = 24, 6, 7, 32, 2, 2, 1e-2


class Block(nn.Module):
    def __init__(self, P):
        super().__init__()
        self.qkv = nn.Linear(D, 3 * D, bias=False)
        self.norm1, self.norm2 = nn.LayerNorm(D), nn.LayerNorm(D)
        self.mlp = nn.Sequential(nn.Linear(D, D), nn.ReLU(), nn.Linear(D, D))
        fill_linear(self.qkv, P["W_qkv"])
        fill_linear(self.mlp[0], P["mlp.W_1"], P["mlp.b_1"])
        fill_linear(self.mlp[2], P["mlp.W_2"], P["mlp.b_2"])
        for name, norm in (("norm1", self.norm1), ("norm2", self.norm2)):
            fill(norm.weight, P[f"{name}.g"])
            fill(norm.bias, P[f"{name}.b"])

    def forward(self, x):                                        # (B, rows, D)
        q, k, v = self.qkv(x).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        x = self.norm1(x + F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return self.norm2(x + self.mlp(x))


class MemoryCore(nn.Module):
    def __init__(self, P, part):
        super().__init__()
        self.embed, self.memory = nn.Linear(SLOTS, D), parameter(P["M_0"])
        self.blocks = nn.Sequential(*(Block(part(P, f"block{k}")) for k in range(BLOCKS)))
        self.from_input, self.from_slot = nn.Linear(D, 2 * D), nn.Linear(D, 2 * D, bias=False)
        self.out = nn.Linear(D, SLOTS)
        fill_linear(self.embed, P["W_in"], P["b_in"])
        fill_linear(self.from_input, P["W_x"], P["b_g"])
        fill_linear(self.from_slot, P["W_h"])
        fill_linear(self.out, P["W_y"], P["b_y"])

    def forward(self, x):                                        # (B, T, SLOTS) -> (B, T, SLOTS, classes)
        e = self.embed(x)
        m = self.memory.expand(len(x), SLOTS, D)
        h, shown = torch.tanh(m), []
        for e_t, gate in zip(e.unbind(1), self.from_input(e).unbind(1), strict=True):
            z = self.blocks(torch.cat([m, e_t[:, None]], dim=1))[:, :-1]
            i, f = torch.sigmoid(self.from_slot(h) + gate[:, None]).chunk(2, dim=-1)
            m = i * torch.tanh(z) + f * m
            h = torch.tanh(m)
            shown.append(h)
        return self.out(torch.stack(shown, dim=1))


def make(N, rng):
    x, y = N.shell_game(rng, B, T, SLOTS)
    cfg = N.Config(SLOTS, SLOTS, slots=SLOTS, D=D, heads=HEADS, blocks=BLOCKS)
    P0 = N.rmc_init(rng, cfg)

    def ours():
        P = own(P0)
        state = N.adam_init(P)

        def step():
            loss, _, G = N.loss_and_gradients(x, y, P, cfg)
            N.clip_by_norm(G, 1.0)
            N.adam_update(P, G, state, LR)
            return loss
        return step

    def pytorchs():
        model, inputs, targets = MemoryCore(P0, N.part), tensor(x), tensor(y).flatten()
        return trainer(model, adam(model, LR),
                       lambda m: F.cross_entropy(m(inputs).flatten(0, 2), targets), clip=1.0)

    return ours, pytorchs
