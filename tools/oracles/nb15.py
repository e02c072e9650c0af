"""Residual units as PyTorch's autograd computes them: every shortcut and every order of activations.

Written from the paper, one network and one unit at a time, examples in rows: F.linear, F.batch_norm,
torch.relu. The orders are spelled out as functions, not read from a table.
"""

import numpy as np
import torch
from torch.nn import functional as F

from tools.oracles._torch import leaves, record


class Layers:
    """Weights and batch norms of one unit, or of the stem, by the place they have in their chain."""

    def __init__(self, P, name):
        self.P, self.name = P, name

    def weights(self, x, i):
        return F.linear(x, self.P[f"{self.name}.{i}.W"])

    def norm(self, x, i):
        g, b = self.P[f"{self.name}.{i}.g"], self.P[f"{self.name}.{i}.b"]
        return F.batch_norm(x, None, None, g, b, training=True, eps=1e-5)


def branch(x, P, order):
    layer = Layers(P, "F")
    if order == "ReLU-only pre-activation":
        return layer.norm(layer.weights(torch.relu(
            layer.norm(layer.weights(torch.relu(x), 1), 2)), 4), 5)
    if order == "full pre-activation":
        h = layer.weights(torch.relu(layer.norm(x, 0)), 2)
        return layer.weights(torch.relu(layer.norm(h, 3)), 5)
    h = layer.weights(torch.relu(layer.norm(layer.weights(x, 0), 1)), 3)
    if order == "BN after addition":
        return h
    h = layer.norm(h, 4)
    return torch.relu(h) if order == "ReLU before addition" else h


def joined(x, f, P, shortcut, factor, mask):
    if shortcut == "identity":
        return x + f
    if shortcut == "scaled":
        return factor * x + f
    if shortcut == "both scaled":
        return factor * (x + f)
    if shortcut == "dropout":
        return torch.where(mask, x, 0) + f
    if shortcut == "projection":
        layer = Layers(P, "h")
        return layer.norm(layer.weights(x, 0), 1) + f
    g = torch.sigmoid(F.linear(x, P["g.W"], P["g.b"]))
    return (1 - g) * x + (g * f if shortcut == "exclusive gate" else f)


def unit(x, P, order, shortcut, factor, mask):
    y = joined(x, branch(x, P, order), P, shortcut, factor, mask)
    if order == "original":
        return torch.relu(y)
    return torch.relu(Layers(P, "f").norm(y, 0)) if order == "BN after addition" else y


def network(x, P, units, order, shortcut, factor, masks):
    stem = Layers(P, "stem")
    x = torch.relu(stem.norm(stem.weights(x, 0), 1))
    for u in range(units):
        inside = {k: p[u] for k, p in P.items() if k.split(".")[0] in ("F", "f", "g", "h")}
        x = unit(x, inside, order, shortcut, factor, masks[u])
    if order == "full pre-activation":
        x = Layers(P, "last").norm(x, 0)
    if "pre-activation" in order:
        x = torch.relu(x)
    return F.linear(x, P["W_y"], P["b_y"])


NORMS = {"original": ("F.1", "F.4"), "BN after addition": ("F.1", "f.0"),
         "ReLU before addition": ("F.1", "F.4"), "ReLU-only pre-activation": ("F.2", "F.5"),
         "full pre-activation": ("F.0", "F.3")}
WEIGHTS = dict.fromkeys(NORMS, ("F.0", "F.3")) | {
    "ReLU-only pre-activation": ("F.1", "F.4"), "full pre-activation": ("F.2", "F.5")}


def unit_shapes(order, shortcut, D):
    shapes = {f"{at}.W": (D, D) for at in WEIGHTS[order]}
    shapes |= {f"{at}.{k}": (D,) for at in NORMS[order] for k in "gb"}
    if "gate" in shortcut:
        shapes |= {"g.W": (D, D), "g.b": (D,)}
    if shortcut == "projection":
        shapes |= {"h.0.W": (D, D), "h.1.g": (D,), "h.1.b": (D,)}
    return shapes


