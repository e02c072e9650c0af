"""Noisy weights, their message, and the plain networks, as PyTorch's autograd computes them.

Written from the equations, not from the notebook: runs and hidden units are looped over, hidden units
meet their Gaussian input at NumPy's Gauss-Hermite nodes, divergences are torch.distributions', the
free energy is the explicit sum over components with its Boltzmann weights, the misfit is the expectation of
torch.distributions.Normal's density, classes are scored by cross_entropy.
"""

import numpy as np
import torch
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F

from tools.oracles._torch import leaves, record


def nodes(K):
    """Physicists' nodes, rescaled: exp(-x^2) with x = z / sqrt(2)."""
    x, w = np.polynomial.hermite.hermgauss(K)
    return torch.tensor(x * np.sqrt(2)), torch.tensor(w / np.sqrt(np.pi))


def moments(A, S2, K):
    z, w = nodes(K)
    h = torch.stack([torch.tanh(A + torch.sqrt(S2) * zk) for zk in z], -1)
    mean = (h * w).sum(-1)
    return mean, ((h - mean[..., None]) ** 2 * w).sum(-1)


def noisy(X, P):
    """Mean and variance of the output: each hidden unit's product of independent variables, summed."""
    means, variances = [], []
    for r in range(len(X)):
        y, var = P["b"][r], 0
        for h in range(P["mu"].shape[2]):
            a = Normal(X[r] @ P["mu"][r, :, h], ((X[r] ** 2) @ P["rho"][r, :, h].exp() ** 2).sqrt())
            M, V = moments(a.mean, a.variance, 12)
            v, sd = P["v"][r, h], P["tau"][r, h].exp()
            y = y + M * v
            var = var + (V + M**2) * (v**2 + sd**2) - (M * v) ** 2
        means.append(y)
        variances.append(var)
    return torch.stack(means), torch.stack(variances)


def misfit(y, var, t, lv):
    total = []
    for r in range(len(t)):
        at_mean = -Normal(y[r], (lv[r] / 2).exp()).log_prob(t[r])
        total.append((at_mean + var[r] / (2 * lv[r].exp())).sum())
    return torch.stack(total)


def prior(P):
    total = []
    for r in range(len(P["mu"])):
        q = Normal(P["mu"][r], P["rho"][r].exp())
        pi = torch.softmax(P["logit"][r], 0)
        G = torch.stack([kl_divergence(q, Normal(m, s)) for m, s in
                         zip(P["m"][r], P["ls"][r].exp(), strict=True)])
        share = torch.softmax(torch.log(pi)[:, None, None] - G, 0)
        bits = (share * (G - torch.log(pi)[:, None, None] + torch.log(share))).sum()
        outer = kl_divergence(Normal(P["v"][r], P["tau"][r].exp()), Normal(torch.tensor(0.0), 1.0))
        total.append(bits + outer.sum())
    return torch.stack(total)


def shapes(R, D, H, J):
    return {"mu": (R, D, H), "rho": (R, D, H), "v": (R, H), "tau": (R, H), "b": (R,), "lv": (R,),
            "logit": (R, J), "m": (R, J), "ls": (R, J)}


def plain(X, P, act):
    rows = []
    for r in range(len(X)):
        h = getattr(torch, act)(F.linear(X[r], P["W"][r].T))
        rows.append(F.linear(h, P["v"][r].T, P["b"][r]))
    return torch.stack(rows)


def make(rng):
    cases = {}
    for K in (12, 7):
        x = leaves(rng, {"A": (2, 5)})
        x["S2"] = torch.tensor(rng.uniform(0.05, 1.5, (2, 5)), requires_grad=True)
        cases[f"moments{K}"] = record(x, {}, dict(zip(("M", "V"), moments(x["A"], x["S2"], K),
                                                     strict=True)), rng)
    for name, (R, N, D, H, J) in {"two": (3, 7, 5, 2, 2), "one": (1, 4, 6, 3, 1),
                                  "three": (2, 5, 3, 5, 3)}.items():
        X, t = torch.tensor(rng.normal(size=(R, N, D))), torch.tensor(rng.normal(size=(R, N)))
        P = leaves(rng, shapes(R, D, H, J), 0.6)
        inner = {k: P[k] for k in ("mu", "rho", "v", "tau", "b")}
        cases[f"noisy_{name}"] = record({"X": X}, inner, dict(zip(("y", "var"), noisy(X, P),
                                                                 strict=True)), rng)
        for p in P.values():
            p.grad = None
        both = {k: P[k] for k in P if k not in ("b", "lv")}
        weights = prior(P)
        weights.sum().backward()
        cases[f"prior_{name}"] = {"nats": weights.detach()}
        cases[f"prior_{name}"] |= {f"P.{k}": p.detach() for k, p in both.items()}
        cases[f"prior_{name}"] |= {f"G.{k}": p.grad.clone() for k, p in both.items()}
        for p in P.values():
            p.grad = None
        beta = 0.4
        data, weights = misfit(*noisy(X, P), t, P["lv"]), prior(P)
        (data + beta * weights).sum().backward()
        cases[f"message_{name}"] = {"X": X, "t": t, "beta": beta, "data": data.detach(),
                                    "weights": weights.detach()}
        cases[f"message_{name}"] |= {f"P.{k}": p.detach() for k, p in P.items()}
        cases[f"message_{name}"] |= {f"G.{k}": p.grad.clone() for k, p in P.items()}
    x = leaves(rng, {"y": (3, 8), "lv": (3,)})
    x["var"] = torch.tensor(rng.uniform(0.1, 2, (3, 8)), requires_grad=True)
    t = torch.tensor(rng.normal(size=(3, 8)))
    nats = misfit(x["y"], x["var"], t, x["lv"])
    nats.sum().backward()
    cases["misfit"] = {"t": t, "nats": nats.detach()} | {k: v.detach() for k, v in x.items()}
    cases["misfit"] |= {f"d{k}": v.grad for k, v in x.items()}
    for act, O in (("tanh", 1), ("relu", 4)):
        R, N, D, H = 3, 6, 5, 7
        X = torch.tensor(rng.normal(size=(R, N, D)))
        P = leaves(rng, {"W": (R, D, H), "v": (R, H, O), "b": (R, O)}, 0.7)
        cases[f"plain_{act}"] = record({"X": X}, P, {"y": plain(X, P, act)}, rng)
        y = leaves(rng, {"y": (R, N, O)})["y"]
        if act == "tanh":
            t = torch.tensor(rng.normal(size=(R, N)))
            loss = torch.stack([F.mse_loss(a[:, 0], b) / 2 for a, b in zip(y, t, strict=True)])
        else:
            t = torch.tensor(rng.integers(O, size=(R, N)))
            loss = torch.stack([F.cross_entropy(a, b) for a, b in zip(y, t, strict=True)])
        loss.sum().backward()
        cases[f"fit_{act}"] = {"y": y.detach(), "t": t, "loss": loss.detach(), "dy": y.grad}
    return {f"{case}/{k}": v for case, arrays in cases.items() for k, v in arrays.items()}
