"""The dense retriever as PyTorch's autograd computes it: embedding, masked softmax, RNN, cross entropy.

Written from the definitions: every text is encoded by itself, without padding; the recurrent tower is
torch.nn.RNN; the loss is cross_entropy with forbidden scores at minus infinity.
"""

import numpy as np
import torch
from torch.func import functional_call
from torch.nn import functional as F

from tools.oracles._torch import leaves, record


def texts(rng, n, T, V):
    """Rows of word numbers from 1 to V - 1, padded with 0; the first is full, some words repeat."""
    ids = rng.integers(1, V, size=(n, T))
    length = np.concatenate([[T], rng.integers(1, T + 1, size=n - 1)])
    ids[0, 1] = ids[0, 0]
    return np.where(np.arange(T) < length[:, None], ids, 0)


def pool(ids, P):
    rows = []
    for row in ids:
        words = torch.tensor(row[row > 0])
        rows.append(torch.softmax(P["a"][words], 0) @ F.embedding(words, P["E"]))
    return torch.stack(rows)


def bag(ids, P):
    return F.linear(pool(ids, P), P["W"].T)


def recurrent(ids, P):
    D = len(P["U"])
    net = torch.nn.RNN(D, D, batch_first=True).double()
    weights = {"weight_ih_l0": torch.eye(D, dtype=torch.float64), "weight_hh_l0": P["U"].T,
               "bias_ih_l0": P["b"], "bias_hh_l0": torch.zeros(D, dtype=torch.float64)}
    rows = []
    for row in ids:
        x = F.embedding(torch.tensor(row[row > 0]), P["E"])[None]
        rows.append(functional_call(net, weights, (x,))[1][0, 0])
    return torch.stack(rows) @ P["W"]


def shapes(kind, V, D):
    extra = {"a": (V,)} if kind == "bag" else {"U": (D, D), "b": (D,)}
    return {"E": (V, D), "W": (D, D)} | extra


def loss(q, p, scale, allowed=None):
    S = scale * torch.einsum("id,jd->ij", q, p)
    if allowed is not None:
        S = S.masked_fill(~torch.tensor(allowed), -torch.inf)
    return F.cross_entropy(S, torch.arange(len(q)))


def make(rng):
    cases, V, D = {}, 11, 5
    for name, kind, tower in (("pool", "bag", pool), ("tower", "bag", bag), ("rnn", "rnn", recurrent)):
        ids = texts(rng, 6, 7, V)
        P = leaves(rng, shapes(kind, V, D), 0.6)
        if name == "pool":
            P.pop("W")
        cases[name] = record({}, P, {"y": tower(ids, P)}, rng) | {"ids": ids}
    for name, N, scale, masked in (("loss", 4, 8.0, False), ("loss_hard", 9, 0.9, False),
                                   ("loss_masked", 9, 1.7, True)):
        x = leaves(rng, {"q": (4, 3), "p": (N, 3)}, 0.7)
        allowed = np.eye(4, N, dtype=bool) | (rng.random((4, N)) < 0.6)
        value = loss(**x, scale=scale, allowed=allowed if masked else None)
        value.backward()
        cases[name] = {"loss": value.detach(), "scale": scale}
        cases[name] |= {k: v.detach() for k, v in x.items()} | {f"d{k}": v.grad for k, v in x.items()}
        if masked:
            cases[name]["allowed"] = allowed
    for name, kind, tower, masked in (("bag", "bag", bag, False), ("bag_masked", "bag", bag, True),
                                      ("rnn_masked", "rnn", recurrent, True)):
        q_ids, p_ids = texts(rng, 4, 5, V), texts(rng, 7, 6, V)
        P = leaves(rng, {f"{s}.{k}": v for s in "qp" for k, v in shapes(kind, V, D).items()}, 0.6)
        allowed = np.eye(4, 7, dtype=bool) | (rng.random((4, 7)) < 0.6)
        q, p = (tower(ids, {k[2:]: v for k, v in P.items() if k[0] == s})
                for s, ids in (("q", q_ids), ("p", p_ids)))
        value = loss(q, p, 1.3, allowed if masked else None)
        value.backward()
        cases[f"model_{name}"] = {"q_ids": q_ids, "p_ids": p_ids, "scale": 1.3, "loss": value.detach(),
                                  "q": q.detach(), "p": p.detach()}
        if masked:
            cases[f"model_{name}"]["allowed"] = allowed
        cases[f"model_{name}"] |= {f"P.{k}": v.detach() for k, v in P.items()}
        cases[f"model_{name}"] |= {f"G.{k}": v.grad for k, v in P.items()}
    return {f"{case}/{k}": v for case, arrays in cases.items() for k, v in arrays.items()}
