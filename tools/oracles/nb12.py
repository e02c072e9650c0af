"""Message passing as PyTorch's autograd computes it, atom by atom as equations 1 to 3 of the paper say it.

Written from the paper, not from the notebook: messages are summed over pairs of atoms in loops, the LSTM
of set2set is torch.lstm_cell, the maximum torch.amax, the loss mse_loss. Nothing is batched over channels.
"""

import torch
from torch.nn import functional as F

from tools.oracles._torch import leaves, record


def messages(h, C, A):
    """m_v = sum over w and k of C[v, k, w] h_w A_k."""
    B, n, K, _ = C.shape
    rows = [sum(C[:, v, k, w, None] * (h[:, w] @ A[k]) for w in range(n) for k in range(K)) for v in range(n)]
    return torch.stack(rows, 1)


def edge_channels(e, P):
    """a(e) for bonded atoms: (B, n, n, F) -> (B, n, K, n)."""
    a = torch.tanh(F.linear(e, P["edge.W"].T, P["edge.b"]))
    bonded = (e[..., 0] != 0) | (e[..., 1] != 0)
    return torch.where(bonded[..., None], a, torch.zeros_like(a)).permute(0, 1, 3, 2)


def gru(h, m, P, t):
    H = h.shape[-1]
    z, r = torch.sigmoid(torch.cat([h, m], -1) @ P["gru.W_g"][t] + P["gru.b"][t, :2 * H]).chunk(2, -1)
    c = torch.tanh(torch.cat([r * h, m], -1) @ P["gru.W_c"][t] + P["gru.b"][t, 2 * H:])
    return (1 - z) * h + z * c


def plain(h, m, P, t):
    return torch.relu(m + P["relu.b"][t])


def gate(h, h0, P):
    i = F.linear(torch.cat([h, h0], -1), P["i.W"].T, P["i.b"])
    return torch.sigmoid(i) * F.linear(h, P["j.W"].T, P["j.b"])


def set2set(u, P, steps=3):
    """torch.lstm_cell has gates i, f, g, o; ours stand as i, f, o, g."""
    B, _, H = u.shape
    order = torch.cat([torch.arange(2 * H), torch.arange(3 * H, 4 * H), torch.arange(2 * H, 3 * H)])
    W, b = P["s2s.W"][:, order].T, P["s2s.b"][order]
    q_star, c = torch.zeros(B, 2 * H, dtype=u.dtype), torch.zeros(B, H, dtype=u.dtype)
    none = torch.zeros(4 * H, H, dtype=u.dtype)
    for _ in range(steps):
        q, c = torch.lstm_cell(q_star, (torch.zeros_like(c), c), W, none, b, torch.zeros_like(b))
        a = F.softmax(torch.einsum("bvh,bh->bv", u, q) / H ** 0.5, 1)
        q_star = torch.cat([q, torch.einsum("bv,bvh->bh", a, u)], 1)
    return q_star


POOLS = {"sum": lambda u, P: sum(u[:, v] for v in range(u.shape[1])), "mean": lambda u, P: u.mean(1),
         "max": lambda u, P: torch.amax(u, 1), "set2set": set2set}
UPDATES = {"gru": gru, "relu": plain}


def network(X, C, P, T, update, pool, head):
    if "edge.W" in P:
        C = edge_channels(C, P)
    h = h0 = X @ P["in.W"]
    for t in range(T):
        t %= len(P["msg.A"])
        h = UPDATES[update](h, messages(h, C, P["msg.A"][t]), P, t)
    R = POOLS[pool](gate(h, h0, P), P)
    if head:
        R = torch.tanh(F.linear(R, P["f.W"].T, P["f.b"]))
    return F.linear(R, P["out.W"].T, P["out.b"])[:, 0]


