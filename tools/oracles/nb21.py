"""CTC, masked batch normalisation, the clipped bidirectional recurrence and the network in PyTorch.

Written from the papers, not from the notebook: the loss is F.ctc_loss, the convolution F.conv1d, the
normalisation F.batch_norm on the valid frames gathered into rows, the recurrence runs one utterance and
one direction at a time over its own frames, and nothing is padded on the way.
"""

import numpy as np
import torch
from torch.nn import functional as F

from tools.oracles._torch import leaves, record

CEILING = 20.0


def ctc(z, frames, labels, U):
    """-log p of each label, (B,)."""
    flat = torch.cat([labels[b, :n] for b, n in enumerate(U)])
    return F.ctc_loss(z.log_softmax(2), flat, torch.tensor(frames), torch.tensor(U), reduction="none")


def on_valid(x, frames, function):
    """Apply a function of rows (N, D) to the valid frames of x (T, B, D); zeros elsewhere."""
    rows = function(torch.cat([x[:n, b] for b, n in enumerate(frames)]))
    columns = [F.pad(part, (0, 0, 0, len(x) - len(part))) for part in rows.split(list(frames))]
    return torch.stack(columns, 1)


def norm(x, frames, shift, scale=None):
    if scale is None:
        return on_valid(x, frames, lambda rows: rows + shift)
    return on_valid(x, frames, lambda rows: F.batch_norm(rows, None, None, scale, shift, training=True))


def rnn(a, frames, U):
    H = U.shape[1]
    out = []
    for b, n in enumerate(frames):
        both = []
        for direction in (0, 1):
            steps = range(n) if direction == 0 else range(n - 1, -1, -1)
            h, states = torch.zeros(H, dtype=a.dtype), [None] * n
            for t in steps:
                h = torch.clamp(a[t, b, direction * H:(direction + 1) * H] + h @ U[direction], 0, CEILING)
                states[t] = h
            both.append(torch.stack(states))
        out.append(F.pad(both[0] + both[1], (0, 0, 0, len(a) - n)))
    return torch.stack(out, 1)


def conv(x, W, stride=2):
    """x (T, B, D), W (K, D, C), zeros around."""
    y = F.conv1d(x.permute(1, 2, 0), W.permute(2, 1, 0), stride=stride, padding=len(W) // 2)
    return y.permute(2, 0, 1)


def network(x, frames, P):
    a = conv(x, P["conv.W"])
    frames = [-(-n // 2) for n in frames]
    h = torch.clamp(norm(a, frames, P["conv.shift"], P.get("conv.scale")), 0, CEILING)
    for name in sorted(k[:-2] for k in P if k.endswith(".U")):
        b = norm(h @ P[name + ".W"], frames, P[name + ".shift"], P.get(name + ".scale"))
        h = rnn(b, frames, P[name + ".U"])
    return h @ P["out.W"] + P["out.b"], frames


def shapes(layers, normalised, K, D, C, H, V):
    found = {"conv.W": (K, D, C), "conv.shift": (C,)} | ({"conv.scale": (C,)} if normalised else {})
    for k in range(1, layers + 1):
        name = f"rnn{k}"
        found |= {name + ".W": (C if k == 1 else H, 2 * H), name + ".U": (2, H, H), name + ".shift": (2 * H,)}
        found |= {name + ".scale": (2 * H,)} if normalised else {}
    return found | {"out.W": (H, V), "out.b": (V,)}


def random_labels(rng, U, V):
    """Labels with repetitions, as a padded array of zeros."""
    labels = np.zeros((len(U), max(U)), int)
    for b, n in enumerate(U):
        labels[b, :n] = rng.integers(1, V, size=n)
        if n >= 2:
            labels[b, 1] = labels[b, 0]
    return labels


def make(rng):
    cases = {}
    for name, T, frames, U, V in (("ctc", 11, [11, 8, 5, 2], [4, 3, 2, 1], 6),
                                  ("ctc_long", 60, [60, 41], [20, 15], 9)):
        z = leaves(rng, {"z": (T, len(U), V)}, 2.0)
        labels = random_labels(rng, U, V)
        loss = ctc(z["z"], frames, torch.tensor(labels), U)
        cases[name] = record(z, {}, {"loss": loss}, rng) | {"frames": frames, "labels": labels, "U": U}
    frames = [7, 4, 1, 6]
    for name, normalised in (("norm", True), ("shift", False)):
        P = leaves(rng, {"n.shift": (5,)} | ({"n.scale": (5,)} if normalised else {}))
        x = leaves(rng, {"x": (7, 4, 5)}, 2.0)
        y = norm(x["x"], frames, P["n.shift"], P.get("n.scale"))
        cases[name] = record(x, P, {"y": y}, rng) | {"frames": frames}
    for name, scale in (("rnn", 1.0), ("rnn_clipped", 30.0)):            # the second reaches the ceiling
        a = leaves(rng, {"a": (7, 4, 6)}, scale)
        U = leaves(rng, {"U": (2, 3, 3)}, 0.6)
        cases[name] = record(a, U, {"y": rnn(a["a"], frames, U["U"])}, rng) | {"frames": frames}
    for name, T, K, stride in (("conv", 9, 5, 2), ("conv_even", 8, 5, 2), ("conv3", 10, 3, 3),
                               ("conv1", 6, 3, 1)):
        x, W = leaves(rng, {"x": (T, 3, 4)}), leaves(rng, {"W": (K, 4, 6)})
        cases[name] = record(x, W, {"y": conv(x["x"], W["W"], stride)}, rng) | {"stride": stride}
    for name, layers, normalised, scale in (("net", 2, True, 0.5), ("plain", 3, False, 0.4),
                                            ("one", 1, True, 6.0)):
        V, frames, U = 7, [17, 12, 9], [5, 3, 2]
        P = leaves(rng, shapes(layers, normalised, 5, 4, 6, 5, V), scale)
        x = leaves(rng, {"x": (17, 3, 4)})
        labels = random_labels(rng, U, V)
        z, short = network(x["x"], frames, P)
        loss = ctc(z, short, torch.tensor(labels), U).sum() / sum(U)
        loss.backward()
        cases[name] = {"x": x["x"].detach(), "dx": x["x"].grad, "z": z.detach(), "loss": loss.detach()}
        cases[name] |= {"frames": frames, "labels": labels, "U": U, "short": short}
        cases[name] |= {f"P.{k}": p.detach() for k, p in P.items()} | {f"G.{k}": p.grad for k, p in P.items()}
    return {f"{case}/{k}": np.asarray(v) for case, arrays in cases.items() for k, v in arrays.items()}
