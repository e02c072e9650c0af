"""Residual networks as PyTorch's autograd computes them, in its own layout (N, C, H, W).

Written from the paper: conv2d, batch_norm (training and eval, with its running moments), relu, the two
shortcuts of §3.3, adaptive_avg_pool2d, cross_entropy. Arrays are stored in the notebook's layout,
(C, H, W, N).
"""

import torch
from torch.nn import functional as F

from tools.oracles._torch import leaves


def nchw(a):
    """(C, H, W, N) -> (N, C, H, W), a view through which gradients flow."""
    return a.permute(3, 0, 1, 2)


def chwn(a):
    return a.permute(1, 2, 3, 0)


def batch_norm(x, P, name, stats):
    moments = (stats[f"{name}.mean"], stats[f"{name}.var"]) if stats else (None, None)
    return F.batch_norm(x, *moments, P[f"{name}.gamma"], P[f"{name}.beta"], training=stats is None, eps=1e-5)


def unit(x, P, name, stride=1, padding=1, stats=None):
    return batch_norm(F.conv2d(x, P[f"{name}.W"], stride=stride, padding=padding), P, name, stats)


def block(x, P, name, kind, stride, stats=None, slope=0.0):
    F_x = unit(F.leaky_relu(unit(x, P, name + "1", stride, stats=stats), slope), P, name + "2", stats=stats)
    if kind == "plain":
        return F.leaky_relu(F_x, slope)
    if f"{name}s.W" in P:
        shortcut = unit(x, P, name + "s", stride, 0, stats)
    else:
        shortcut = F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, 0, F_x.shape[1] - x.shape[1]))
    return F.leaky_relu(F_x + shortcut, slope)


def network(x, P, kind, n, stats=None, slope=0.0):
    y = F.leaky_relu(unit(x - 0.5, P, "stem", 2, stats=stats), slope)
    for k in range(2 * n):
        y = block(y, P, f"b{k}.", kind, 2 if k == n else 1, stats, slope)
    return F.linear(F.adaptive_avg_pool2d(y, 1).flatten(1), P["fc.W"].T, P["fc.b"])


def unit_shapes(name, C_out, C_in, k=3):
    return {f"{name}.W": (C_out, C_in, k, k), f"{name}.gamma": (C_out,), f"{name}.beta": (C_out,)}


def block_shapes(name, C_in, C, project):
    shapes = unit_shapes(name + "1", C, C_in) | unit_shapes(name + "2", C, C)
    return shapes | (unit_shapes(name + "s", C, C_in, 1) if project else {})


def network_shapes(n, C, K, kind):
    shapes = unit_shapes("stem", C, 3)
    for k in range(2 * n):
        C_in, C_out = C if k <= n else 2 * C, C if k < n else 2 * C
        shapes |= block_shapes(f"b{k}.", C_in, C_out, kind == "B" and k == n)
    return shapes | {"fc.W": (2 * C, K), "fc.b": (K,)}


def random_stats(rng, P):
    """Running moments for every unit: random means, variances between 0.5 and 2."""
    stats = {}
    for name, p in P.items():
        if name.endswith("gamma"):
            stats[name[:-5] + "mean"] = torch.tensor(rng.normal(size=len(p)))
            stats[name[:-5] + "var"] = torch.tensor(rng.uniform(0.5, 2, len(p)))
    return stats


def record(x, P, y, rng, stats=None):
    """One pass back with a random upstream gradient; everything by name."""
    up = rng.normal(size=tuple(y.shape))
    y.backward(torch.tensor(up))
    out = {"x": x.detach(), "y": y.detach(), "dx": x.grad, "up": up}
    out |= {f"P.{k}": p.detach() for k, p in P.items()} | {f"G.{k}": p.grad for k, p in P.items()}
    return out | {f"S.{k}": v for k, v in (stats or {}).items()}


def make(rng):
    cases = {}
    for mode in ("train", "eval"):
        P = leaves(rng, {"bn.gamma": (3,), "bn.beta": (3,)})
        x = leaves(rng, {"x": (3, 4, 5, 6)}, 2.0)["x"]
        stats = random_stats(rng, P) if mode == "eval" else None
        cases[f"bn_{mode}"] = record(x, P, chwn(batch_norm(nchw(x), P, "bn", stats)), rng, stats)
    running = {k: v.clone() for k, v in random_stats(rng, {"bn.gamma": torch.ones(3)}).items()}
    x = torch.tensor(rng.normal(1, 2, size=(3, 4, 5, 6)))
    before = {f"before.{k[3:]}": v.clone() for k, v in running.items()}
    F.batch_norm(nchw(x), running["bn.mean"], running["bn.var"], training=True, momentum=0.1)
    cases["running"] = {"x": x} | before | {f"after.{k[3:]}": v for k, v in running.items()}

    P, x = leaves(rng, unit_shapes("u", 4, 3), 0.5), leaves(rng, {"x": (3, 7, 6, 2)})["x"]
    cases["unit"] = record(x, P, chwn(unit(nchw(x), P, "u", 2)), rng)
    for slope in (0.0, 0.3):
        x = leaves(rng, {"x": (2, 3, 4, 5)})["x"]
        cases[f"relu_{slope}"] = record(x, {}, F.leaky_relu(x, slope), rng)
    x = leaves(rng, {"x": (5, 3, 4, 6)})["x"]
    cases["gap"] = record(x, {}, F.adaptive_avg_pool2d(nchw(x), 1).flatten(1), rng)

    for name, kind, C_in, C, stride, slope, mode in (
            ("block_plain", "plain", 3, 5, 2, 0.0, "train"), ("block_A", "A", 3, 5, 2, 0.0, "train"),
            ("block_B", "B", 3, 5, 2, 0.0, "train"), ("block_same", "A", 4, 4, 1, 0.2, "train"),
            ("block_eval", "B", 3, 5, 2, 0.1, "eval")):
        P = leaves(rng, block_shapes("", C_in, C, kind == "B"), 0.7)
        x, stats = leaves(rng, {"x": (C_in, 7, 6, 3)})["x"], random_stats(rng, P) if mode == "eval" else None
        cases[name] = record(x, P, chwn(block(nchw(x), P, "", kind, stride, stats, slope)), rng, stats)

    for kind, n, slope in (("plain", 2, 0.0), ("A", 2, 0.0), ("B", 1, 0.25)):
        P = leaves(rng, network_shapes(n, 3, 4, kind), 0.6)
        x, labels = torch.tensor(rng.random((3, 9, 10, 5))), torch.tensor(rng.integers(4, size=5))
        logits = network(nchw(x), P, kind, n, slope=slope)
        logits.retain_grad()
        loss = F.cross_entropy(logits, labels)
        loss.backward()
        stats = random_stats(rng, P)
        case = {"x": x, "labels": labels, "logits": logits.detach(), "loss": loss.detach(),
                "dlogits": logits.grad, "slope": slope}
        case |= {f"P.{k}": p.detach() for k, p in P.items()} | {f"G.{k}": p.grad for k, p in P.items()}
        case |= {f"S.{k}": v for k, v in stats.items()}
        case["logits_eval"] = network(nchw(x), P, kind, n, stats, slope).detach()
        cases[f"net_{kind}"] = case
    return {f"{case}/{k}": v for case, arrays in cases.items() for k, v in arrays.items()}
