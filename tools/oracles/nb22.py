"""Scaling-law models as PyTorch's autograd computes them: associative memory, MLP, weighted cross-entropy.

Written from the equations: features are products of embeddings looked up letter by letter, the loss is
torch's cross_entropy for each row, weighted and summed.
"""

import torch
from torch.nn import functional as F

from tools.oracles._torch import leaves, record

SHAPES = {"one": (1, 5, 3, 7), "three": (3, 8, 6, 4)}           # M, n, d or inputs, K


def loss(Z, y, w):
    """Weighted cross-entropy of each of the M models."""
    return torch.stack([(F.cross_entropy(z, y, reduction="none") * w).sum() for z in Z])


def memory(x, P):
    return torch.einsum("mnd,mdk->mnk", x, P["W"])


def mlp(x, P):
    out = []
    for m in range(len(x)):
        h = torch.relu(F.linear(x[m], P["W1"][m].T, P["b1"][m, 0]))
        h = torch.relu(F.linear(h, P["W2"][m].T, P["b2"][m, 0]))
        out.append(F.linear(h, P["W3"][m].T, P["b3"][m, 0]))
    return torch.stack(out)


def shapes(kind, M, d, K, h=9):
    if kind == "memory":
        return {"W": (M, d, K)}
    return {"W1": (M, d, h), "b1": (M, 1, h), "W2": (M, h, h), "b2": (M, 1, h),
            "W3": (M, h, K), "b3": (M, 1, K)}


def make(rng):
    cases = {}
    for name, (M, n, d, K) in SHAPES.items():
        y, w = torch.tensor(rng.integers(K, size=n)), torch.tensor(rng.random(n))
        Z = leaves(rng, {"Z": (M, n, K)}, 2.0)
        cases[f"xent_{name}"] = record(Z, {}, {"L": loss(Z["Z"], y, w)}, rng) | {"y": y, "w": w}
        for kind, model in (("memory", memory), ("mlp", mlp)):
            P, x = leaves(rng, shapes(kind, M, d, K)), leaves(rng, {"x": (M, n, d)})
            cases[f"{kind}_{name}"] = record(x, P, {"Z": model(x["x"], P)}, rng)
            P, x = leaves(rng, shapes(kind, M, d, K)), leaves(rng, {"x": (M, n, d)})
            cases[f"whole_{kind}_{name}"] = (record(x, P, {"L": loss(model(x["x"], P), y, w)}, rng)
                                             | {"y": y, "w": w})
    E = torch.tensor(2 * rng.integers(2, size=(2, 3, 256, 6)) - 1)
    letters = torch.tensor(rng.integers(256, size=(11, 3)))
    looked = [F.embedding(letters[:, j], E[m, j].double()) for m in range(2) for j in range(3)]
    f = torch.stack([looked[0] * looked[1] * looked[2], looked[3] * looked[4] * looked[5]]) / 6**0.5
    x = torch.stack([torch.cat(looked[:3], 1), torch.cat(looked[3:], 1)])
    cases["look"] = {"E": E.to(torch.int8), "letters": letters, "f": f, "x": x}
    return {f"{case}/{k}": v for case, arrays in cases.items() for k, v in arrays.items()}
