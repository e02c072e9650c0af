"""Attention, layers and the whole Transformer as PyTorch computes them, with all gradients.

PyTorch's own modules are used (scaled_dot_product_attention, TransformerEncoderLayer, ...), called
with the notebook's parameters, transposed to PyTorch's layout. Biases of the projections are zero.
"""

import math

import torch
from torch.func import functional_call
from torch.nn import functional as F

from tools.oracles._torch import leaves, record


def attention(rng, T, S, d_k, d_v, mask=None, scaled=True):
    x = leaves(rng, {"Q": (2, 3, T, d_k), "K": (2, 3, S, d_k), "V": (2, 3, S, d_v)}, 1.5)
    y = F.scaled_dot_product_attention(x["Q"], x["K"], x["V"], scale=None if scaled else 1.0,
                                       attn_mask=None if mask is None else torch.tensor(mask))
    out = record(x, {}, {"y": y}, rng)
    return out if mask is None else out | {"mask": mask}


def softmax(rng):
    s = leaves(rng, {"s": (2, 3, 4, 6)}, 3)
    A = s["s"].softmax(-1)
    return record(s, {}, {"A": A}, rng)


def projections(D, names="QKVO"):
    return {f"W_{w}": (D, D) for w in names}


def torch_attention(P, prefix=""):
    """Our W_Q, W_K, W_V, W_O under the names and in the layout of nn.MultiheadAttention."""
    D = len(P["W_Q"])
    zero = P["W_Q"].new_zeros
    return {prefix + "in_proj_weight": torch.cat([P[f"W_{w}"].T for w in "QKV"]),
            prefix + "in_proj_bias": zero(3 * D),
            prefix + "out_proj.weight": P["W_O"].T, prefix + "out_proj.bias": zero(D)}


def part(P, name):
    return {k.removeprefix(name + "."): p for k, p in P.items() if k.startswith(name + ".")}


def torch_layer(P, norms, attentions):
    """An encoder or decoder layer's parameters under PyTorch's names."""
    out = {"linear1.weight": P["ffn.W_1"].T, "linear1.bias": P["ffn.b_1"],
           "linear2.weight": P["ffn.W_2"].T, "linear2.bias": P["ffn.b_2"]}
    for i in range(1, norms + 1):
        out |= {f"norm{i}.weight": P[f"norm{i}.g"], f"norm{i}.bias": P[f"norm{i}.b"]}
    for ours, theirs in attentions.items():
        out |= torch_attention(part(P, ours), theirs + ".")
    return out


def encoder_layer(x, P, h, hidden=None):
    """hidden (B, S): True at padding."""
    D, d_ff = P["ffn.W_1"].shape
    module = torch.nn.TransformerEncoderLayer(D, h, d_ff, 0.0, batch_first=True).double()
    return functional_call(module, torch_layer(P, 2, {"self": "self_attn"}), (x,),
                           {"src_key_padding_mask": hidden})


def decoder_layer(x, z, P, h, causal=True, hidden=None):
    D, d_ff = P["ffn.W_1"].shape
    module = torch.nn.TransformerDecoderLayer(D, h, d_ff, 0.0, batch_first=True).double()
    T = x.shape[1]
    future = torch.ones(T, T, dtype=torch.bool).triu(1) if causal else None
    parameters = torch_layer(P, 3, {"self": "self_attn", "cross": "multihead_attn"})
    return functional_call(module, parameters, (x, z),
                           {"tgt_mask": future, "memory_key_padding_mask": hidden})


def layer_shapes(D, d_ff, attentions):
    shapes = {f"{a}.{k}": s for a in attentions for k, s in projections(D).items()}
    shapes |= {"ffn.W_1": (D, d_ff), "ffn.b_1": (d_ff,), "ffn.W_2": (d_ff, D), "ffn.b_2": (D,)}
    return shapes | {f"norm{i}.{p}": (D,) for i in range(1, len(attentions) + 2) for p in "gb"}


def multi_head(rng, B=2, T=4, S=7, D=12, h=3):
    x, P = leaves(rng, {"x": (B, T, D), "z": (B, S, D)}), leaves(rng, projections(D), 0.4)
    mask = rng.random((T, S)) < 0.6
    mask[:, 0] = True
    module = torch.nn.MultiheadAttention(D, h, batch_first=True).double()
    y, _ = functional_call(module, torch_attention(P), (x["x"], x["z"], x["z"]),
                           {"attn_mask": ~torch.tensor(mask)})
    return record(x, P, {"y": y}, rng) | {"h": h, "mask": mask}


def self_attention(rng, B=3, T=5, D=10, h=2):
    """x is query, key and value at once."""
    x, P = leaves(rng, {"x": (B, T, D)}), leaves(rng, projections(D), 0.4)
    module = torch.nn.MultiheadAttention(D, h, batch_first=True).double()
    y, _ = functional_call(module, torch_attention(P), (x["x"],) * 3)
    return record(x, P, {"y": y}, rng) | {"h": h}


def layer_norm(rng, B=3, T=4, D=7):
    x, P = leaves(rng, {"x": (B, T, D)}, 2), leaves(rng, {"g": (D,), "b": (D,)})
    y = F.layer_norm(x["x"] + 0.5, (D,), P["g"], P["b"], 1e-5)
    return record(x, P, {"y": y}, rng)


