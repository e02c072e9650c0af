"""Pointer networks as PyTorch's autograd computes them; hulls by Andrew's monotone chain.

Written from the paper, not from the notebook: the LSTMs are torch.nn.LSTM, one score at a time is computed
for each pair of output step and key, the loss is F.cross_entropy with ignore_index, and tours are tried
one after another in plain Python.
"""

import itertools
import math

import numpy as np
import torch
from torch.func import functional_call
from torch.nn import functional as F

from tools.oracles._torch import leaves, record


def lstm(X, state, P, who):
    """torch.nn.LSTM has the gates in the order i, f, g, o; the notebook in the order i, f, o, g."""
    H = state[0].shape[1]
    module = torch.nn.LSTM(X.shape[2], H, batch_first=True).double()

    def reorder(p):
        i, f, o, g = p.split(H, -1)
        return torch.cat([i, f, g, o], -1)

    parameters = {"weight_ih_l0": reorder(P[f"{who}.W_x"]).T, "weight_hh_l0": reorder(P[f"{who}.W_h"]).T,
                  "bias_ih_l0": reorder(P[f"{who}.b"]),
                  "bias_hh_l0": torch.zeros(4 * H, dtype=torch.float64)}
    hs, (h, c) = functional_call(module, parameters, (X, (state[0][None], state[1][None])))
    return hs, (h[0], c[0])


def score(e, d, P):
    """Equation 3, one pair of step i and key j after another."""
    rows = [torch.stack([torch.tanh(e[:, j] @ P["W_1"] + d[:, i] @ P["W_2"]) @ P["v"]
                         for j in range(e.shape[1])], 1) for i in range(d.shape[1])]
    return torch.stack(rows, 1)


def pointer(e, d, P):
    return score(torch.cat([P["e_0"].expand(len(e), 1, -1), e], 1), d, P)


def attention(e, d, P):
    context = torch.einsum("bij,bjh->bih", F.softmax(score(e, d, P), -1), e)
    return F.linear(torch.cat([d, context], -1), P["W_o"].T, P["b_o"])


def plain(e, d, P):
    return F.linear(d, P["W_o"].T, P["b_o"])


HEADS = {"Ptr-Net": pointer, "attention": attention, "LSTM": plain}


def shapes(kind, D, H, V):
    """Shapes of all parameters; those of the head alone have no dot in their names and are not go."""
    out = {"go": (D,)}
    for who in ("enc", "dec"):
        out |= {f"{who}.W_x": (D, 4 * H), f"{who}.W_h": (H, 4 * H), f"{who}.b": (4 * H,)}
    if kind != "LSTM":
        out |= {"W_1": (H, H), "W_2": (H, H), "v": (H,)}
    if kind == "Ptr-Net":
        return out | {"e_0": (H,)}
    return out | {"W_o": ((1 if kind == "LSTM" else 2) * H, V), "b_o": (V,)}


def head_only(P):
    return {k: p for k, p in P.items() if "." not in k and k != "go"}


def model(kind, X, Y, P):
    """Teacher forcing, one step after another; what follows END is fed as point 1 and ignored."""
    B, H = len(X), len(P["enc.W_h"])
    zero = torch.zeros(B, H, dtype=torch.float64)
    e, state = lstm(X, (zero, zero), P, "enc")
    x, ds = P["go"].expand(B, -1), []
    for t in range(Y.shape[1]):
        d, state = lstm(x[:, None], state, P, "dec")
        ds.append(d)
        x = X[torch.arange(B), torch.tensor(np.maximum(Y[:, t], 1) - 1)]
    return HEADS[kind](e, torch.cat(ds, 1), P)


