"""Read-Process-Write, its rivals and the star model as PyTorch's autograd computes them.

Written from the paper's equations, not from the notebook: einsum for attention, torch.nn.LSTM and
torch.nn.LSTMCell for the recurrent nets (gates in their order i, f, g, o), gather for what is fed,
embedding for values and names, one output step after another in the decoder, cross_entropy.
"""

import numpy as np
import torch
from torch.func import functional_call
from torch.nn import functional as F


def leaves(rng, shapes, scale=1.0):
    """Random float64 tensors that collect gradients."""
    return {k: torch.tensor(scale * rng.normal(size=s), requires_grad=True) for k, s in shapes.items()}


def record(inputs, P, outputs, rng):
    """Backpropagate random upstream gradients; return inputs, outputs and all gradients."""
    ups = {k: rng.normal(size=tuple(v.shape)) for k, v in outputs.items()}
    torch.autograd.backward(list(outputs.values()), [torch.tensor(u) for u in ups.values()])
    out = {k: v.detach() for k, v in (inputs | outputs).items()}
    out |= {f"d{k}": torch.zeros_like(v) if v.grad is None else v.grad for k, v in inputs.items()}
    out |= {f"up.{k}": u for k, u in ups.items()}
    return out | {f"P.{k}": p.detach() for k, p in P.items()} | {f"G.{k}": p.grad for k, p in P.items()}


def reorder(p):
    """Gates in the notebook's order i, f, o, g to PyTorch's i, f, g, o."""
    i, f, o, g = p.chunk(4, -1)
    return torch.cat([i, f, g, o], -1)