def ffn(rng, B=3, T=4, D=6, d_ff=9):
    shapes = {"W_1": (D, d_ff), "b_1": (d_ff,), "W_2": (d_ff, D), "b_2": (D,)}
    x, P = leaves(rng, {"x": (B, T, D)}), leaves(rng, shapes)
    y = F.linear(F.relu(F.linear(x["x"], P["W_1"].T, P["b_1"])), P["W_2"].T, P["b_2"])
    return record(x, P, {"y": y}, rng)


def sinusoids(n, D):
    """The table of §3.5, entry by entry."""
    rows = [[(math.sin if j % 2 == 0 else math.cos)(pos / 10000 ** ((j - j % 2) / D)) for j in range(D)]
            for pos in range(n)]
    return torch.tensor(rows, dtype=torch.float64)


def embedding(rng, B=3, T=5, V=6, D=8, start=2):
    P, ids = leaves(rng, {"E": (V, D)}), rng.integers(V, size=(B, T))
    y = F.embedding(torch.tensor(ids), P["E"]) * math.sqrt(D) + sinusoids(start + T, D)[start:]
    return record({}, P, {"y": y}, rng) | {"ids": ids, "start": start}


def loss(rng, eps, B=3, T=4, V=7):
    x, y = leaves(rng, {"logits": (B, T, V)}, 3), rng.integers(V, size=(B, T))
    flat, target = x["logits"].reshape(-1, V), torch.tensor(y).reshape(-1)
    value = F.cross_entropy(flat, target, label_smoothing=eps)
    value.backward()
    return {"logits": x["logits"].detach(), "y": y, "eps": eps, "loss": value.detach(),
            "nll": F.cross_entropy(flat, target).detach(), "dlogits": x["logits"].grad}


def encoder(rng, B=3, S=5, D=12, h=3, d_ff=7):
    x, P = leaves(rng, {"x": (B, S, D)}), leaves(rng, layer_shapes(D, d_ff, ["self"]), 0.5)
    hidden = torch.tensor([[False] * S, [False] * 3 + [True] * 2, [False] * 4 + [True]])
    y = encoder_layer(x["x"], P, h, hidden)
    return record(x, P, {"y": y}, rng) | {"h": h, "mask": ~hidden[:, None, None]}


def decoder(rng, B=2, T=4, S=6, D=12, h=2, d_ff=7, causal=True):
    x = leaves(rng, {"x": (B, T, D), "z": (B, S, D)})
    P = leaves(rng, layer_shapes(D, d_ff, ["self", "cross"]), 0.5)
    y = decoder_layer(x["x"], x["z"], P, h, causal)
    return record(x, P, {"y": y}, rng) | {"h": h, "causal": causal}


def model(rng, layers, h, D, d_ff, B=3, S=6, T=5, V_s=9, V_t=8, eps=0.1):
    """Encoder and decoder with tied output; 0 is padding in the source."""
    shapes = {"E_source": (V_s, D), "E_target": (V_t, D)}
    for i in range(layers):
        shapes |= {f"enc{i}.{k}": s for k, s in layer_shapes(D, d_ff, ["self"]).items()}
        shapes |= {f"dec{i}.{k}": s for k, s in layer_shapes(D, d_ff, ["self", "cross"]).items()}
    P = leaves(rng, shapes, 0.5)
    source = rng.integers(1, V_s, size=(B, S))
    source[1, 4:], source[2, 5:] = 0, 0
    target_in, target = rng.integers(V_t, size=(2, B, T))
    hidden = torch.tensor(source == 0)
    z = F.embedding(torch.tensor(source), P["E_source"]) * math.sqrt(D) + sinusoids(S, D)
    for i in range(layers):
        z = encoder_layer(z, part(P, f"enc{i}"), h, hidden)
    y = F.embedding(torch.tensor(target_in), P["E_target"]) * math.sqrt(D) + sinusoids(T, D)
    for i in range(layers):
        y = decoder_layer(y, z, part(P, f"dec{i}"), h, True, hidden)
    logits = F.linear(y, P["E_target"])
    value = F.cross_entropy(logits.reshape(-1, V_t), torch.tensor(target).reshape(-1), label_smoothing=eps)
    value.backward()
    out = {"source": source, "target_in": target_in, "target": target, "logits": logits.detach(),
           "loss": value.detach(), "eps": eps, "layers": layers, "h": h, "D": D, "d_ff": d_ff}
    return out | {f"P.{k}": p.detach() for k, p in P.items()} | {f"G.{k}": p.grad for k, p in P.items()}


def make(rng):
    mask = rng.random((2, 1, 4, 6)) < 0.5
    mask[..., 2] = True
    cases = {
        "softmax": softmax(rng), "attention": attention(rng, 4, 6, 5, 3),
        "attention_masked": attention(rng, 4, 6, 5, 3, mask),
        "attention_unscaled": attention(rng, 3, 3, 2, 4, scaled=False),
        "multi_head": multi_head(rng), "self_attention": self_attention(rng),
        "layer_norm": layer_norm(rng), "ffn": ffn(rng), "embedding": embedding(rng),
        "sinusoids": {"table": sinusoids(40, 14)},
        "loss0": loss(rng, 0.0), "loss1": loss(rng, 0.1), "loss2": loss(rng, 0.35),
        "encoder": encoder(rng), "decoder": decoder(rng), "decoder_open": decoder(rng, causal=False),
        "model1": model(rng, 1, 2, 8, 5), "model2": model(rng, 2, 3, 12, 9),
    }
    return {f"{case}/{k}": v for case, arrays in cases.items() for k, v in arrays.items()}