def whole(rng, kind, B, n, T, D, H, V):
    """Loss and all gradients of a model; answers of unequal length, padded with -1."""
    P, X = leaves(rng, shapes(kind, D, H, V), 0.7), torch.tensor(rng.normal(size=(B, n, D)))
    Y = np.full((B, T), -1)
    for row, length in zip(Y, rng.integers(2, T, size=B), strict=True):
        row[:length] = rng.permutation(n)[:length] + 1
        row[length] = 0
    y = model(kind, X, Y, P)
    y.retain_grad()
    loss = F.cross_entropy(y.reshape(-1, y.shape[2]), torch.tensor(Y.ravel()), ignore_index=-1)
    loss.backward()
    out = {"X": X, "Y": Y, "y": y.detach(), "dy": y.grad, "loss": loss.detach()}
    return out | {f"P.{k}": p.detach() for k, p in P.items()} | {f"G.{k}": p.grad for k, p in P.items()}


def hull(points):
    """Monotone chain, counter-clockwise, turned to the lowest index; numbers from 1."""
    def chain(order):
        out = []
        for k in order:
            while len(out) > 1:
                (ax, ay), (bx, by), (cx, cy) = (points[i] for i in (out[-2], out[-1], k))
                if (bx - ax) * (cy - ay) - (by - ay) * (cx - ax) > 0:
                    break
                out.pop()
            out.append(k)
        return out[:-1]

    order = sorted(range(len(points)), key=lambda k: tuple(points[k]))
    vertices = chain(order) + chain(order[::-1])
    first = vertices.index(min(vertices))
    return [v + 1 for v in vertices[first:] + vertices[:first]]


def tour(points):
    """The shortest closed tour from city 1, in the counter-clockwise direction; and its length."""
    def length(order):
        return sum(math.dist(points[a], points[b])
                   for a, b in zip(order, order[1:] + order[:1], strict=True))

    best = min(([0, *p] for p in itertools.permutations(range(1, len(points)))), key=length)
    area = sum(points[a][0] * points[b][1] - points[b][0] * points[a][1]
               for a, b in zip(best, best[1:] + best[:1], strict=True))
    if area < 0:
        best = [0, *best[:0:-1]]
    return [i + 1 for i in best], length(best)


def make(rng):
    cases = {}
    B, n, T, H = 3, 5, 4, 6
    x = leaves(rng, {"e": (B, n, H), "d": (B, T, H)}, 1)
    P = leaves(rng, {k: shapes("Ptr-Net", 2, H, 0)[k] for k in ("W_1", "W_2", "v")}, 0.7)
    cases["score"] = record(x, P, {"u": score(**x, P=P)}, rng)
    for kind in HEADS:
        x = leaves(rng, {"e": (B, n, H), "d": (B, T, H)}, 1)
        P = leaves(rng, head_only(shapes(kind, 2, H, 9)), 0.7)
        cases[f"head {kind}"] = record(x, P, {"y": HEADS[kind](**x, P=P)}, rng)
    x = leaves(rng, {"X": (B, 7, 3), "h": (B, H), "c": (B, H)}, 1)
    P = {k: p for k, p in leaves(rng, shapes("LSTM", 3, H, 1), 0.7).items() if k.startswith("dec")}
    hs, (h, c) = lstm(x["X"], (x["h"], x["c"]), P, "dec")
    cases["lstm"] = record(x, P, {"hs": hs, "h_T": h, "c_T": c}, rng)
    for kind in HEADS:
        cases[f"model {kind}"] = whole(rng, kind, 4, 6, 5, 3, 7, 8)
    for n in (3, 7, 25):
        points = rng.random((20, n, 2))
        Y = np.full((20, n + 1), -1)
        for row, P_ in zip(Y, points, strict=True):
            found = hull(P_.tolist())
            row[:len(found) + 1] = [*found, 0]
        cases[f"hulls {n}"] = {"points": points, "Y": Y}
    for n in (3, 4, 7):
        points = rng.random((6, n, 2))
        found = [tour(p.tolist()) for p in points]
        cases[f"tours {n}"] = {"points": points, "Y": [[*order, 0] for order, _ in found],
                               "length": [length for _, length in found]}
    return {f"{case}/{k}": v for case, arrays in cases.items() for k, v in arrays.items()}