def cell(z, c):
    """LSTM step from the gates' inputs: an LSTMCell whose input is z itself, with weights of 1."""
    n = z.shape[1]
    module = torch.nn.LSTMCell(n, n // 4).double()
    zero = torch.zeros(n, dtype=torch.float64)
    return functional_call(module, {
        "weight_ih": reorder(torch.eye(n, dtype=torch.float64)).T, "bias_ih": zero, "bias_hh": zero,
        "weight_hh": torch.zeros(n, n // 4, dtype=torch.float64)}, (z, (torch.zeros_like(c), c)))


def lstm(X, h, c, P, who):
    H = len(P[f"{who}.W_h"])
    module = torch.nn.LSTM(X.shape[2], H, batch_first=True).double()
    out, (h, c) = functional_call(module, {
        "weight_ih_l0": reorder(P[f"{who}.W_x"]).T, "weight_hh_l0": reorder(P[f"{who}.W_h"]).T,
        "bias_ih_l0": reorder(P[f"{who}.b"]), "bias_hh_l0": torch.zeros(4 * H, dtype=torch.float64)},
        (X, (h[None], c[None])))
    return out, h[0], c[0]


def read(x, P):
    return F.linear(torch.tanh(torch.einsum("bn,h->bnh", x, P["read.w_1"]) + P["read.b_1"]), P["read.W_2"].T)


def attend(m, q):
    a = F.softmax(torch.einsum("bnh,bh->bn", m, q) / q.shape[1] ** 0.5, 1)
    return torch.einsum("bn,bnh->bh", a, m)


def pooled(m, q, pool):
    return {"attention": lambda: attend(m, q), "mean": lambda: m.mean(1), "sum": lambda: m.sum(1),
            "max": lambda: m.amax(1)}[pool]()


def process(m, P, n_steps, pool):
    B, _, H = m.shape
    q_star = torch.zeros(B, 2 * H, dtype=torch.float64)
    c = torch.zeros(B, H, dtype=torch.float64)
    for _ in range(n_steps):
        q, c = cell(q_star @ P["proc.W"] + P["proc.b"], c)
        q_star = torch.cat([q, pooled(m, q, pool)], 1)
    return q_star


def start(q_star, P):
    z = F.linear(q_star, P["start.W"].T, P["start.b"])
    H = z.shape[1] // 2
    return torch.tanh(z[:, :H]), z[:, H:]


def score(m, d, P, who):
    """One decoder state and one memory at a time."""
    return torch.stack([torch.stack([
        torch.tanh(m[:, i] @ P[f"{who}.W_m"] + d[:, k] @ P[f"{who}.W_d"]) @ P[f"{who}.v"]
        for i in range(m.shape[1])], 1) for k in range(d.shape[1])], 1)


def glimpse(m, d, P):
    a = F.softmax(score(m, d, P, "glimpse"), 2)
    return torch.cat([d, torch.einsum("btn,bnh->bth", a, m)], 2)


def pointer(m, d, P):
    return score(m, glimpse(m, d, P) if "glimpse.v" in P else d, P, "point")


def feed(m, Y, P):
    before = m.gather(1, torch.tensor(Y[:, :-1])[..., None].expand(-1, -1, m.shape[2]))
    return torch.cat([P["go"].expand(len(m), 1, -1), before], 1)


def encode(x, m, P, encoder, n_steps, pool):
    zero = torch.zeros_like(m[:, 0])
    if encoder == "sequence":
        return lstm(m, zero, zero, P, "enc")
    if encoder == "set" and n_steps == 0:
        return m, zero, zero
    q_star = x.sort(1).values if encoder == "answer" else process(m, P, n_steps, pool)
    return m, *start(q_star, P)


def sorter(x, Y, P, **config):
    m = read(x, P)
    keys, h, c = encode(x, m, P, **config)
    return pointer(keys, lstm(feed(m, Y, P), h, c, P, "dec")[0], P)


def star(x, order, hint, P):
    V = P["out.b"].shape[0]
    x, order = torch.tensor(x), torch.tensor(order)
    said = torch.cat([torch.full((len(x), 1), V), x[:, order]], 1)[:, :-1]
    known = F.embedding(order, P["name"]).expand(len(x), -1, -1)
    if hint is not None:
        known = torch.cat([known, torch.tensor(hint)], 2)
    zero = torch.zeros(len(x), len(P["lm.W_h"]), dtype=torch.float64)
    h = lstm(torch.cat([F.embedding(said, P["token"]), known], 2), zero, zero, P, "lm")[0]
    return torch.cat([h, known], 2) @ P["out.W"] + P["out.b"]


def lstm_shapes(who, D, H):
    return {f"{who}.W_x": (D, 4 * H), f"{who}.W_h": (H, 4 * H), f"{who}.b": (4 * H,)}


def score_shapes(who, H, D, A):
    return {f"{who}.W_m": (H, A), f"{who}.W_d": (D, A), f"{who}.v": (A,)}


def sorter_shapes(encoder, n_steps, glimpse, n, H, A):
    shapes = {"read.w_1": (H,), "read.b_1": (H,), "read.W_2": (H, H), "go": (H,)} | lstm_shapes("dec", H, H)
    if encoder == "sequence":
        shapes |= lstm_shapes("enc", H, H)
    elif encoder == "answer" or n_steps:
        shapes |= {"start.W": (n if encoder == "answer" else 2 * H, 2 * H), "start.b": (2 * H,)}
    if encoder == "set" and n_steps:
        shapes |= {"proc.W": (2 * H, 4 * H), "proc.b": (4 * H,)}
    shapes |= score_shapes("point", H, 2 * H if glimpse else H, A)
    return shapes | (score_shapes("glimpse", H, H, A) if glimpse else {})


def stages(rng, B=3, n=5, T=4, H=4, A=3):
    y = {}
    P = leaves(rng, {"read.w_1": (H,), "read.b_1": (H,), "read.W_2": (H, H)})
    x = leaves(rng, {"x": (B, n)})
    y["read"] = record(x, P, {"m": read(x["x"], P)}, rng)
    for pool in ("attention", "mean", "sum", "max"):
        x = leaves(rng, {"m": (B, n, H), "q": (B, H)})
        y[f"pool.{pool}"] = record(x, {}, {"r": pooled(**x, pool=pool)}, rng)
        x, P = leaves(rng, {"m": (B, n, H)}), leaves(rng, {"proc.W": (2 * H, 4 * H), "proc.b": (4 * H,)})
        y[f"process.{pool}"] = record(x, P, {"q_star": process(x["m"], P, 3, pool)}, rng)
    x = leaves(rng, {"z": (B, 4 * H), "c": (B, H)})
    y["gates"] = record(x, {}, dict(zip(("h", "c_new"), cell(**x), strict=True)), rng)
    x, P = leaves(rng, {"q_star": (B, 7)}), leaves(rng, {"start.W": (7, 2 * H), "start.b": (2 * H,)})
    y["start"] = record(x, P, dict(zip(("h", "c"), start(x["q_star"], P), strict=True)), rng)
    x, P = leaves(rng, {"X": (B, T, 6), "h": (B, H), "c": (B, H)}), leaves(rng, lstm_shapes("dec", 6, H))
    y["lstm"] = record(x, P, dict(zip(("hs", "h_T", "c_T"), lstm(*x.values(), P, "dec"), strict=True)), rng)
    x, P, Y = leaves(rng, {"m": (B, n, H)}), leaves(rng, {"go": (H,)}), rng.integers(n, size=(B, n + 2))
    y["feed"] = record(x, P, {"fed": feed(x["m"], Y, P)}, rng) | {"Y": Y}
    shapes = score_shapes("glimpse", H, H, A) | score_shapes("point", H, 2 * H, A)
    x, P = leaves(rng, {"m": (B, n, H), "d": (B, T, H)}), leaves(rng, shapes)
    y["pointer"] = record(x, P, {"u": pointer(**x, P=P)}, rng)
    x, P = leaves(rng, {"m": (B, n, H), "d": (B, T, H)}), leaves(rng, score_shapes("glimpse", H, H, A))
    y["glimpse"] = record(x, P, {"both": glimpse(**x, P=P)}, rng)
    x, P = leaves(rng, {"m": (B, n, H), "d": (B, T, H)}), leaves(rng, score_shapes("point", H, H, A))
    y["score"] = record(x, P, {"u": score(**x, P=P, who="point")}, rng)
    z = leaves(rng, {"z": (B, T, n)}, 2)
    y["softmax"] = record(z, {}, {"p": z["z"].softmax(-1)}, rng)
    return y


CONFIGS = {"none": ("set", 0, "attention", False), "one": ("set", 1, "attention", True),
           "three": ("set", 3, "attention", True), "mean": ("set", 2, "mean", False),
           "max": ("set", 2, "max", True), "sum": ("set", 2, "sum", False),
           "sequence": ("sequence", 1, "attention", True), "answer": ("answer", 1, "attention", False)}


def models(rng, B=4, n=6, H=5, A=3):
    """Whole sorters; x are different numbers, so sorting them has one answer."""
    y = {}
    for name, (encoder, n_steps, pool, look) in CONFIGS.items():
        P = leaves(rng, sorter_shapes(encoder, n_steps, look, n, H, A), 0.6)
        x = torch.tensor(rng.normal(size=(B, n)), requires_grad=True)
        Y = rng.permuted(np.tile(np.arange(n), (B, 1)), axis=1)
        keys, h, c = encode(x.detach(), m := leaves(rng, {"m": (B, n, H)})["m"], P, encoder, n_steps, pool)
        u = sorter(x, Y, P, encoder=encoder, n_steps=n_steps, pool=pool)
        loss = F.cross_entropy(u.reshape(-1, n), torch.tensor(Y).reshape(-1))
        u.retain_grad()
        loss.backward()
        y[name] = {"x": x.detach(), "Y": Y, "u": u.detach(), "du": u.grad, "loss": loss.detach()}
        y[name] |= {f"P.{k}": p.detach() for k, p in P.items()}
        y[name] |= {f"G.{k}": p.grad.clone() for k, p in P.items()}
        for p in P.values():
            p.grad = None
        ups = {k: torch.tensor(rng.normal(size=tuple(v.shape)))
               for k, v in {"keys": keys, "h": h, "c": c}.items()}
        tensors = [(v, ups[k]) for k, v in {"keys": keys, "h": h, "c": c}.items() if v.requires_grad]
        torch.autograd.backward([v for v, _ in tensors], [u for _, u in tensors])
        y[f"encode.{name}"] = {"x": x.detach(), "m": m.detach(), "dm": m.grad, "keys": keys.detach(),
                               "h": h.detach(), "c": c.detach()}
        y[f"encode.{name}"] |= {f"up.{k}": v for k, v in ups.items()}
        y[f"encode.{name}"] |= {f"P.{k}": p.detach() for k, p in P.items()}
        y[f"encode.{name}"] |= {f"G.{k}": p.grad for k, p in P.items() if p.grad is not None}
    return y


def stars(rng, B=5, V=4, L=3, H=6, E=3):
    y = {}
    for name, n_hint in (("star", 0), ("hinted", 2)):
        x, order = rng.integers(V, size=(B, L + 1)), rng.permutation(L + 1)
        hint = rng.normal(size=(B, L + 1, n_hint)) if n_hint else None
        P = leaves(rng, {"token": (V + 1, E), "name": (L + 1, E), "out.W": (H + E + n_hint, V), "out.b": (V,)}
                   | lstm_shapes("lm", 2 * E + n_hint, H), 0.7)
        u = star(x, order, hint, P)
        loss = F.cross_entropy(u.reshape(-1, V), torch.tensor(x[:, order]).reshape(-1))
        u.retain_grad()
        loss.backward()
        y[name] = {"x": x, "order": order, "u": u.detach(), "du": u.grad, "loss": loss.detach()}
        y[name] |= {} if hint is None else {"hint": hint}
        y[name] |= {f"P.{k}": p.detach() for k, p in P.items()} | {f"G.{k}": p.grad for k, p in P.items()}
    return y


def make(rng):
    cases = stages(rng) | models(rng) | stars(rng)
    return {f"{case}/{k}": v for case, arrays in cases.items() for k, v in arrays.items()}
