"""CTC, 3 two-way recurrent layers of 48: 32 sentences (middle length), clipped, Adam."""

import torch
from torch import nn
from torch.nn import functional as F

from tools.benchmarks._torch import adam, fill, fill_linear, own, parameter, tensor, trainer

B, BINS, C, H, K, LAYERS, SYMBOLS, CEILING, LR = 32, 20, 32, 48, 5, 3, 13, 20.0, 0.012
WORDS = "an at bell dinner east iron last letter lost noble not oil old red road said silent tall to".split()


class SequenceNorm(nn.BatchNorm1d):
    """Batch normalisation over the valid frames of all utterances; zeros in the padding."""
    def __init__(self, P, name):
        super().__init__(len(P[f"{name}.scale"]))
        fill(self.weight, P[f"{name}.scale"])
        fill(self.bias, P[f"{name}.shift"])

    def forward(self, x, valid):                                 # (T, B, D), (T, B)
        return torch.zeros_like(x).masked_scatter(valid[..., None], super().forward(x[valid]))


class Recurrent(nn.Module):
    """Both directions in one batched product a frame; nn.RNN has no ceiling and no sum."""
    def __init__(self, P, name):
        super().__init__()
        self.below, self.U = nn.Linear(len(P[f"{name}.W"]), 2 * H, bias=False), parameter(P[f"{name}.U"])
        fill_linear(self.below, P[f"{name}.W"])
        self.norm = SequenceNorm(P, name)

    def forward(self, x, valid, turned):
        ahead, back = self.norm(self.below(x), valid).chunk(2, dim=-1)
        a = torch.stack([ahead, turn(back, turned)], dim=1)      # (T, 2, B, H)
        h, states = a.new_zeros(a.shape[1:]), []
        for a_t in a:
            h = torch.baddbmm(a_t, h, self.U).clamp(0, CEILING)
            states.append(h)
        ahead, back = torch.stack(states).unbind(1)
        return (ahead + turn(back, turned)) * valid[..., None]


def turn(x, turned):
    """Each utterance turned round within its own length."""
    return x.flatten(0, 1).index_select(0, turned).view_as(x)


class Speech(nn.Module):
    def __init__(self, P):
        super().__init__()
        self.conv, self.norm = nn.Conv1d(BINS, C, K, 2, K // 2, bias=False), SequenceNorm(P, "conv")
        fill(self.conv.weight, P["conv.W"].transpose(2, 1, 0))
        self.layers = nn.ModuleList(Recurrent(P, f"rnn{k}") for k in range(1, LAYERS + 1))
        self.out = nn.Linear(H, SYMBOLS)
        fill_linear(self.out, P["out.W"], P["out.b"])

    def forward(self, x, frames):                                # (T, B, BINS) -> (T', B, SYMBOLS), frames
        x, frames = self.conv(x.permute(1, 2, 0)).permute(2, 0, 1), (frames + 1) // 2
        t, b = torch.arange(len(x))[:, None], torch.arange(len(frames))
        valid = t < frames
        turned = (torch.where(valid, frames - 1 - t, t) * len(frames) + b).flatten()
        h = self.norm(x, valid).clamp(0, CEILING)
        for layer in self.layers:
            h = layer(h, valid, turned)
        return self.out(h), frames


def make(N, rng):
    texts = [" ".join(rng.choice(WORDS, rng.integers(2, 5))) for _ in range(10 * B)]
    spoken = sorted(((N.speak(rng, text), text) for text in texts), key=lambda pair: len(pair[0][0]))
    batch = N.pad(*zip(*spoken[5 * B:6 * B], strict=True))
    P0 = N.init(rng, LAYERS, True, C, H, K, BINS)

    def ours():
        P, state = own(P0), N.adam_init(P0)

        def step():
            loss, (_, G) = N.loss_and_gradient(batch, P)
            N.clip_by_norm(G, 1.0)
            N.adam_update(P, G, state, LR)
            return loss
        return step

    def pytorchs():
        model, (x, frames, labels, lengths) = Speech(P0), map(tensor, batch)
        def loss(model):
            z, short = model(x, frames)
            return F.ctc_loss(z.log_softmax(-1), labels, short, lengths, reduction="sum") / lengths.sum()
        return trainer(model, adam(model, LR), loss, clip=1.0)

    return ours, pytorchs
