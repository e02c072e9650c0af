"""The relation network as PyTorch's autograd computes it: equation 1 with every pair concatenated.

Written from the paper, not from the notebook: each pair's row is torch.cat of both objects and the
question, one linear layer reads it, nothing is factorised. ReLU is torch.relu, the loss cross_entropy.
"""

import torch
from torch.nn import functional as F

from tools.oracles._torch import leaves, record


def mlp(x, P, name, first=1, relu_last=False):
    """Layers name{first}, name{first + 1}, ... with ReLU between them."""
    last = max(int(k[1:-2]) for k in P if k[0] == name and k.endswith(".W"))
    for k in range(first, last + 1):
        x = F.linear(x, P[f"{name}{k}.W"].T, P[f"{name}{k}.b"])
        if relu_last or k < last:
            x = torch.relu(x)
    return x


def first_layer(O, q, P):
    """ReLU of the first layer of g: rows [o_i, o_j, q] in the order i * n + j, or [o_i, q]."""
    B, n, _ = O.shape
    rows, W = [], [P["W_i"]] + ([P["W_j"]] if "W_j" in P else []) + [P["W_q"]]
    for i in range(n):
        for partners in ([O[:, i], O[:, j]] for j in range(n)) if "W_j" in P else [[O[:, i]]]:
            rows.append(torch.cat([*partners, q], 1) @ torch.cat(W) + P["b_1"])
    return torch.relu(torch.stack(rows, 1))


def relation_network(O, q, P):
    rows = mlp(first_layer(O, q, P), P, "g", first=2, relu_last=True)
    return mlp(sum(rows[:, k] for k in range(rows.shape[1])), P, "f")


def flat(O, q, P):
    return mlp(torch.cat([O.flatten(1), q], 1), P, "f")


def stack(name, widths, first=1):
    shapes = {}
    for k, (a, b) in enumerate(zip(widths[:-1], widths[1:], strict=True), first):
        shapes |= {f"{name}{k}.W": (a, b), f"{name}{k}.b": (b,)}
    return shapes


def shapes(kind, D_o, D_q, K, g, f, n):
    if kind == "flat":
        return stack("f", (n * D_o + D_q, *f, K))
    roles = ("W_i", "W_j") if kind == "pairs" else ("W_i",)
    return ({W: (D_o, g[0]) for W in roles} | {"W_q": (D_q, g[0]), "b_1": (g[0],)}
            | stack("g", g, 2) | stack("f", (g[-1], *f, K)))


def make(rng):
    cases = {}
    for kind, model in (("pairs", relation_network), ("singles", relation_network), ("flat", flat)):
        B, n, D_o, D_q, K, g, f = 3, 5, 4, 2, 6, (7, 6, 5), (8, 9)
        P = leaves(rng, shapes(kind, D_o, D_q, K, g, f, n), 0.5)
        inputs = leaves(rng, {"O": (B, n, D_o), "q": (B, D_q)})
        target = torch.tensor(rng.integers(K, size=B))
        Y = model(**inputs, P=P)
        Y.retain_grad()
        loss = F.cross_entropy(Y, target)
        loss.backward()
        cases[kind] = {"target": target, "Y": Y.detach(), "loss": loss.detach(), "dY": Y.grad}
        cases[kind] |= {k: v.detach() for k, v in inputs.items()}
        cases[kind] |= {f"d{k}": v.grad for k, v in inputs.items()}
        cases[kind] |= {f"P.{k}": p.detach() for k, p in P.items()} | {f"G.{k}": p.grad for k, p in P.items()}
    for kind, roles in (("pairs", ("W_i", "W_j")), ("singles", ("W_i",))):
        P = leaves(rng, {W: (3, 8) for W in roles} | {"W_q": (2, 8), "b_1": (8,)})
        inputs = leaves(rng, {"O": (4, 6, 3), "q": (4, 2)})
        cases[f"first_{kind}"] = record(inputs, P, {"h": first_layer(**inputs, P=P)}, rng)
    for name, widths, relu_last in (("mlp", (5, 7, 6, 4), False), ("mlp_relu", (5, 7, 4), True)):
        P = leaves(rng, stack("f", widths))
        x = leaves(rng, {"x": (9, widths[0])})
        cases[name] = record(x, P, {"y": mlp(x["x"], P, "f", relu_last=relu_last)}, rng)
    return {f"{case}/{k}": v for case, arrays in cases.items() for k, v in arrays.items()}
