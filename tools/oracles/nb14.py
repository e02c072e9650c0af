"""Bidirectional GRU encoder, additive and dot-product attention, decoder, loss: as PyTorch computes them.

The GRU applies r before the product with U, which torch.nn.GRU does not; so the recurrences are written
step by step from torch.nn.functional calls, sentence by sentence where that is plainer, and all
gradients come from autograd. BLEU is computed with exact fractions and lists of n-grams.
"""

from fractions import Fraction
from math import exp, log

import torch
from torch.nn import functional as F

from tools.oracles._torch import leaves, record


def gru_cell(a, s, U):
    """a (B, 3H) projected inputs r, z, candidate; s (B, H)."""
    H = s.shape[-1]
    r = torch.sigmoid(a[:, :H] + F.linear(s, U[:, :H].T))
    z = torch.sigmoid(a[:, H:2 * H] + F.linear(s, U[:, H:2 * H].T))
    g = torch.tanh(a[:, 2 * H:] + F.linear(r * s, U[:, 2 * H:].T))
    return torch.lerp(s, g, z)


def gru_step(rng, B=3, H=5):
    x = leaves(rng, {"a": (B, 3 * H), "s": (B, H), "U": (H, 3 * H)})
    y = gru_cell(x["a"], x["s"], x["U"])
    return record(x, {}, {"y": y}, rng)


def attend(q, h, K, kind, v=None):
    if kind == "additive":
        e = torch.stack([torch.tanh(q + K[:, j]) @ v for j in range(K.shape[1])], 1)
    else:
        e = torch.einsum("ba,bsa->bs", q, K) / (K.shape[-1] ** 0.5 if kind == "scaled" else 1)
    alpha = e.softmax(-1)
    return torch.einsum("bs,bsd->bd", alpha, h), alpha


def attention(rng, kind, B=3, S=4, A=5, D=7):
    x = leaves(rng, {"q": (B, A), "h": (B, S, D), "K": (B, S, A)}, 1.3)
    P = leaves(rng, {"att.v": (A,)}) if kind == "additive" else {}
    c, alpha = attend(x["q"], x["h"], x["K"], kind, P.get("att.v"))
    return record(x, P, {"y": c}, rng) | {"alpha": alpha.detach()}


def encoder(source, P):
    x = P["E_source"][torch.tensor(source)]                       # (B, S, E)
    B, S, H = *source.shape, P["enc.U"].shape[1]
    states = []
    for d, order in enumerate((range(S), reversed(range(S)))):
        s, found = x.new_zeros(B, H), {}
        for j in order:
            s = gru_cell(x[:, j] @ P["enc.W"][d] + P["enc.b"][d], s, P["enc.U"][d])
            found[j] = s
        states.append(torch.stack([found[j] for j in range(S)], 1))
    return torch.cat(states, -1)


def readout(s, x, c, P):
    one, two = (torch.cat([s, x, c], -1) @ P["out.U"] + P["out.c"]).chunk(2, -1)
    return torch.maximum(one, two) @ P["out.W"] + P["out.b"]


def readout_case(rng, T=4, B=2, H=3, E=2, M=4, V=6):
    P = leaves(rng, {"out.U": (3 * H + E, 2 * M), "out.c": (2 * M,), "out.W": (M, V), "out.b": (V,)})
    x = leaves(rng, {"s": (T, B, H), "x": (T, B, E), "c": (T, B, 2 * H)})
    return record(x, P, {"y": readout(**x, P=P)}, rng)


def embedding(rng, V=5, D=3):
    ids = rng.integers(V - 1, size=(4, 3))
    x = leaves(rng, {"E": (V, D)})
    return record(x, {}, {"y": F.embedding(torch.tensor(ids), x["E"])}, rng) | {"ids": ids}


