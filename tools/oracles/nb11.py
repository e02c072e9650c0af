"""Dilated convolution, pooling, upsampling, the loss of a map and whole networks, by PyTorch's autograd.

Images are (N, C, H, W) here and (C, H, W, N) in the notebook; weights are (O, C, k, k) in both.
"""

import torch
from torch.nn import functional as F

from tools.oracles._torch import leaves, record


def nchw(x):
    return x.permute(3, 0, 1, 2)


def chwn(x):
    return x.permute(1, 2, 3, 0)


def convolve(x, P, name, dilation):
    k = P[f"{name}.W"].shape[-1]
    return F.conv2d(x, P[f"{name}.W"], P[f"{name}.b"], padding=dilation * (k // 2), dilation=dilation)


def plain(x, P, dilations):
    for i, dilation in enumerate(dilations):
        x = torch.relu(convolve(x, P, i, dilation))
    return convolve(x, P, "y", 1)


def pooling(x, P, skip):
    """Three poolings with a convolution behind each, spelled out; the skip joins before the classifier."""
    x = torch.relu(convolve(torch.relu(convolve(x, P, 0, 1)), P, 1, 1))
    kept = x
    for i in (2, 3, 4):
        x = torch.relu(convolve(F.max_pool2d(x, 2), P, i, 1))
    for i in (5, 6):
        x = torch.relu(convolve(x, P, i, 1))
    x = F.interpolate(x, scale_factor=8, mode="nearest")
    return convolve(x + kept if skip else x, P, "y", 1)


def shapes(layers, C, C_in, K):
    out = {}
    for i in range(layers):
        out |= {f"{i}.W": (C, C if i else C_in, 3, 3), f"{i}.b": (C,)}
    return out | {"y.W": (K, C, 1, 1), "y.b": (K,)}


NETS = {"undilated": (lambda x, P: plain(x, P, (1,) * 7), 7),
        "dilated": (lambda x, P: plain(x, P, (1, 1, 1, 2, 4, 8, 1)), 7),
        "pool": (lambda x, P: pooling(x, P, False), 7),
        "pool + skip": (lambda x, P: pooling(x, P, True), 7),
        "module": (lambda x, P: plain(x, P, (1, 1, 2, 4, 8, 1)), 6)}


def make(rng):
    cases = {}
    for k, dilation, pad in ((3, 1, 1), (3, 2, 2), (3, 4, 4), (3, 3, 1), (5, 2, 4), (1, 1, 0)):
        x, P = leaves(rng, {"x": (3, 9, 7, 2)}), leaves(rng, {"W": (4, 3, k, k), "b": (4,)})
        y = chwn(F.conv2d(nchw(x["x"]), P["W"], P["b"], padding=pad, dilation=dilation))
        cases[f"conv {k} {dilation} {pad}"] = record(x, P, {"y": y}, rng)

    x = leaves(rng, {"x": (3, 6, 10, 2)})
    cases["pool"] = record(x, {}, {"y": chwn(F.max_pool2d(nchw(x["x"]), 2))}, rng)
    x = {"x": torch.tensor(rng.integers(3, size=(2, 4, 6, 3)).astype(float), requires_grad=True)}
    cases["pool with ties"] = record(x, {}, {"y": chwn(F.max_pool2d(nchw(x["x"]), 2))}, rng)
    x = leaves(rng, {"x": (3, 2, 5, 2)})
    cases["upsample"] = record(x, {}, {"y": chwn(F.interpolate(nchw(x["x"]), scale_factor=3))}, rng)

    scores = leaves(rng, {"scores": (4, 5, 3, 2)}, 2.0)["scores"]
    labels = torch.tensor(rng.integers(4, size=(5, 3, 2)))
    loss = F.cross_entropy(nchw(scores), labels.permute(2, 0, 1))
    loss.backward()
    cases["loss"] = {"scores": scores.detach(), "labels": labels, "loss": loss.detach(), "d": scores.grad}

    for name, (network, layers) in NETS.items():
        C, C_in = (3, 3) if name == "module" else (5, 2)
        x = leaves(rng, {"x": (C_in, 16, 24, 2)})["x"]
        P = leaves(rng, shapes(layers, C, C_in, 3), 0.25 if C == 5 else 0.35)
        labels = torch.tensor(rng.integers(3, size=(16, 24, 2)))
        scores = network(nchw(x), P)
        loss = F.cross_entropy(scores, labels.permute(2, 0, 1))
        loss.backward()
        cases[f"net, {name}"] = {"x": x.detach(), "dx": x.grad, "labels": labels, "loss": loss.detach(),
                                 "scores": chwn(scores).detach()} | {
            f"P.{k}": p.detach() for k, p in P.items()} | {f"G.{k}": p.grad for k, p in P.items()}
    return {f"{case}/{k}": v for case, arrays in cases.items() for k, v in arrays.items()}
