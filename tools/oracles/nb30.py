"""The thin Transformer of notebook 30 as PyTorch's autograd computes it: attention, layers, the whole model.

Written independently of the notebook: layer norm and attention are PyTorch's functions, the bias for
distance enters as an explicit matrix of scores, all tokens of the last layer are computed and the last read.
"""

import torch
from torch.nn import functional as F

from tools.oracles._torch import leaves, record


def bias_matrix(rel, T, causal, hint=None):
    """Scores (B or 1, H, T, T) that do not depend on contents."""
    rows = []
    for i in range(T):
        rows.append(torch.stack([rel[:, abs(i - j)] for j in range(T)], 1))
    S = torch.stack(rows, 1)[None]
    if hint is not None:
        last = torch.zeros(T, 1, dtype=torch.float64)
        last[-1] = 1
        S = S + last * torch.tensor(hint)[:, None, None]
    if causal:
        S = S.masked_fill(torch.ones(T, T, dtype=torch.bool).triu(1), float("-inf"))
    return S


def attention(x, P, n_out, causal, hint=None):
    B, T, D = x.shape
    H = len(P["rel"])
    d_k = P["W_q"].shape[1] // H

    def heads(y):
        return y.reshape(B, T, H, -1).permute(0, 2, 1, 3)

    k, v = P["W_kv"][:, :H * d_k], P["W_kv"][:, H * d_k:]
    mask = bias_matrix(P["rel"], T, causal, hint).expand(B, H, T, T)
    o = F.scaled_dot_product_attention(heads(x @ P["W_q"]), heads(x @ k), heads(x @ v), attn_mask=mask)
    return (o.permute(0, 2, 1, 3).reshape(B, T, D) @ P["W_o"])[:, T - n_out:]


def mlp(x, P):
    return F.linear(torch.relu(F.linear(x, P["W_1"].T)), P["W_2"].T)


def norm(x):
    return F.layer_norm(x, x.shape[-1:], eps=1e-5)


def layer(x, P, n_out, causal, hint=None):
    x = x[:, x.shape[1] - n_out:] + attention(norm(x), P, n_out, causal, hint)
    return x + mlp(norm(x), P)


def part(P, name):
    return {k.removeprefix(name + "."): p for k, p in P.items() if k.startswith(name + ".")}


def embed(X, P):
    return X @ P["E"] + P["pos"][:X.shape[1]]


def model(X, P, causal, hint=None):
    x = embed(X, P)
    for name in ("l0", "l1"):
        x = layer(x, part(P, name), X.shape[1], causal, hint)
    return norm(x[:, -1]) @ P["W_out"]


def layer_shapes(D, H, d_k, width, R):
    return {"W_q": (D, H * d_k), "W_kv": (D, H * d_k + D), "W_o": (D, D), "rel": (H, R),
            "W_1": (D, width), "W_2": (width, D)}


def make(rng):
    cases, D, R = {}, 8, 9
    for name, n_out, causal in (("attention", 6, True), ("attention_last", 2, True),
                                ("attention_open", 6, False)):
        shapes = layer_shapes(D, 2, 3, 5, R)
        P = leaves(rng, {k: s for k, s in shapes.items() if k not in ("W_1", "W_2")}, 0.6)
        x = leaves(rng, {"x": (3, 6, D)})
        cases[name] = record(x, P, {"y": attention(x["x"], P, n_out, causal)}, rng)
        cases[name] |= {"n_out": n_out, "causal": causal}
    P, x = leaves(rng, layer_shapes(D, 1, 2, 5, R), 0.6), leaves(rng, {"x": (3, 6, D)})
    hint = rng.normal(size=(3, 6))
    cases["hint"] = record(x, P, {"y": layer(x["x"], P, 3, True, hint)}, rng) | {"hint": hint, "n_out": 3}
    for name, n_out, causal in (("layer", 5, True), ("layer_last", 1, True), ("layer_open", 2, False)):
        P, x = leaves(rng, layer_shapes(D, 2, 2, 7, R), 0.6), leaves(rng, {"x": (4, 5, D)})
        cases[name] = record(x, P, {"y": layer(x["x"], P, n_out, causal)}, rng)
        cases[name] |= {"n_out": n_out, "causal": causal}
    P, x = leaves(rng, {"W_1": (6, 11), "W_2": (11, 6)}), leaves(rng, {"x": (2, 5, 6)})
    cases["mlp"] = record(x, P, {"y": mlp(x["x"], P)}, rng)
    x = leaves(rng, {"x": (3, 4, 7)}, 2)
    cases["norm"] = record(x, {}, {"y": norm(x["x"] + 0.5)}, rng)
    P, X = leaves(rng, {"E": (10, 6), "pos": (R, 6)}), torch.tensor(rng.normal(size=(4, 7, 10)))
    cases["embed"] = record({}, P, {"x": embed(X, P)}, rng) | {"X": X}
    Y, target = leaves(rng, {"Y": (6, 5)}, 2)["Y"], torch.tensor(rng.integers(5, size=6))
    loss = F.cross_entropy(Y, target)
    loss.backward()
    cases["loss"] = {"Y": Y.detach(), "target": target, "loss": loss.detach(), "dY": Y.grad}
    for name, causal, H, d_k in (("model", True, 1, 2), ("model_open", False, 2, 3)):
        shapes = {"E": (10, D), "pos": (R, D), "W_out": (D, 5)}
        for layer_name in ("l0", "l1"):
            shapes |= {f"{layer_name}.{k}": s for k, s in layer_shapes(D, H, d_k, 7, R).items()}
        P, X = leaves(rng, shapes, 0.6), torch.tensor(rng.integers(2, size=(4, 6, 10)).astype(float))
        target = torch.tensor(rng.integers(5, size=4))
        Y = model(X, P, causal)
        Y.retain_grad()
        loss = F.cross_entropy(Y, target)
        loss.backward()
        cases[name] = {"X": X, "Y": Y.detach(), "dY": Y.grad, "target": target, "loss": loss.detach(),
                       "causal": causal}
        cases[name] |= {f"P.{k}": p.detach() for k, p in P.items()} | {f"G.{k}": p.grad for k, p in P.items()}
    return {f"{case}/{k}": v for case, arrays in cases.items() for k, v in arrays.items()}
