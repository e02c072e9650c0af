"""RAG as PyTorch's autograd computes it: encoders, generator, both marginals, the whole model.

Written from the paper, not from the notebook: every question meets every retrieved document in one
concatenated row, nothing is computed once and looked up; the marginals loop over documents and steps.
Word numbers are the notebook's: 0 is padding, 1 a blank, 22 + k the k-th answer, 42 to 121 are names.
"""

import torch
from torch.nn import functional as F

from tools.oracles._torch import leaves, record

V, D, H, L, A = 140, 5, 7, 4, 20


def bag(ids, E):
    return F.embedding_bag(ids, E, mode="sum", padding_idx=0)


def without_names(ids):
    return ids.masked_fill((ids >= 42) & (ids <= 121), 1)


def generator(x, docs, idx, y, P):
    """Logits (B, K, T, A): one row [question, document, previous word] for each b, k, t."""
    logits = []
    for b in range(len(x)):
        asked = bag(x[b:b + 1], P["E"])[0]
        for k in range(1 if idx is None else idx.shape[1]):
            for t in range(y.shape[1]):
                before = P["E"][22 + y[b, t - 1]] if t else P["E"][0]
                parts, weights = [asked, before], [P["W_x"], P["W_y"]]
                if idx is not None:
                    parts += list(P["E"][docs[idx[b, k]]])
                    weights.append(P["W_z"])
                h = torch.relu(torch.cat(parts) @ torch.cat(weights) + P["S"][t] + P["b"])
                logits.append(h @ P["W_o"] + P["b_o"])
    return torch.stack(logits).reshape(len(x), -1, y.shape[1], P["W_o"].shape[1])


def marginal(scores, logits, y, mode):
    """Mean over questions of -log p(y|x), one log-probability at a time."""
    log_p, log_y, losses = F.log_softmax(scores, 1), F.log_softmax(logits, 3), []
    B, K, T, _ = logits.shape
    for b in range(B):
        said = [[log_y[b, k, t, y[b, t]] for t in range(T)] for k in range(K)]
        if mode == "sequence":
            losses.append(-torch.logsumexp(torch.stack([log_p[b, k] + sum(said[k]) for k in range(K)]), 0))
        else:
            losses.append(-sum(torch.logsumexp(torch.stack([log_p[b, k] + said[k][t] for k in range(K)]), 0)
                               for t in range(T)))
    return sum(losses) / B


def rag(x, docs, index, y, P, K, mode):
    if "W_z" not in P:
        return marginal(torch.zeros(len(x), 1, dtype=torch.float64), generator(x, None, None, y, P), y, mode)
    scores, idx = torch.topk(8 * bag(x, P["Q"]) @ index.T, K, dim=1)
    return marginal(scores, generator(without_names(x), without_names(docs), idx, y, P), y, mode)


def shapes(steps, closed=False):
    found = {"E": (V, D), "W_x": (D, H), "W_y": (D, H), "S": (steps, H), "b": (H,), "W_o": (H, A),
             "b_o": (A,)}
    return found if closed else found | {"W_z": (L * D, H), "Q": (V, D)}


def make(rng):
    def words(*shape):
        return torch.tensor(rng.integers(1, V, size=shape))

    cases = {}
    x = words(3, 6)
    x[0, 4:], x[2, 1:] = 0, 0
    docs, y, idx = words(11, L), torch.tensor(rng.integers(A, size=(3, 3))), torch.tensor(
        rng.integers(11, size=(3, 4)))
    P = leaves(rng, {"E": (V, D)})
    cases["bag"] = record({}, P, {"y": bag(x, P["E"])}, rng) | {"ids": x}

    q = leaves(rng, {"q": (4, 6)})
    index = torch.tensor(rng.normal(size=(9, 6)))
    scores, found = torch.topk(8 * q["q"] @ index.T, 3, dim=1)
    cases["retrieve"] = record(q, {}, {"scores": scores}, rng) | {"D": index, "idx": found}
    q, gold = leaves(rng, {"q": (4, 6)}, 0.3), torch.tensor([2, 0, 8, 2])
    loss = F.cross_entropy(8 * q["q"] @ index.T, gold)
    cases["contrastive"] = record(q, {}, {"loss": loss}, rng) | {"D": index, "gold": gold}

    for mode in ("sequence", "token"):
        for name, (B, K, T, width) in {"": (3, 5, 4, 6), "_long": (2, 2, 400, 5)}.items():
            inputs = leaves(rng, {"scores": (B, K), "logits": (B, K, T, width)}, 1.5)
            said = torch.tensor(rng.integers(width, size=(B, T)))
            cases[mode + name] = record(inputs, {}, {"loss": marginal(**inputs, y=said, mode=mode)}, rng)
            cases[mode + name]["y"] = said

    for name, steps, closed in (("generator", 3, False), ("generator_short", 5, False),
                                ("generator_closed", 3, True)):
        P = leaves(rng, {k: s for k, s in shapes(steps, closed).items() if k != "Q"}, 0.6)
        out = generator(x, docs, None if closed else idx, y, P)
        cases[name] = record({}, P, {"logits": out}, rng) | {"x": x, "docs": docs, "idx": idx, "y": y}

    index = torch.tensor(rng.normal(size=(11, D)))
    for mode, closed in (("sequence", False), ("token", False), ("token", True)):
        P = leaves(rng, shapes(3, closed), 0.5)
        name = "closed" if closed else f"rag_{mode}"
        cases[name] = record({}, P, {"loss": rag(x, docs, index, y, P, 4, mode)}, rng)
        cases[name] |= {"x": x, "docs": docs, "D": index, "y": y}
    return {f"{case}/{k}": v for case, arrays in cases.items() for k, v in arrays.items()}
