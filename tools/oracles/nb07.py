"""Layers of AlexNet and a whole network as PyTorch's autograd computes them.

Written from the paper with torch.nn.functional; PyTorch puts the batch first, the notebook last.
local_response_norm divides alpha by its size, the paper divides by nothing: hence size * alpha.
"""

import numpy as np
import torch
from torch.nn import functional as F

from tools.oracles._torch import leaves, record

CONVS = {"conv": (1, 0, 1), "conv_stride": (2, 1, 1), "conv_dilation": (1, 2, 2), "conv_all": (3, 3, 2)}


def first(x):
    """(C, H, W, N) -> (N, C, H, W)"""
    return x.permute(3, 0, 1, 2)


def last(x):
    """(N, C, H, W) -> (C, H, W, N)"""
    return x.permute(1, 2, 3, 0)


def conv(x, P, stride=1, pad=0, dilation=1):
    return last(F.conv2d(first(x), P["W"], P["b"], stride, pad, dilation))


def pool(x, window):
    return last(F.max_pool2d(first(x), window, 2))


def lrn(x, n, k, alpha, beta):
    return last(F.local_response_norm(first(x), n, n * alpha, beta, k))


def network(x, P, net, mask):
    """conv, unit, LRN, pool, twice; a linear layer on the flattened maps, unit, mask; a linear layer."""
    unit = {"relu": torch.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid}[net["unit"]]
    x = first(x)
    for name, stride, pad in zip(("conv1", "conv2"), net["stride"], net["pad"], strict=True):
        x = unit(F.conv2d(x, P[name + ".W"], P[name + ".b"], stride, pad))
        if net["lrn"]:
            n, alpha, beta, k = (net["lrn"][key] for key in ("n", "alpha", "beta", "k"))
            x = F.local_response_norm(x, n, n * alpha, beta, k)
        x = F.max_pool2d(x, net["window"], 2)
    x = unit(F.linear(x.flatten(1), P["fc1.W"].flatten(1), P["fc1.b"]))
    if mask is not None:
        x = x * mask[:, 0, 0].T
    return F.linear(x, P["fc2.W"].flatten(1), P["fc2.b"]).T


NETS = {"net_plain": {"unit": "relu", "stride": (2, 1), "pad": (1, 1), "window": 2, "lrn": None},
        "net_full": {"unit": "relu", "stride": (2, 1), "pad": (2, 0), "window": 3,
                     "lrn": {"n": 3, "k": 1.5, "alpha": 0.2, "beta": 0.6}},
        "net_tanh": {"unit": "tanh", "stride": (1, 2), "pad": (0, 1), "window": 2, "lrn": None},
        "net_sigmoid": {"unit": "sigmoid", "stride": (2, 1), "pad": (1, 1), "window": 2, "lrn": None}}
SIDES = {"net_plain": (20, 2), "net_full": (21, 1), "net_tanh": (14, 1), "net_sigmoid": (20, 2)}


def make(rng):
    cases = {}
    for name, how in CONVS.items():
        P = leaves(rng, {"W": (4, 3, 3, 3), "b": (4,)})
        x = leaves(rng, {"x": (3, 8, 9, 2)})
        cases[name] = record(x, P, {"y": conv(x["x"], P, *how)}, rng)
    for window in (2, 3):
        x = leaves(rng, {"x": (3, 9, 7, 4)})
        cases[f"pool_{window}"] = record(x, {}, {"y": pool(x["x"], window)}, rng)
        ties = {"x": torch.tensor(rng.integers(3, size=(3, 9, 7, 4)).astype(float), requires_grad=True)}
        cases[f"pool_{window}_ties"] = record(ties, {}, {"y": pool(ties["x"], window)}, rng)
    for name, (n, k, alpha, beta) in {"lrn": (5, 2.0, 1e-4, 0.75), "lrn_strong": (3, 1.0, 0.4, 0.6)}.items():
        x = leaves(rng, {"x": (7, 4, 5, 3)}, 3.0)
        cases[name] = record(x, {}, {"y": lrn(x["x"], n, k, alpha, beta)}, rng)
    for name, unit in (("relu", torch.relu), ("tanh", torch.tanh), ("sigmoid", torch.sigmoid)):
        x = leaves(rng, {"x": (3, 4, 5, 2)})
        cases[name] = record(x, {}, {"y": unit(x["x"])}, rng)
    x, mask = leaves(rng, {"x": (6, 1, 1, 5)}), (rng.random((6, 1, 1, 5)) < 0.5) * 2.0
    cases["dropout"] = record(x, {}, {"y": x["x"] * torch.tensor(mask)}, rng) | {"mask": mask}
    for name, net in NETS.items():
        side, map_side = SIDES[name]
        P = leaves(rng, {"conv1.W": (5, 3, 5, 5), "conv1.b": (5,), "conv2.W": (6, 5, 3, 3), "conv2.b": (6,),
                         "fc1.W": (8, 6, map_side, map_side), "fc1.b": (8,), "fc2.W": (7, 8, 1, 1),
                         "fc2.b": (7,)}, 0.4)
        x = leaves(rng, {"x": (3, side, side, 4)})
        mask = (rng.random((8, 1, 1, 4)) < 0.5) * 2.0 if name == "net_full" else None
        target = torch.tensor(rng.integers(7, size=4))
        Y = network(x["x"], P, net, None if mask is None else torch.tensor(mask))
        Y.retain_grad()
        loss = F.cross_entropy(Y.T, target)
        loss.backward()
        cases[name] = {"x": x["x"].detach(), "dx": x["x"].grad, "target": target, "Y": Y.detach(),
                       "dY": Y.grad, "loss": loss.detach()}
        cases[name] |= {f"P.{k}": p.detach() for k, p in P.items()} | {f"G.{k}": p.grad for k, p in P.items()}
        if mask is not None:
            cases[name]["mask"] = np.asarray(mask)
    return {f"{case}/{k}": v for case, arrays in cases.items() for k, v in arrays.items()}
