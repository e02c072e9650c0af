"""RNN, LSTM and character model as PyTorch computes them; n-gram model by dictionaries of counts."""

import math
from collections import Counter, defaultdict

import numpy as np
import torch


def lstm_rows(W, H):
    """Our columns i, f, o, g -> PyTorch's rows i, f, g, o."""
    i, f, o, g = (W[..., k * H:(k + 1) * H] for k in range(4))
    return torch.cat([i, f, g, o], dim=-1).t().contiguous()


def run(kind, x, s0, P, H):
    """Hidden states of torch's own cell with our parameters: x (B, T, V) one-hot -> (B, T, H)."""
    rows = (lambda W: lstm_rows(W, H)) if kind == "lstm" else (lambda W: W.t().contiguous())
    weights = [rows(P["W_xh"]), rows(P["W_hh"]), rows(P["b_h"]), torch.zeros_like(rows(P["b_h"]))]
    flags = (True, 1, 0.0, False, False, True)  # biases, layers, dropout, train, bidirectional, batch first
    if kind == "lstm":
        out = torch.lstm(x, tuple(s[None] for s in s0), weights, *flags)
    else:
        out = torch.rnn_tanh(x, s0[0][None], weights, *flags)
    return out[0]


def leaves(value, gradient, tensors):
    """{"P.W": W, "G.W": dW, ...} for named tensors after backward()."""
    return {f"{prefix}{k}": x for k, t in tensors for prefix, x in ((value, t.detach()), (gradient, t.grad))}


def cell(kind, rng, B, T, H, V):
    n = 4 * H if kind == "lstm" else H
    tensor = lambda *shape: torch.tensor(rng.normal(size=shape), requires_grad=True)  # noqa: E731
    P = {"W_xh": tensor(V, n), "W_hh": tensor(H, n), "b_h": tensor(n)}
    s0 = [tensor(B, H) for _ in range(2 if kind == "lstm" else 1)]
    ids, dh = rng.integers(V, size=(B, T)), rng.normal(size=(B, T, H))
    x = torch.nn.functional.one_hot(torch.tensor(ids), V).double()
    h = run(kind, x, s0, P, H)
    h.backward(torch.tensor(dh))
    out = {"ids": ids, "dh": dh, "h": h.detach()}
    return out | leaves("P.", "G.", P.items()) | leaves("s0.", "ds0.", enumerate(s0))


def model(kind, rng, B, T, H, V):
    n = 4 * H if kind == "lstm" else H
    shapes = {"W_xh": (V, n), "W_hh": (H, n), "b_h": (n,), "W_hy": (H, V), "b_y": (V,)}
    P = {k: torch.tensor(rng.normal(size=s), requires_grad=True) for k, s in shapes.items()}
    n_states = 2 if kind == "lstm" else 1
    s0 = [torch.tensor(rng.normal(size=(B, H)), requires_grad=True) for _ in range(n_states)]
    ids, targets = rng.integers(V, size=(2, B, T))
    x = torch.nn.functional.one_hot(torch.tensor(ids), V).double()
    scores = run(kind, x, s0, P, H) @ P["W_hy"] + P["b_y"]
    loss = torch.nn.functional.cross_entropy(scores.reshape(-1, V), torch.tensor(targets).reshape(-1))
    loss.backward()
    out = {"ids": ids, "targets": targets, "loss": loss.detach()}
    return out | leaves("P.", "G.", P.items()) | leaves("s0.", "ds0.", enumerate(s0))


def softmax_loss(rng, B=3, T=4, H=5, V=7):
    h = torch.tensor(3 * rng.normal(size=(B, T, H)), requires_grad=True)
    W, b = (torch.tensor(rng.normal(size=s), requires_grad=True) for s in ((H, V), (V,)))
    targets = rng.integers(V, size=(B, T))
    loss = torch.nn.functional.cross_entropy((h @ W + b).reshape(-1, V), torch.tensor(targets).reshape(-1))
    loss.backward()
    return {"h": h.detach(), "targets": targets, "loss": loss.detach(), "dh": h.grad,
            "P.W_hy": W.detach(), "P.b_y": b.detach(), "G.W_hy": W.grad, "G.b_y": b.grad}


def ngram(rng, V=5, order=4, discount=0.6):
    """Interpolated absolute discounting, symbol by symbol. Before the start a context is padded by 0."""
    train, test = rng.integers(V, size=300) * (rng.random(300) < 0.6), rng.integers(V, size=80)

    def context(ids, at, n):
        return tuple(ids[at - k] if at >= k else 0 for k in range(n - 1, 0, -1))

    counts = defaultdict(Counter)
    for n in range(1, order + 1):
        for at in range(len(train)):
            counts[n, context(train, at, n)][train[at]] += 1

    def p(symbol, ids, at, n):
        if n == 0:
            return 1 / V
        seen = counts.get((n, context(ids, at, n)))
        if not seen:
            return p(symbol, ids, at, n - 1)
        freed = discount * len(seen) / seen.total()
        return max(seen[symbol] - discount, 0) / seen.total() + freed * p(symbol, ids, at, n - 1)

    bits = [-math.log2(p(test[at], test, at, order)) for at in range(len(test))]
    return {"train": train, "test": test, "V": V, "order": order, "discount": discount,
            "bits": np.array(bits)}


def make(rng):
    cases = {"rnn": cell("rnn", rng, 3, 5, 4, 6), "lstm": cell("lstm", rng, 2, 6, 3, 5),
             "softmax_loss": softmax_loss(rng), "rnn_model": model("rnn", rng, 2, 7, 5, 6),
             "lstm_model": model("lstm", rng, 3, 4, 4, 8), "ngram": ngram(rng)}
    return {f"{case}/{k}": v for case, arrays in cases.items() for k, v in arrays.items()}