def shapes(T, update, pool, head, tied, K, D, H, n_features):
    L, R = min(T, 1) if tied else T, 2 * H if pool == "set2set" else H
    P = {"in.W": (D, H), "i.W": (2 * H, H), "i.b": (H,), "j.W": (H, H), "j.b": (H,), "out.W": (R, 1),
         "out.b": (1,)}
    if T:
        P |= {"msg.A": (L, K, H, H)}
        P |= {"relu.b": (L, H)} if update == "relu" else {
            "gru.W_g": (L, 2 * H, 2 * H), "gru.W_c": (L, 2 * H, H), "gru.b": (L, 3 * H)}
    if n_features:
        P |= {"edge.W": (n_features, K), "edge.b": (K,)}
    if pool == "set2set":
        P |= {"s2s.W": (2 * H, 4 * H), "s2s.b": (4 * H,)}
    if head:
        P |= {"f.W": (R, R), "f.b": (R,)}
    return P


NETS = {"sum": (3, "gru", "sum", False, False), "mean": (2, "gru", "mean", True, False),
        "max": (2, "relu", "max", False, False), "tied": (3, "gru", "set2set", True, True),
        "relu_tied": (3, "relu", "sum", True, True), "none": (0, "gru", "sum", False, False),
        "edges": (2, "gru", "sum", True, False)}


def features(rng, B, n, n_features):
    """Symmetric edge features; columns 0 and 1 say which bond there is, the others are 0 without one."""
    kind = torch.tensor(rng.integers(3, size=(B, n, n))).triu(1)
    kind = kind + kind.transpose(1, 2)
    more = torch.tensor(rng.normal(size=(B, n, n, n_features - 2)))
    more = (more + more.transpose(1, 2)) * (kind > 0)[..., None]
    return torch.cat([(kind == 1)[..., None], (kind == 2)[..., None], more], -1)


def make(rng):
    cases = {}
    inputs = leaves(rng, {"h": (3, 4, 5), "C": (3, 4, 2, 4), "A": (2, 5, 5)})
    cases["message"] = record(inputs, {}, {"m": messages(**inputs)}, rng)
    P = leaves(rng, {"edge.W": (4, 3), "edge.b": (3,)})
    e = features(rng, 3, 5, 4)
    cases["edge"] = record({"e": e}, P, {"C": edge_channels(e, P)}, rng)
    for name, update, W in (("gru", gru, {"gru.W_g": (2, 10, 10), "gru.W_c": (2, 10, 5), "gru.b": (2, 15)}),
                            ("relu", plain, {"relu.b": (2, 5)})):
        P, inputs = leaves(rng, W), leaves(rng, {"h": (7, 5), "m": (7, 5)})
        cases[name] = record(inputs, P, {"y": update(**inputs, P=P, t=1)}, rng)
    P = leaves(rng, {"i.W": (10, 5), "i.b": (5,), "j.W": (5, 5), "j.b": (5,)})
    inputs = leaves(rng, {"h": (7, 5), "h0": (7, 5)})
    cases["gate"] = record(inputs, P, {"u": gate(**inputs, P=P)}, rng)
    for pool, function in POOLS.items():
        P = leaves(rng, {"s2s.W": (10, 20), "s2s.b": (20,)} if pool == "set2set" else {})
        inputs = leaves(rng, {"u": (3, 6, 5)})
        cases[f"pool_{pool}"] = record(inputs, P, {"R": function(inputs["u"], P)}, rng)
    for name, net in NETS.items():
        B, n, K, D, H, n_features = 4, 6, 3, 4, 5, 4 if name == "edges" else 0
        P = leaves(rng, shapes(*net, K, D, H, n_features), 0.5)
        X = F.one_hot(torch.tensor(rng.integers(D, size=(B, n))), D).double()
        C = features(rng, B, n, 4) if n_features else torch.tensor(rng.normal(size=(B, n, K, n)))
        target = torch.tensor(rng.normal(size=B))
        y = network(X, C, P, *net[:4])
        y.retain_grad()
        loss = F.mse_loss(y, target)
        loss.backward()
        case = {"X": X, "C": C, "target": target, "y": y.detach(), "dy": y.grad, "loss": loss.detach()}
        case |= {f"P.{k}": p.detach() for k, p in P.items()} | {f"G.{k}": p.grad for k, p in P.items()}
        cases[f"net_{name}"] = case
    return {f"{case}/{k}": v for case, arrays in cases.items() for k, v in arrays.items()}
