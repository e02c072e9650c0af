"""RNN, LSTM, GRU, peephole and coupled LSTM by autograd, and by PyTorch's own cells where they coincide."""

import numpy as np
import torch

GATES = {"rnn": 1, "lstm": 4, "coupled": 3, "peephole": 4, "gru": 3}


def step(kind, x, s, P):
    """One step as the essay writes it, gate by gate on [h, x] (peephole: [c, h, x]). -> new (h,) or (h, c)"""
    h = s[0]

    def gate(k, f=torch.sigmoid, h=h, cell=None):
        W = torch.cat([P["W_h"][k], P["W_x"][k]], dim=-2)
        a = torch.cat([h, x], dim=-1) @ W + P["b"][k]
        return f(a if cell is None else a + cell[0] @ P["W_c"][cell[1]])

    if kind == "rnn":
        return (gate(0, torch.tanh),)
    if kind == "gru":
        z, r = gate(0), gate(1)
        return ((1 - z) * h + z * gate(2, torch.tanh, r * h),)
    c = s[1]
    if kind == "coupled":
        f, o, g = gate(0), gate(1), gate(2, torch.tanh)
        c = f * c + (1 - f) * g
    elif kind == "lstm":
        f, i, o, g = gate(0), gate(1), gate(2), gate(3, torch.tanh)
        c = f * c + i * g
    else:
        f, i, g = gate(0, cell=(c, 0)), gate(1, cell=(c, 1)), gate(3, torch.tanh)
        c = f * c + i * g
        o = gate(2, cell=(c, 2))
    return o * torch.tanh(c), c


def unroll(kind, x, s0, P):
    """States at t = 0 ... T, each a list of tensors whose gradients are kept."""
    states = [s0]
    for x_t in x:
        states.append(step(kind, x_t, states[-1], P))
    for s in states[1:]:
        for part in s:
            part.retain_grad()
    return [list(path) for path in zip(*states, strict=True)]


def tensors(kind, rng, N, D, H, K=None):
    """Random parameters; N = () for one network, (N,) for a stack of them."""
    n = GATES[kind]
    shapes = {"W_x": (n, *N, D, H), "W_h": (n, *N, H, H), "b": (n, *N, 1, H)}
    if kind == "peephole":
        shapes["W_c"] = (3, *N, H, H)
    if K:
        shapes |= {"W_y": (*N, H, K), "b_y": (*N, 1, K)}
    return {k: torch.tensor(0.7 * rng.normal(size=s), requires_grad=True) for k, s in shapes.items()}


def leaves(P):
    """{"P.W": W, "G.W": dW, ...} after backward()."""
    return {f"{prefix}.{k}": v for k, p in P.items() for prefix, v in (("P", p.detach()), ("G", p.grad))}


def cell(kind, rng, T, N, B, D, H):
    """States, gradient at every state, input and weight, for a random upstream gradient at every h_t."""
    P = tensors(kind, rng, N, D, H)
    x = torch.tensor(rng.normal(size=(T, *N, B, D)), requires_grad=True)
    s0 = tuple(torch.tensor(rng.normal(size=(*N, B, H)), requires_grad=True)
               for _ in range(1 if kind in ("rnn", "gru") else 2))
    paths, dh = unroll(kind, x, s0, P), torch.tensor(rng.normal(size=(T, *N, B, H)))
    (torch.stack(paths[0][1:]) * dh).sum().backward()
    out = {"x": x.detach(), "dh": dh, "dx": x.grad} | leaves(P)
    for k, path in enumerate(paths):
        out |= {f"s0.{k}": path[0].detach(), f"states.{k}": torch.stack(path).detach(),
                f"flow.{k}": torch.stack([torch.zeros_like(p) if p.grad is None else p.grad for p in path])}
    return out


