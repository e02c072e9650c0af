"""Masked LSTM layer, cross-entropy and language model by PyTorch's autograd, written step by step."""

import numpy as np
import torch

from tools.oracles.nb02 import lstm_rows

PLACES = {"none": "", "between": "x", "recurrent": "h", "everywhere": "xh", "cell": "xhc",
          "variational": "xh"}


def layer(x, h, c, W, mask_h=None, mask_c=None):
    """States (T, B, H) of an LSTM layer, gate by gate; masks on the state that enters a step."""
    H, hs, cs = len(W["W_h"]), [], []
    for t in range(len(x)):
        h_in = h if mask_h is None else mask_h[t] * h
        c_in = c if mask_c is None else mask_c[t] * c
        z = x[t] @ W["W_x"] + h_in @ W["W_h"] + W["b"]
        i, f, o = (torch.sigmoid(z[:, k * H:(k + 1) * H]) for k in range(3))
        c = f * c_in + i * torch.tanh(z[:, 3 * H:])
        h = o * torch.tanh(c)
        hs.append(h)
        cs.append(c)
    return torch.stack(hs), torch.stack(cs)


def variable(rng, *shape, scale=1.0):
    return torch.tensor(scale * rng.normal(size=shape), requires_grad=True)


def random_mask(rng, shape, p):
    return torch.tensor((rng.random(shape) >= p) / (1 - p))


def plain_layer(rng, T=5, B=3, D=2, H=4):
    """PyTorch's own LSTM: no masks."""
    W = {"W_x": variable(rng, D, 4 * H), "W_h": variable(rng, H, 4 * H), "b": variable(rng, 4 * H)}
    x, h0, c0 = variable(rng, T, B, D), variable(rng, B, H), variable(rng, B, H)
    weights = [lstm_rows(W[k], H) for k in ("W_x", "W_h", "b")]
    weights.append(torch.zeros(4 * H, dtype=torch.float64))
    h, hT, cT = torch.lstm(x, (h0[None], c0[None]), weights, True, 1, 0.0, False, False, False)
    dh = torch.tensor(rng.normal(size=h.shape))
    h.backward(dh)
    out = {"x": x, "h0": h0, "c0": c0, "dh": dh, "h": h, "c_T": cT[0], "dx": x.grad, "dh0": h0.grad,
           "dc0": c0.grad}
    return out | {f"P.{k}": w for k, w in W.items()} | {f"G.{k}": w.grad for k, w in W.items()}


def masked_layer(rng, T=6, B=2, D=3, H=3, p=0.4):
    W = {"W_x": variable(rng, D, 4 * H), "W_h": variable(rng, H, 4 * H), "b": variable(rng, 4 * H)}
    x, h0, c0 = variable(rng, T, B, D), variable(rng, B, H), variable(rng, B, H)
    mask_h, mask_c = random_mask(rng, (T, B, H), p), random_mask(rng, (T, B, H), p)
    h, c = layer(x, h0, c0, W, mask_h, mask_c)
    dh = torch.tensor(rng.normal(size=h.shape))
    h.backward(dh)
    out = {"x": x, "h0": h0, "c0": c0, "mask_h": mask_h, "mask_c": mask_c, "dh": dh, "h": h, "c": c,
           "dx": x.grad, "dh0": h0.grad, "dc0": c0.grad}
    return out | {f"P.{k}": w for k, w in W.items()} | {f"G.{k}": w.grad for k, w in W.items()}


def cross_entropy(rng, T=3, B=4, V=6):
    scores, targets = variable(rng, T, B, V, scale=3), rng.integers(V, size=(T, B))
    dlosses = rng.random((T, B))
    losses = torch.nn.functional.cross_entropy(scores.reshape(-1, V), torch.tensor(targets).reshape(-1),
                                               reduction="none").reshape(T, B)
    losses.backward(torch.tensor(dlosses))
    return {"scores": scores, "targets": targets, "dlosses": dlosses, "losses": losses,
            "dscores": scores.grad}


def dropout(rng, shape=(4, 5), p=0.3):
    x, mask, dy = variable(rng, *shape), random_mask(rng, shape, p), torch.tensor(rng.normal(size=shape))
    y = x * mask
    y.backward(dy)
    return {"x": x, "mask": mask, "dy": dy, "y": y, "dx": x.grad}


def model(placement, rng, T=4, B=3, H=5, L=2, V=7, p=0.4, steps=0, lr=0.3):
    """Loss and gradients of the whole model; with steps > 0 also parameters after plain SGD steps."""
    P = {"E": variable(rng, V, H), "W_y": variable(rng, H, V), "b_y": variable(rng, V)}
    for k in range(1, L + 1):
        P |= {f"W_x{k}": variable(rng, H, 4 * H), f"W_h{k}": variable(rng, H, 4 * H),
              f"b{k}": variable(rng, 4 * H)}
    masks = {}
    for place in PLACES[placement]:
        for k in range(1, L + 1 + (place == "x")):
            one = placement == "variational"
            masks[f"{place}{k}"] = random_mask(rng, (1 if one else T, B, H), p).expand(T, B, H).contiguous()
    s0 = [(variable(rng, B, H), variable(rng, B, H)) for _ in range(L)]
    ids, targets, weights = rng.integers(V, size=(T, B)), rng.integers(V, size=(T, B)), rng.random((T, B))

    def loss():
        x = P["E"][torch.tensor(ids)]
        for k, (h, c) in enumerate(s0, 1):
            x = x * masks.get(f"x{k}", 1)
            W = {name: P[f"{name}{k}"] for name in ("W_x", "W_h", "b")}
            x, _ = layer(x, h, c, W, masks.get(f"h{k}"), masks.get(f"c{k}"))
        scores = (x * masks.get(f"x{L + 1}", 1)) @ P["W_y"] + P["b_y"]
        each = torch.nn.functional.cross_entropy(scores.reshape(-1, V), torch.tensor(targets).reshape(-1),
                                                 reduction="none")
        return (each * torch.tensor(weights).reshape(-1)).sum(), x

    value, top = loss()
    value.backward()
    out = {"ids": ids, "targets": targets, "weights": weights, "loss": value, "top": top}
    out |= {f"P.{k}": w.detach().clone() for k, w in P.items()}
    out |= {f"G.{k}": w.grad.clone() for k, w in P.items()}
    out |= {f"M.{k}": m for k, m in masks.items()}
    for k, (h, c) in enumerate(s0, 1):
        out |= {f"h0.{k}": h, f"c0.{k}": c, f"dh0.{k}": h.grad.clone(), f"dc0.{k}": c.grad.clone()}
    if steps:
        for _ in range(steps):
            for w in P.values():
                w.grad = None
            loss()[0].backward()
            with torch.no_grad():
                for w in P.values():
                    w -= lr * w.grad
        out |= {f"after.{k}": w for k, w in P.items()} | {"steps": steps, "lr": lr}
    return out


def make(rng):
    cases = {"lstm": plain_layer(rng), "masked_lstm": masked_layer(rng), "cross_entropy": cross_entropy(rng),
             "dropout": dropout(rng)}
    cases |= {f"model_{name}": model(name, rng) for name in PLACES}
    cases["model_trained"] = model("cell", rng, T=3, B=2, H=4, L=3, V=5, steps=4)
    numpy = lambda v: v.detach().numpy() if isinstance(v, torch.Tensor) else v  # noqa: E731
    return {f"{case}/{k}": np.asarray(numpy(v)) for case, arrays in cases.items() for k, v in arrays.items()}
