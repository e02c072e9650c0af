"""The Neural Turing Machine as PyTorch's autograd computes it, stage by stage and whole.

Written from the paper's equations, not from the notebook: cosine_similarity for eq. 6, one torch.roll
for each shift in eq. 8, powers in eq. 9, one time step after another, nothing hoisted or fused. The
LSTM is torch.nn.LSTM.
"""

import numpy as np
import torch
from torch.func import functional_call
from torch.nn import functional as F

from tools.oracles._torch import leaves, record


def leaf(value):
    return torch.tensor(np.asarray(value), dtype=torch.float64, requires_grad=True)


def weighting(rng, *shape):
    """Rows that are positive and sum to 1."""
    w = rng.random(shape) + 0.05
    return leaf(w / w.sum(-1, keepdims=True))


def read(w, M):
    return torch.einsum("bi,biw->bw", w, M)


def write(w, e, a, M):
    erased = M * (1 - torch.einsum("bi,bw->biw", w, e))
    return erased + torch.einsum("bi,bw->biw", w, a)


def cosine(k, M):
    """Equation 6 with 1e-8 under each root."""
    norm = lambda v: torch.sqrt((v * v).sum(-1) + 1e-8)  # noqa: E731
    return torch.einsum("bnw,biw->bni", k, M) / torch.einsum("bn,bi->bni", norm(k), norm(M))


def content(k, beta, M):
    return F.softmax(beta[..., None] * cosine(k, M), -1)


def shift(w, s):
    """Each shift m of -S//2..S//2: w(i - m) s(m)."""
    r = s.shape[-1] // 2
    return sum(torch.roll(w, m, -1) * s[..., m + r:m + r + 1] for m in range(-r, r + 1))


def sharpen(w, gamma):
    """Equation 9 as it stands, on w + 1e-6."""
    power = (w + 1e-6) ** gamma[..., None]
    return power / power.sum(-1, keepdim=True)


def address(k, beta, g, s, gamma, w_prev, M):
    w_g = g[..., None] * content(k, beta, M) + (1 - g[..., None]) * w_prev
    return sharpen(shift(w_g, s), gamma)


def heads(o, W):
    """Columns: two keys, add, erase, two gates, two betas, two gammas, two rows of shifts."""
    k_w, k_r, a, e, g, beta, gamma, s = torch.split(o, [W, W, W, W, 2, 2, 2, o.shape[1] - 4 * W - 6], 1)
    return {"k": torch.stack([k_w, k_r], 1).tanh(), "beta": F.softplus(beta), "g": g.sigmoid(),
            "s": s.reshape(len(o), 2, -1).softmax(-1), "gamma": 1 + F.softplus(gamma),
            "e": e.sigmoid(), "a": a.tanh()}


def cell(x, r, w, M, P):
    h = torch.tanh(x + r @ P["W_r"])
    u = heads(F.linear(h, P["W_o"].T, P["b_o"]), M.shape[2])
    w = address(*(u[name] for name in ("k", "beta", "g", "s", "gamma")), w, M)
    M = write(w[:, 0], u["e"], u["a"], M)
    return h, read(w[:, 1], M), w, M


def shapes(D, K, H, W, S):
    n = 4 * W + 6 + 2 * S
    return {"W_x": (D, H), "W_r": (W, H), "b_h": (H,), "r_0": (W,), "W_o": (H, n), "b_o": (n,),
            "W_yh": (H, K), "W_yr": (W, K), "b_y": (K,)}


def ntm(X, P, w_0, M_0):
    B = len(X)
    r, w, M = (v.expand(B, *v.shape) for v in (P["r_0"], w_0, M_0))
    Y = []
    for t in range(X.shape[1]):
        h, r, w, M = cell(F.linear(X[:, t], P["W_x"].T, P["b_h"]), r, w, M, P)
        Y.append(h @ P["W_yh"] + r @ P["W_yr"] + P["b_y"])
    return torch.stack(Y, 1)


def lstm(X, P):
    """torch.nn.LSTM has the gates in the order i, f, g, o; the notebook in the order i, f, o, g."""
    H = len(P["W_hh"])
    module = torch.nn.LSTM(X.shape[2], H, batch_first=True).double()

    def reorder(p):
        i, f, o, g = p.split(H, -1)
        return torch.cat([i, f, g, o], -1)

    states, _ = functional_call(module, {
        "weight_ih_l0": reorder(P["W_xh"]).T, "weight_hh_l0": reorder(P["W_hh"]).T,
        "bias_ih_l0": reorder(P["b_h"]), "bias_hh_l0": torch.zeros(4 * H, dtype=torch.float64)}, (X,))
    return states @ P["W_hy"] + P["b_y"]