def library(kind, rng, T=6, B=3, D=4, H=5):
    """PyTorch's own cell with our parameters. The GRU's reset gate is open: there both forms agree."""
    P = tensors(kind, rng, (), D, H)
    if kind == "gru":
        P["b"].data[1] = 60.0
    order, sign = {"rnn": ([0], [1]), "lstm": ([1, 0, 3, 2], [1, 1, 1, 1]),
                   "gru": ([1, 0, 2], [1, -1, 1])}[kind]

    def rows(W):  # torch: gates stacked in rows; its GRU's z is the essay's 1 - z
        return torch.cat([s * W[k].transpose(-1, -2) for k, s in zip(order, sign, strict=True)])

    weights = [rows(P["W_x"]), rows(P["W_h"]), rows(P["b"])[:, 0]]
    weights.append(torch.zeros_like(weights[-1]))
    x = torch.tensor(rng.normal(size=(T, B, D)), requires_grad=True)
    s0 = [torch.tensor(rng.normal(size=(B, H)), requires_grad=True)
          for _ in range(2 if kind == "lstm" else 1)]
    run = {"rnn": torch.rnn_tanh, "lstm": torch.lstm, "gru": torch.gru}[kind]
    start = tuple(s[None] for s in s0) if kind == "lstm" else s0[0][None]
    h = run(x, start, weights, True, 1, 0.0, False, False, False)[0]
    dh = torch.tensor(rng.normal(size=h.shape))
    (h * dh).sum().backward()
    out = {"x": x.detach(), "dh": dh, "dx": x.grad, "h": h.detach()} | leaves(P)
    for k, s in enumerate(s0):
        out |= {f"s0.{k}": s.detach(), f"ds0.{k}": s.grad}
    return out


def model(kind, rng, T, N, B, D, H, K):
    """Loss of each network, share of right answers, and all gradients of the sum of the losses."""
    P = tensors(kind, rng, N, D, H, K)
    x, y = torch.tensor(rng.normal(size=(T, *N, B, D))), rng.integers(K, size=(*N, B))
    s0 = tuple(torch.zeros(*N, B, H, dtype=torch.float64) for _ in range(1 if kind in ("rnn", "gru") else 2))
    h = unroll(kind, x, s0, P)[0]
    scores = h[-1] @ P["W_y"] + P["b_y"]
    losses = torch.nn.functional.cross_entropy(scores.reshape(-1, K), torch.tensor(y).reshape(-1),
                                               reduction="none")
    loss = losses.reshape(y.shape).mean(dim=-1)
    loss.sum().backward()
    right = (scores.detach().numpy().argmax(-1) == y).mean(-1)
    return {"x": x, "y": y, "loss": loss.detach(), "right": right, "dh1": h[1].grad} | leaves(P)


def readout(rng, N=2, B=4, H=5, K=6):
    h = torch.tensor(rng.normal(size=(N, B, H)), requires_grad=True)
    P = {k: torch.tensor(2 * rng.normal(size=s), requires_grad=True)
         for k, s in (("W_y", (N, H, K)), ("b_y", (N, 1, K)))}
    y = rng.integers(K, size=(N, B))
    log_p = torch.log_softmax(h @ P["W_y"] + P["b_y"], dim=-1)
    loss = -log_p.gather(-1, torch.tensor(y)[..., None])[..., 0].mean(dim=-1)
    loss.sum().backward()
    return {"h": h.detach(), "y": y, "loss": loss.detach(), "dh": h.grad} | leaves(P)


def make(rng):
    cases = {kind: cell(kind, rng, 5, (2,), 3, 4, 6) for kind in GATES}
    cases |= {f"{kind}_one": cell(kind, rng, 3, (), 2, 5, 3) for kind in GATES}
    cases |= {f"{kind}_torch": library(kind, rng) for kind in ("rnn", "lstm", "gru")}
    cases |= {f"{kind}_model": model(kind, rng, 6, (3,), 2, 5, 4, 7) for kind in GATES}
    cases["readout"] = readout(rng)
    return {f"{case}/{k}": np.asarray(v) for case, arrays in cases.items() for k, v in arrays.items()}
