"""Two towers of weighted word vectors, width 64: 128 questions, in-batch negatives, Adam."""

import itertools

import torch
from torch import nn
from torch.nn import functional as F

from tools.benchmarks._torch import adam, fill, fill_linear, own, tensor, trainer

B, STEPS, LR, SCALE = 128, 800, 0.02, 8.0                        # questions of 5 words, passages of up to 15


def rate(i):
    """Share of the learning rate in step i: fifty steps of warm-up, then linearly down to zero."""
    i %= STEPS
    return min((i + 1) / 50, 1 - i / STEPS)


class Tower(nn.Module):
    def __init__(self, P):
        super().__init__()
        n_words, width = P["E"].shape
        self.words, self.weights = nn.Embedding(n_words, width), nn.Embedding(n_words, 1)
        self.out = nn.Linear(width, width, bias=False)
        fill(self.words.weight, P["E"])
        fill(self.weights.weight, P["a"][:, None])
        fill_linear(self.out, P["W"])

    def forward(self, ids):
        scores = self.weights(ids).squeeze(2).masked_fill(ids == 0, -torch.inf)
        return self.out((scores.softmax(1)[:, None] @ self.words(ids)).squeeze(1))


def make(N, rng):
    topics = rng.permuted([range(N.N_CONCEPTS)] * N.N_TOPICS, axis=1)[:, :14]
    pairs = N.make_pairs(B, topics, rng)
    P0 = N.init_params(rng, N.V, N.D)

    def ours():
        P = own(P0)
        state, times = N.adam_init(P), itertools.count()

        def step():
            loss, G = N.loss_and_gradients(pairs["question"], pairs["passage"], P, SCALE, None)
            N.adam_update(P, G, state, LR * rate(next(times)))
            return loss
        return step

    def pytorchs():
        model = nn.ModuleDict({side: Tower(N.part(P0, side)) for side in "qp"})
        questions, passages, diagonal = tensor(pairs["question"]), tensor(pairs["passage"]), torch.arange(B)
        optimizer = adam(model, LR)
        return trainer(model, optimizer,
                       lambda m: F.cross_entropy(SCALE * m["q"](questions) @ m["p"](passages).T, diagonal),
                       rate=rate)

    return ours, pytorchs
