"""Dense layers, batch normalisation and micro-batches as PyTorch's autograd computes them.

Written from the paper, not from the notebook: the network is applied to torch.chunk's micro-batches
one after the other, the sum of their losses is divided by all rows, and autograd sees the whole.
"""

import torch
from torch.nn import functional as F

from tools.oracles._torch import leaves, record

PHI = {"tanh": torch.tanh, "relu": torch.relu, "linear": lambda a: a}


def dense(x, P, name, kind):
    return PHI[kind](F.linear(x, P[f"{name}.W"].T, P[f"{name}.b"]))


def norm(x, P, name, stats=None):
    if stats is None:
        return F.batch_norm(x, None, None, P[f"{name}.gamma"], P[f"{name}.beta"], training=True, eps=1e-5)
    return F.batch_norm(x, *stats, P[f"{name}.gamma"], P[f"{name}.beta"], training=False, eps=1e-5)


def network(x, P, layers, stats=None):
    for name, kind, _, _ in layers:
        if kind == "norm":
            x = norm(x, P, name, stats and stats[name])
        else:
            x = dense(x, P, name, kind)
    return x


def mlp(widths, kind, normed=False):
    layers = []
    for i in range(1, len(widths)):
        last = i == len(widths) - 1
        layers.append((str(i), "linear" if last else kind, widths[i - 1], widths[i]))
        if normed and not last:
            layers.append((f"{i}n", "norm", widths[i], widths[i]))
    return layers


def shapes(layers):
    found = {}
    for name, kind, D_in, D_out in layers:
        if kind == "norm":
            found |= {f"{name}.gamma": (D_in,), f"{name}.beta": (D_in,)}
        else:
            found |= {f"{name}.W": (D_in, D_out), f"{name}.b": (D_out,)}
    return found


def model(rng, layers, N, M, stats=None):
    """Loss and gradients of N rows in M micro-batches."""
    P = leaves(rng, shapes(layers), 0.5)
    x = leaves(rng, {"x": (N, layers[0][2])})
    t = torch.tensor(rng.integers(layers[-1][3], size=N))
    parts = zip(torch.chunk(x["x"], M), torch.chunk(t, M), strict=True)
    loss = sum(F.cross_entropy(network(a, P, layers, stats), b, reduction="sum") for a, b in parts) / N
    loss.backward()
    out = {"x": x["x"].detach(), "t": t, "loss": loss.detach(), "dx": x["x"].grad}
    return out | {f"P.{k}": p.detach() for k, p in P.items()} | {f"G.{k}": p.grad for k, p in P.items()}


def make(rng):
    cases = {}
    for kind in PHI:
        P, x = leaves(rng, {"3.W": (5, 4), "3.b": (4,)}), leaves(rng, {"x": (7, 5)})
        cases[f"dense_{kind}"] = record(x, P, {"y": dense(x["x"], P, "3", kind)}, rng)
    stats = tuple(torch.tensor(a) for a in (rng.normal(size=6), rng.uniform(0.3, 2, 6)))
    for name, used in (("norm", None), ("norm_fixed", stats)):
        P, x = leaves(rng, {"2n.gamma": (6,), "2n.beta": (6,)}), leaves(rng, {"x": (9, 6)}, 2.0)
        cases[name] = record(x, P, {"y": norm(x["x"], P, "2n", used)}, rng)
    cases["norm_fixed"] |= {"mean": stats[0], "var": stats[1]}
    P, x = leaves(rng, shapes(mlp((4, 6, 5, 3), "tanh", True)), 0.7), leaves(rng, {"x": (8, 4)})
    cases["slice"] = record(x, P, {"y": network(x["x"], P, mlp((4, 6, 5, 3), "tanh", True))}, rng)
    y, t = leaves(rng, {"y": (5, 4)}, 2.0), torch.tensor(rng.integers(4, size=5))
    loss = F.cross_entropy(y["y"], t, reduction="sum") / 20
    loss.backward()
    cases["loss"] = {"y": y["y"].detach(), "t": t, "loss": loss.detach(), "dy": y["y"].grad}
    for kind in PHI:
        cases[f"model_{kind}"] = model(rng, mlp((5, 8, 7, 6, 4), kind), 12, 3)
    for M in (1, 3, 6):
        cases[f"model_norm{M}"] = model(rng, mlp((5, 8, 7, 6, 4), "tanh", True), 12, M)
    return {f"{case}/{k}": v for case, arrays in cases.items() for k, v in arrays.items()}