def decoder(target_in, h, P, kind):
    H = P["dec.U"].shape[0]
    first = torch.cat([h[:, -1, :H], h[:, 0, H:]], -1) if kind == "fixed" else h[:, 0, H:]
    s, logits = torch.tanh(first @ P["init.W"] + P["init.b"]), []
    for t in range(target_in.shape[1]):
        x, c = P["E_target"][torch.tensor(target_in[:, t])], first
        if kind != "fixed":
            c, _ = attend(s @ P["att.W"], h, h @ P["att.U"], kind, P.get("att.v"))
        s = gru_cell(x @ P["dec.W"] + P["dec.b"] + c @ P["dec.C"], s, P["dec.U"])
        logits.append(readout(s, x, c, P))
    return torch.stack(logits)                                    # (T, B, V)


def shapes(H, E, A, M, V_s, V_t, kind):
    out = {"E_source": (V_s, E), "E_target": (V_t, E), "enc.W": (2, E, 3 * H), "enc.U": (2, H, 3 * H),
           "enc.b": (2, 1, 3 * H), "init.W": (2 * H if kind == "fixed" else H, H), "init.b": (H,),
           "dec.W": (E, 3 * H), "dec.C": (2 * H, 3 * H), "dec.U": (H, 3 * H), "dec.b": (3 * H,),
           "out.U": (3 * H + E, 2 * M), "out.c": (2 * M,), "out.W": (M, V_t), "out.b": (V_t,)}
    if kind != "fixed":
        out |= {"att.W": (H, A), "att.U": (2 * H, A)}
    return out | ({"att.v": (A,)} if kind == "additive" else {})


def model(rng, kind, B=3, S=5, T=4, H=4, E=3, A=6, M=5, V_s=9, V_t=7):
    P = leaves(rng, shapes(H, E, A, M, V_s, V_t, kind), 0.6)
    source, target = rng.integers(V_s, size=(B, S)), rng.integers(2, V_t, size=(B, T))
    target_in = target.copy()
    target_in[:, 1:], target_in[:, 0] = target[:, :-1], 1          # 1 is START
    h = encoder(source, P)
    h.retain_grad()
    logits = decoder(target_in, h, P, kind)
    value = F.cross_entropy(logits.reshape(-1, V_t), torch.tensor(target.T).reshape(-1))
    value.backward()
    out = {"source": source, "target": target, "target_in": target_in, "h": h.detach(), "dh": h.grad,
           "logits": logits.detach(), "loss": value.detach(),
           "hidden": H, "embed": E, "width": A, "maxout": M}
    return out | {f"P.{k}": p.detach() for k, p in P.items()} | {f"G.{k}": p.grad for k, p in P.items()}


def bleu(outputs, references, order=4):
    """Corpus BLEU with exact fractions; n-grams as lists, clipped by removing matches one by one."""
    product, c, r = Fraction(1), sum(map(len, outputs)), sum(map(len, references))
    for n in range(1, order + 1):
        match = total = 0
        for out, ref in zip(outputs, references, strict=True):
            left = [ref[i:i + n] for i in range(len(ref) - n + 1)]
            for i in range(len(out) - n + 1):
                total += 1
                if out[i:i + n] in left:
                    left.remove(out[i:i + n])
                    match += 1
        product *= Fraction(match, total)
    return 100 * min(1.0, exp(1 - r / c)) * (exp(log(product) / order) if product else 0.0)


def bleu_case(rng, n=6):
    """Ragged lists as padded arrays: -1 is filler."""
    refs = [rng.integers(4, size=rng.integers(5, 9)).tolist() for _ in range(n)]
    outs = [[int(w) if rng.random() < 0.8 else int(rng.integers(4)) for w in ref] for ref in refs]
    outs = [out[:len(out) - int(rng.integers(2))] for out in outs]

    def pad(rows):
        return [row + [-1] * (10 - len(row)) for row in rows]

    return {"outputs": pad(outs), "references": pad(refs),
            "bleu": bleu(outs, refs), "bleu2": bleu(outs, refs, 2)}


def make(rng):
    cases = {"gru_step": gru_step(rng), "readout": readout_case(rng), "embedding": embedding(rng),
             "bleu": bleu_case(rng)}
    cases |= {f"attention_{k}": attention(rng, k) for k in ("additive", "dot", "scaled")}
    cases |= {f"model_{k}": model(rng, k) for k in ("additive", "dot", "scaled", "fixed")}
    return {f"{case}/{k}": v for case, arrays in cases.items() for k, v in arrays.items()}
