"""The relational memory core and the LSTM as PyTorch computes them, with all gradients.

Attention, layer norm and cross-entropy are PyTorch's own; the gates follow §3.3 of the paper, one
slot at a time. The baseline is nn.LSTM with our weights in its order of gates (i, f, g, o).
"""

import torch
from torch.func import functional_call
from torch.nn import functional as F

from tools.oracles._torch import leaves, record


def part(P, name):
    return {k.removeprefix(name + "."): p for k, p in P.items() if k.startswith(name + ".")}


def attend(X, W_qkv, heads, mask=None):
    """Multi-head attention among rows, without a projection after it."""
    q, k, v = (torch.stack(z.split(z.shape[-1] // heads, -1), 1) for z in (X @ W_qkv).chunk(3, -1))
    hidden = None if mask is None else torch.as_tensor(mask)
    return torch.cat(F.scaled_dot_product_attention(q, k, v, attn_mask=hidden).unbind(1), -1)


def norm(x, P):
    return F.layer_norm(x, x.shape[-1:], P["g"], P["b"], 1e-5)


def mlp(x, P):
    return F.linear(F.relu(F.linear(x, P["W_1"].T, P["b_1"])), P["W_2"].T, P["b_2"])


def block(X, P, heads, mask=None):
    X = norm(X + attend(X, P["W_qkv"], heads, mask), part(P, "norm1"))
    return norm(X + mlp(X, part(P, "mlp")), part(P, "norm2"))


def gate(Z, M, h, a, W_h, kinds):
    """§3.3, slot by slot; a gate of width 1 serves all units of its slot."""
    new, out = [], []
    for s in range(M.shape[1]):
        z = torch.sigmoid(a + h[:, s] @ W_h).chunk(len(kinds), -1)
        m = z[0] * torch.tanh(Z[:, s]) + z[1] * M[:, s]
        new.append(m)
        out.append(z[2] * torch.tanh(m) if len(kinds) == 3 else torch.tanh(m))
    return torch.stack(new, 1), torch.stack(out, 1)


def cell(M, h, e, a, P, heads, blocks, kinds, mask=None):
    X = torch.cat([M, e[:, None]], 1)
    for b in range(blocks):
        X = block(X, part(P, f"block{b}"), heads, mask)
    Z = X[:, :-1]
    return gate(Z, M, h, a, P["W_h"], kinds) if kinds else (Z, Z)


def sight(kind, S):
    """Who may look where, entry by entry; the input row is the last."""
    if kind == "all":
        return None
    return torch.tensor([[r == c or c == S or (r == S and kind == "hub") for c in range(S + 1)]
                         for r in range(S + 1)])


def core(x, P, S, heads, blocks, kinds, kind):
    """Logits (B, T, readouts, outputs) of the whole sequence."""
    B, T, _ = x.shape
    M = P["M_0"].expand(B, -1, -1)
    h, logits = torch.tanh(M) if kinds else M, []
    for t in range(T):
        e = x[:, t] @ P["W_in"] + P["b_in"]
        a = e @ P["W_x"] + P["b_g"] if kinds else None
        M, h = cell(M, h, e, a, P, heads, blocks, kinds, sight(kind, S))
        rows = h.reshape(B, -1, len(P["W_y"]))
        logits.append(rows @ P["W_y"] + P["b_y"])
    return torch.stack(logits, 1)


def block_shapes(D):
    return {"W_qkv": (D, 3 * D), "norm1.g": (D,), "norm1.b": (D,), "mlp.W_1": (D, D), "mlp.b_1": (D,),
            "mlp.W_2": (D, D), "mlp.b_2": (D,), "norm2.g": (D,), "norm2.b": (D,)}


def core_shapes(inputs, outputs, S, D, blocks, kinds, width, flat):
    shapes = {"W_in": (inputs, D), "b_in": (D,), "M_0": (S, D), "b_y": (outputs,),
              "W_y": (S * D if flat else D, outputs)}
    for b in range(blocks):
        shapes |= {f"block{b}.{k}": s for k, s in block_shapes(D).items()}
    if kinds:
        n = len(kinds) * width
        shapes |= {"W_x": (D, n), "W_h": (D, n), "b_g": (n,)}
    return shapes


def attention_case(rng, B=3, R=5, D=12, heads=3, mask=None):
    x, P = leaves(rng, {"X": (B, R, D)}, 1.5), leaves(rng, {"W_qkv": (D, 3 * D)}, 0.6)
    y = attend(x["X"], P["W_qkv"], heads, mask)
    out = record(x, P, {"y": y}, rng) | {"heads": heads}
    return out if mask is None else out | {"mask": mask}


def rows_case(rng, function, shapes, B=3, R=4, D=7):
    x, P = leaves(rng, {"X": (B, R, D)}, 1.5), leaves(rng, shapes, 0.6)
    y = function(x["X"], P)
    return record(x, P, {"y": y}, rng)


def gates_case(rng, kinds, width, B=3, S=4, D=5):
    shape, n = (B, S, D), len(kinds) * width
    x = leaves(rng, {"Z": shape, "M": shape, "h": shape, "a": (B, n), "W_h": (D, n)}, 1)
    new, out = gate(x["Z"], x["M"], x["h"], x["a"], x["W_h"], kinds)
    return record(x, {}, {"new": new, "out": out}, rng) | {
        "kinds": len(kinds)}


def cell_case(rng, kinds, width, B=3, S=4, D=6, heads=3, blocks=2):
    n = max(len(kinds) * width, 1)
    x = leaves(rng, {"M": (B, S, D), "h": (B, S, D), "e": (B, D), "a": (B, n)}, 1)
    shapes = {f"block{b}.{k}": s for b in range(blocks) for k, s in block_shapes(D).items()}
    P = leaves(rng, shapes | ({"W_h": (D, n)} if kinds else {}), 0.6)
    M, h = cell(x["M"], x["h"], x["e"], x["a"], P, heads, blocks, kinds)
    return record(x, P, {"new": M, "out": h}, rng) | {
        "heads": heads, "blocks": blocks, "kinds": len(kinds), "width": width}


def sequence_case(rng, kinds="if", per="unit", kind="all", flat=False, blocks=2, B=3, T=4, S=3, D=8, heads=2,
                  inputs=5, outputs=4):
    """The whole core; the loss is the cross-entropy of random targets."""
    x = leaves(rng, {"x": (B, T, inputs)}, 1)
    P = leaves(rng, core_shapes(inputs, outputs, S, D, blocks, kinds, D if per == "unit" else 1, flat), 0.6)
    logits = core(x["x"], P, S, heads, blocks, kinds, kind)
    y = rng.integers(outputs, size=logits.shape[:-1])
    loss = F.cross_entropy(logits.reshape(-1, outputs), torch.tensor(y).reshape(-1))
    loss.backward()
    out = {"x": x["x"].detach(), "dx": x["x"].grad, "y": y, "logits": logits.detach(), "loss": loss.detach()}
    out |= {f"P.{k}": p.detach() for k, p in P.items()} | {f"G.{k}": p.grad for k, p in P.items()}
    sizes = {"slots": S, "D": D, "heads": heads, "blocks": blocks, "inputs": inputs, "outputs": outputs}
    return out | sizes | {"kinds": len(kinds), "per_slot": per == "slot", "flat": flat,
                          "sight": ["all", "hub", "self"].index(kind)}


def lstm_case(rng, B=3, T=5, inputs=4, H=6, outputs=7):
    x = leaves(rng, {"x": (B, T, inputs)}, 1)
    P = leaves(rng, {"W_x": (inputs, 4 * H), "W_h": (H, 4 * H), "b": (4 * H,), "W_y": (H, outputs),
                     "b_y": (outputs,)}, 0.6)
    def order(W):
        i, f, o, g = W.chunk(4, -1)
        return torch.cat([i, f, g, o], -1)
    module = torch.nn.LSTM(inputs, H, batch_first=True).double()
    out, _ = functional_call(module, {
        "weight_ih_l0": order(P["W_x"]).T, "weight_hh_l0": order(P["W_h"]).T, "bias_ih_l0": order(P["b"]),
        "bias_hh_l0": torch.zeros(4 * H, dtype=torch.float64)}, (x["x"],))
    y = (out @ P["W_y"] + P["b_y"])[:, :, None]
    return record(x, P, {"y": y}, rng)


def loss_case(rng, shape=(3, 4, 2), K=6):
    x, y = leaves(rng, {"logits": (*shape, K)}, 3), rng.integers(K, size=shape)
    value = F.cross_entropy(x["logits"].reshape(-1, K), torch.tensor(y).reshape(-1))
    value.backward()
    return {"logits": x["logits"].detach(), "y": y, "loss": value.detach(), "dlogits": x["logits"].grad}


def make(rng):
    mask = rng.random((5, 5)) < 0.5
    mask[:, 1] = True
    D = 9
    cases = {
        "attention": attention_case(rng), "attention_masked": attention_case(rng, mask=mask),
        "layer_norm": rows_case(rng, norm, {"g": (7,), "b": (7,)}),
        "mlp": rows_case(rng, mlp, {"W_1": (7, 10), "b_1": (10,), "W_2": (10, 7), "b_2": (7,)}),
        "block": rows_case(rng, lambda X, P: block(X, P, 3), block_shapes(D), D=D),
        "gates_if": gates_case(rng, "if", 5), "gates_ifo": gates_case(rng, "ifo", 5),
        "gates_slot": gates_case(rng, "ifo", 1),
        "cell": cell_case(rng, "if", 6), "cell_slot": cell_case(rng, "ifo", 1),
        "cell_open": cell_case(rng, "", 1),
        "sequence": sequence_case(rng), "sequence_ifo": sequence_case(rng, "ifo", T=3, S=4, heads=4),
        "sequence_slot": sequence_case(rng, "if", "slot", "self", blocks=1),
        "sequence_open": sequence_case(rng, "", kind="hub", flat=True),
        "lstm": lstm_case(rng), "loss": loss_case(rng),
    }
    return {f"{case}/{k}": v for case, arrays in cases.items() for k, v in arrays.items()}