def stages(rng, B=3, N=7, W=4, S=3):
    w = {name: weighting(rng, B, 2, N) for name in ("a", "b", "c", "d")}
    x = leaves(rng, {"k": (B, 2, W), "M": (B, N, W)})
    y = {"cosine": record(x, {}, {"K": cosine(**x)}, rng)}
    x = leaves(rng, {"k": (B, 2, W), "M": (B, N, W)}) | {"beta": leaf(0.5 + 3 * rng.random((B, 2)))}
    y["content"] = record(x, {}, {"w_c": content(**x)}, rng)
    x = {"w_c": w["a"], "g": leaf(rng.random((B, 2))), "w_prev": w["b"]}
    w_g = x["g"][..., None] * x["w_c"] + (1 - x["g"][..., None]) * x["w_prev"]
    y["interpolate"] = record(x, {}, {"w_g": w_g}, rng)
    for size in (3, 5):
        x = {"w": weighting(rng, B, 2, N), "s": weighting(rng, B, 2, size)}
        y[f"shift{size}"] = record(x, {}, {"w_s": shift(**x)}, rng)
    x = {"w": w["c"], "gamma": leaf(1 + 3 * rng.random((B, 2)))}
    y["sharpen"] = record(x, {}, {"out": sharpen(**x)}, rng)
    x = {"w": weighting(rng, B, N)} | leaves(rng, {"M": (B, N, W)})
    y["read"] = record(x, {}, {"r": read(**x)}, rng)
    x = {"w": weighting(rng, B, N), "e": leaf(rng.random((B, W)))}
    x |= leaves(rng, {"a": (B, W), "M": (B, N, W)})
    y["write"] = record(x, {}, {"M_new": write(**x)}, rng)
    x = leaves(rng, {"k": (B, 2, W), "M": (B, N, W)})
    x |= {"beta": leaf(0.5 + 3 * rng.random((B, 2))), "g": leaf(rng.random((B, 2))),
          "s": weighting(rng, B, 2, S), "gamma": leaf(1 + 3 * rng.random((B, 2))), "w_prev": w["d"]}
    y["address"] = record(x, {}, {"w": address(**x)}, rng)
    x = leaves(rng, {"o": (B, 4 * W + 6 + 2 * S)}, 1.5)
    y["heads"] = record(x, {}, heads(x["o"], W), rng) | {"W": W}
    s = leaves(rng, {"z": (B, 2, N)}, 2)
    y["softmax"] = record(s, {}, {"p": s["z"].softmax(-1)}, rng)
    return y


def one_cell(rng, B=3, N=6, W=5, H=8, S=3):
    P = {k: v for k, v in leaves(rng, shapes(2, 2, H, W, S), 0.6).items() if k in ("W_r", "W_o", "b_o")}
    x = leaves(rng, {"x": (B, H), "r": (B, W), "M": (B, N, W)}) | {"w": weighting(rng, B, 2, N)}
    h, r, w, M = cell(**x, P=P)
    return record(x, P, {"h": h, "r_new": r, "w_new": w, "M_new": M}, rng)


def model(rng, forward, P, X, n, K):
    """Logits, mean cross-entropy over the last n steps, gradients of parameters and input."""
    target = rng.integers(2, size=(len(X), n, K))
    Y = forward(X, P)
    loss = F.binary_cross_entropy_with_logits(Y[:, -n:], torch.tensor(target, dtype=torch.float64))
    Y.retain_grad()
    loss.backward()
    out = {"X": X.detach(), "target": target, "Y": Y.detach(), "dY": Y.grad, "loss": loss.detach(),
           "dX": X.grad}
    return out | {f"P.{k}": p.detach() for k, p in P.items()} | {f"G.{k}": p.grad for k, p in P.items()}


def make(rng):
    cases = stages(rng) | {"cell": one_cell(rng)}
    for name, (B, T, D, K, H, W, N, S, n) in {"ntm": (3, 9, 5, 3, 8, 4, 7, 3, 4),
                                              "ntm5": (2, 6, 4, 2, 6, 3, 9, 5, 6)}.items():
        P, X = leaves(rng, shapes(D, K, H, W, S), 0.7), leaf(rng.normal(size=(B, T, D)))
        w_0, M_0 = weighting(rng, 2, N).detach(), torch.tensor(rng.normal(size=(N, W)))
        cases[name] = model(rng, lambda X, P, w=w_0, M=M_0: ntm(X, P, w, M), P, X, n, K)
        cases[name] |= {"w_0": w_0, "M_0": M_0}
    D, K, H = 5, 3, 6
    P = leaves(rng, {"W_xh": (D, 4 * H), "W_hh": (H, 4 * H), "b_h": (4 * H,), "W_hy": (H, K), "b_y": (K,)},
               0.6)
    cases["lstm"] = model(rng, lstm, P, leaf(rng.normal(size=(4, 7, D))), 3, K)
    return {f"{case}/{k}": v for case, arrays in cases.items() for k, v in arrays.items()}