def net_shapes(order, shortcut, D, K, units):
    around = {"stem.0.W": (D, 2), "stem.1.g": (D,), "stem.1.b": (D,), "W_y": (K, D), "b_y": (K,)}
    if order == "full pre-activation":
        around |= {"last.0.g": (D,), "last.0.b": (D,)}
    return around | {k: (units, *s) for k, s in unit_shapes(order, shortcut, D).items()}


def batch_last(tensors):
    """M tensors (B, D) as one (M, D, B)."""
    return torch.stack(list(tensors)).transpose(1, 2)


CASES = {order: (order, "identity") for order in NORMS} | {
    kind: ("original", kind) for kind in
    ("scaled", "both scaled", "gate", "exclusive gate", "projection", "dropout")} | {
    "gate, full": ("full pre-activation", "gate"), "projection, full": ("full pre-activation", "projection")}


def make(rng):
    cases = {}
    M, D, B, K, units = 2, 5, 9, 4, 3
    factors = (0.5, 0.8)

    inputs, P = leaves(rng, {"x": (M, D, B)}), leaves(rng, {"g": (M, D), "b": (M, D)})
    y = batch_last(F.batch_norm(inputs["x"][m].T, None, None, P["g"][m], P["b"][m], training=True)
                   for m in range(M))
    cases["batch norm"] = record(inputs, P, {"y": y}, rng)
    seen = inputs["x"].detach()
    statistics = seen[..., :6].mean(-1), seen[..., :6].var(-1, unbiased=False)
    cases["batch norm"]["seen 6"] = batch_last(
        F.batch_norm(seen[m].T, statistics[0][m], statistics[1][m], P["g"][m], P["b"][m]).detach()
        for m in range(M))

    for name, (order, shortcut) in CASES.items():
        draw = np.random.default_rng(0)
        masks = [torch.tensor(draw.random((M, D, B)) < 0.5) for _ in range(units)]
        inputs, P = leaves(rng, {"x": (M, D, B)}), leaves(rng, {
            k: (M, *s) for k, s in unit_shapes(order, shortcut, D).items()})
        y = batch_last(unit(inputs["x"][m].T, {k: p[m] for k, p in P.items()}, order, shortcut, factors[m],
                            masks[0][m].T) for m in range(M))
        cases[f"unit, {name}"] = record(inputs, P, {"y": y}, rng)

        inputs, P = leaves(rng, {"x": (M, 2, B)}), leaves(rng, {
            k: (M, *s) for k, s in net_shapes(order, shortcut, D, K, units).items()})
        labels = torch.tensor(rng.integers(K, size=B))
        logits = [network(inputs["x"][m].T, {k: p[m] for k, p in P.items()}, units, order, shortcut,
                          factors[m], [mask[m].T for mask in masks]) for m in range(M)]
        losses = torch.stack([F.cross_entropy(z, labels) for z in logits])
        losses.sum().backward()
        cases[f"net, {name}"] = {
            "x": inputs["x"].detach(), "dx": inputs["x"].grad, "labels": labels, "losses": losses.detach(),
            "logits": batch_last(logits).detach()} | {
            f"P.{k}": p.detach() for k, p in P.items()} | {f"G.{k}": p.grad for k, p in P.items()}

    P = leaves(rng, {"W_y": (3, 4), "b_y": (3,)})
    cases["sgd"] = {f"P0.{k}": p.detach().numpy().copy() for k, p in P.items()}
    optimizer = torch.optim.SGD([{"params": [P["W_y"]], "weight_decay": 0.1},
                                 {"params": [P["b_y"]], "weight_decay": 0}], lr=0.05, momentum=0.9)
    for step in range(4):
        for k, p in P.items():
            p.grad = torch.tensor(rng.normal(size=p.shape))
            cases["sgd"][f"G{step}.{k}"] = p.grad.numpy().copy()
        optimizer.step()
    cases["sgd"] |= {f"P4.{k}": p.detach().numpy().copy() for k, p in P.items()}
    return {f"{case}/{k}": v for case, arrays in cases.items() for k, v in arrays.items()}
