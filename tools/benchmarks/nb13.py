"""Transformer of width 64, one layer a side: 26 sentence pairs of 10 tokens, Adam with warm-up."""

import itertools

import numpy as np
from torch import nn
from torch.nn import functional as F

from tools.benchmarks._torch import adam, fill, fill_linear, own, parameter, tensor, trainer

B, T = 26, 10                           # 256 target tokens; nine words and <end>, a middling length


def fill_attention(module, P, name):
    fill(module.in_proj_weight, np.concatenate([P[f"{name}.W_{w}"].T for w in "QKV"]))
    fill_linear(module.out_proj, P[f"{name}.W_O"])


def fill_layer(layer, P, name):
    """What encoder and decoder layers have in common."""
    fill_attention(layer.self_attn, P, f"{name}.self")
    fill_linear(layer.linear1, P[f"{name}.ffn.W_1"], P[f"{name}.ffn.b_1"])
    fill_linear(layer.linear2, P[f"{name}.ffn.W_2"], P[f"{name}.ffn.b_2"])


class Transformer(nn.Module):
    """PyTorch's post-norm layers; weights start as ours, gains and biases of norms as 1 and 0."""

    def __init__(self, P, cfg, table):
        super().__init__()
        D, h = cfg.d_model, cfg.n_heads
        self.source, self.target = parameter(P["E_source"]), parameter(P["E_target"])
        self.register_buffer("table", tensor(table))
        self.register_buffer("future", nn.Transformer.generate_square_subsequent_mask(T))
        self.encoder = nn.TransformerEncoderLayer(D, h, cfg.d_ff, 0.0, batch_first=True)
        self.decoder = nn.TransformerDecoderLayer(D, h, cfg.d_ff, 0.0, batch_first=True)
        self.encoder.self_attn = nn.MultiheadAttention(D, h, bias=False, batch_first=True)
        self.decoder.self_attn = nn.MultiheadAttention(D, h, bias=False, batch_first=True)
        self.decoder.multihead_attn = nn.MultiheadAttention(D, h, bias=False, batch_first=True)
        fill_layer(self.encoder, P, "enc0")
        fill_layer(self.decoder, P, "dec0")
        fill_attention(self.decoder.multihead_attn, P, "dec0.cross")

    def embed(self, ids, E):
        return F.embedding(ids, E) * E.shape[1] ** 0.5 + self.table[:ids.shape[1]]

    def forward(self, source, target_in):
        z = self.encoder(self.embed(source, self.source))
        y = self.decoder(self.embed(target_in, self.target), z, tgt_mask=self.future, tgt_is_causal=True)
        return F.linear(y, self.target)


def make(N, rng):
    cfg, n_source, n_target = N.Config(), len(N.SOURCE), 37
    source, target = rng.integers(3, n_source, size=(B, T)), rng.integers(3, n_target, size=(B, T))
    source[:, -1] = target[:, -1] = N.END
    P0 = N.init_params(rng, cfg, n_source, n_target)

    def ours():
        P = own(P0)
        state, count = N.adam_init(P), itertools.count(1)

        def step():
            loss, _, G = N.loss_and_gradients(source, target, P, cfg, 0.1)
            N.adam_update(P, G, state, N.noam(next(count)), beta2=0.98, eps=1e-9)
            return loss
        return step

    def pytorchs():
        model = Transformer(P0, cfg, N.position_table(cfg))
        x, y_in, y = tensor(source), tensor(N.shift_right(target)), tensor(target).flatten()
        optimizer = adam(model, 1.0, betas=(0.9, 0.98), eps=1e-9)
        return trainer(model, optimizer,
                       lambda m: F.cross_entropy(m(x, y_in).flatten(0, 1), y, label_smoothing=0.1),
                       rate=lambda k: N.noam(k + 1))

    return ours, pytorchs
