"""Notebook 27: trunks, heads and losses as torch knows them: nn.RNN, F.embedding, one F.linear a head.

Replicas are computed one after another and stacked, heads are separate layers, and the loss is
cross_entropy with ignore_index, so nothing here shares the notebook's batching.
"""

import torch
from torch.nn import functional as F

from tools.oracles._torch import leaves, record


def take(P, r):
    """Parameters of replica r, or all of them without replicas."""
    return P if r is None else {k: p[r] for k, p in P.items()}


def mlp(x, P, masks=None):
    for k in (0, 1):
        x = torch.relu(F.linear(x, P[f"W_{k + 1}"].T, P[f"b_{k + 1}"][0]))
        if masks is not None:
            x = x * masks[k]
    return x


def window(tokens, P):
    return mlp(F.embedding(tokens, P["E"]).flatten(1), P)


def rnn(tokens, P):
    """nn.RNN on one-hot tokens (T, B); its input matrix is the embedding."""
    V, d = P["E"].shape
    cell = torch.nn.RNN(V, d, nonlinearity="tanh").double()
    weights = {"weight_ih_l0": P["E"].T, "weight_hh_l0": P["W_r"].T, "bias_ih_l0": P["b_r"][0],
               "bias_hh_l0": torch.zeros(d, dtype=torch.double)}
    return torch.func.functional_call(cell, weights, (F.one_hot(tokens, V).double(),))[0].flatten(0, 1)


def heads(z, P):
    k, out = P["W_u"].shape[0], []
    for i in range(P["W_h"].shape[1] // k):
        own = slice(i * k, (i + 1) * k)
        h = torch.relu(F.linear(z, P["W_h"][:, own].T, P["b_h"][0, own]))
        out.append(F.linear(h, P["W_u"].T, P["b_u"][0]))
    return torch.stack(out, 1)                                   # (M, n, V)


def losses(Y, targets):
    return torch.stack([F.cross_entropy(Y[:, i], targets[:, i], ignore_index=-1) for i in range(Y.shape[1])])


def shapes(trunk, D, d, n, k, V):
    first = {} if trunk == "rnn" else {"W_1": (D, d), "b_1": (1, d), "W_2": (d, d), "b_2": (1, d)}
    if trunk == "window":
        first["E"] = (V, 3)
    if trunk == "rnn":
        first = {"E": (V, d), "W_r": (d, d), "b_r": (1, d)}
    return first | {"W_h": (d, n * k), "b_h": (1, n * k), "W_u": (k, V), "b_u": (1, V)}


def some_targets(rng, R, M, n, V):
    targets = rng.integers(V, size=(R, M, n))
    targets[rng.random(targets.shape) < 0.3] = -1
    targets[:, 0] = 0
    return torch.tensor(targets)


def make(rng):
    cases, R = {}, 2

    def over(function, *stacked):
        return torch.stack([function(*(take(a, r) if isinstance(a, dict) else a[r] for a in stacked))
                            for r in range(R)])

    def replicas(trunk, D, d, n, k, V, only=None, scale=0.7):
        names = shapes(trunk, D, d, n, k, V)
        return leaves(rng, {key: (R, *s) for key, s in names.items() if only is None or key in only}, scale)

    P = replicas("mlp", 4, 6, 1, 1, 1, ("W_1", "b_1", "W_2", "b_2"))
    inputs = leaves(rng, {"x": (R, 9, 4)})
    masks = torch.tensor((rng.random((2, R, 9, 6)) > 0.4) / 0.6)
    for name, m in (("mlp", None), ("mlp_dropped", masks)):
        for leaf in (*P.values(), *inputs.values()):
            leaf.grad = None
        z = torch.stack([mlp(inputs["x"][r], take(P, r), None if m is None else m[:, r]) for r in range(R)])
        cases[name] = record(inputs, P, {"z": z}, rng)
    cases["mlp_dropped"]["masks"] = masks

    E, tokens = leaves(rng, {"E": (R, 5, 3)}), torch.tensor(rng.integers(5, size=(R, 4, 6)))
    cases["embed"] = record({}, E, {"e": over(lambda t, p: F.embedding(t, p["E"]), tokens, E)}, rng)
    cases["embed"]["tokens"] = tokens

    P = replicas("window", 4 * 3, 6, 1, 1, 5, ("E", "W_1", "b_1", "W_2", "b_2"))
    tokens = torch.tensor(rng.integers(5, size=(R, 7, 4)))
    cases["window"] = record({}, P, {"z": over(window, tokens, P)}, rng) | {"tokens": tokens}

    P = replicas("rnn", 0, 6, 1, 1, 5, ("E", "W_r", "b_r"))
    tokens = torch.tensor(rng.integers(5, size=(R, 5, 3)))
    cases["rnn"] = record({}, P, {"z": over(rnn, tokens, P)}, rng) | {"tokens": tokens}

    P = replicas("mlp", 1, 6, 3, 4, 5, ("W_h", "b_h", "W_u", "b_u"))
    inputs = leaves(rng, {"z": (R, 8, 6)})
    cases["heads"] = record(inputs, P, {"Y": over(heads, inputs["z"], P)}, rng)

    Y, targets = leaves(rng, {"Y": (R, 8, 3, 5)}, 2.0), some_targets(rng, R, 8, 3, 5)
    loss = over(losses, Y["Y"], targets)
    loss.sum().backward()
    cases["loss"] = {"Y": Y["Y"].detach(), "targets": targets, "losses": loss.detach(), "dY": Y["Y"].grad}

    for trunk, run in (("mlp", mlp), ("window", window), ("rnn", rnn)):
        P = replicas(trunk, {"mlp": 4, "window": 12, "rnn": 0}[trunk], 6, 3, 4, 5)
        x = torch.tensor({"mlp": rng.normal(size=(R, 8, 4)), "window": rng.integers(5, size=(R, 8, 4)),
                          "rnn": rng.integers(5, size=(R, 4, 2))}[trunk])
        targets = some_targets(rng, R, 8, 3, 5)
        loss = over(lambda x, t, p, run=run: losses(heads(run(x, p), p), t), x, targets, P)
        loss.sum().backward()
        case = {"x": x, "targets": targets, "losses": loss.detach()}
        cases[f"model_{trunk}"] = case | {f"P.{k}": p.detach() for k, p in P.items()} | {
            f"G.{k}": p.grad for k, p in P.items()}
    return {f"{case}/{k}": v for case, arrays in cases.items() for k, v in arrays.items()}
