"""Notebook 23: codes by brute force and exact fractions, regressions by SciPy, the network by PyTorch."""

import math
from fractions import Fraction
from itertools import product

import numpy as np
import torch
from scipy import integrate, linalg, optimize, special, stats

LN2 = math.log(2)


def log_star_plain(n) -> float:
    """Sum of the positive terms of log2 n + log2 log2 n + ..."""
    total, term = 0.0, math.log2(n)
    while term > 0:
        total, term = total + term, math.log2(term)
    return total


def log_star_constant() -> float:
    """Sum of 2^-log*(n): terms up to 2^17, Euler-Maclaurin, quadrature up to 2^65536, geometric tail."""
    cut = 2**17
    total = math.fsum(2.0 ** -log_star_plain(n) for n in range(1, cut)) + 2.0 ** -log_star_plain(cut) / 2
    # x = 2^y, y = 2^v: dx 2^-log*(x) = ln2 dy 2^-log*(y) = ln2^2 dv 2^-log*(v)
    middle, _ = integrate.quad(lambda v: LN2**2 * 2.0 ** -log_star_plain(v), math.log2(17), 16,
                               epsabs=1e-13, epsrel=1e-13)
    return total + middle + LN2**6 / (1 - LN2)


C_STAR = log_star_constant()


def log_star(n) -> float:
    return math.log2(C_STAR) + log_star_plain(n)


def shortest_mean_length(p) -> float:
    """Optimum over all length vectors that satisfy Kraft, by trying them."""
    K = len(p)
    return min(sum(q * l for q, l in zip(p, lengths, strict=True))
               for lengths in product(range(1, K), repeat=K)
               if sum(Fraction(1, 2**l) for l in lengths) <= 1)


def compositions(n, K):
    if K == 1:
        yield (n,)
        return
    for first in range(n + 1):
        for rest in compositions(n - first, K - 1):
            yield (first, *rest)


def complexity(n, K) -> float:
    """Sum over counts of multinomial coefficient times maximised likelihood, in exact fractions."""
    total = Fraction(0)
    for counts in compositions(n, K):
        ways = math.factorial(n)
        likelihood = Fraction(1)
        for h in counts:
            ways //= math.factorial(h)
            likelihood *= Fraction(h, n) ** h if h else 1
        total += ways * likelihood
    return float(total)


def transitions(x, k, start) -> np.ndarray:
    counts = np.zeros((2**k, 2), int)
    for t in range(start, len(x)):
        counts[int("0" + "".join(map(str, x[t - k:t])), 2), x[t]] += 1
    return counts


def ml_bits(counts) -> float:
    return -sum(h * math.log2(h / sum(row)) for row in counts.tolist() for h in row if h)


def kt_bits(counts) -> float:
    """Two symbols by Beta functions; more symbols by predicting them one after the other."""
    if counts.shape[1] == 2:
        return -sum(special.betaln(a + 0.5, b + 0.5) - special.betaln(0.5, 0.5) for a, b in counts) / LN2
    total, K = 0.0, counts.shape[1]
    for row in counts.tolist():
        seen = [0] * K
        for a, h in enumerate(row):
            for _ in range(h):
                total -= math.log2((seen[a] + 0.5) / (sum(seen) + K / 2))
                seen[a] += 1
    return total


def two_part(counts, d) -> tuple[float, float]:
    """Cells of width 2^-d, their middle as the parameter; model bits and data bits."""
    data = 0.0
    for zeros, ones in counts.tolist():
        share = Fraction(ones, max(zeros + ones, 1))
        cell = min(int(share * 2**d), 2**d - 1)
        theta = (cell + 0.5) / 2**d
        data -= ones * math.log2(theta) + zeros * math.log2(1 - theta)
    k = int(math.log2(len(counts)))
    return len(counts) * d + log_star(d) + log_star(k + 1), data


def cross_validation(x, k, start, folds) -> float:
    edges = np.linspace(start, len(x), folds + 1).astype(int)
    fold = [next(f for f in range(folds) if edges[f] <= t < edges[f + 1]) for t in range(start, len(x))]
    total = 0.0
    for f in range(folds):
        train, test = np.zeros((2**k, 2)), []
        for t in range(start, len(x)):
            context = int("0" + "".join(map(str, x[t - k:t])), 2)
            if fold[t - start] == f:
                test.append((context, x[t]))
            else:
                train[context, x[t]] += 1
        total -= sum(math.log2((train[c, a] + 0.5) / (train[c].sum() + 1)) for c, a in test)
    return total


def codes(rng) -> dict:
    out = {}
    for K in (2, 3, 4, 5, 6):
        p = rng.dirichlet(np.full(K, 0.7))
        out |= {f"huffman{K}/p": p, f"huffman{K}/best": shortest_mean_length(p),
                f"huffman{K}/entropy": stats.entropy(p, base=2),
                f"huffman{K}/shannon": [next(l for l in range(99) if 2.0**-l <= q) for q in p]}
    n = np.concatenate([np.arange(1, 40), [100, 255, 256, 257, 65535, 65536, 65537, 10**6, 10**12]])
    out |= {"log_star/n": n, "log_star/bits": [log_star(int(v)) for v in n], "log_star/c": C_STAR}
    for K, top in ((2, 26), (3, 16), (4, 12), (5, 9)):
        sizes = range(1, top)
        out |= {f"complexity{K}/n": list(sizes), f"complexity{K}/C": [complexity(n, K) for n in sizes]}
    return out


def chains(rng) -> dict:
    out = {}
    for i, (n, k, start, bias) in enumerate(((25, 2, 4, 0.5), (40, 0, 0, 0.2), (33, 4, 5, 0.7),
                                             (9, 3, 8, 0.5))):
        x = (rng.random((3, n)) < bias).astype(int)
        counts = np.stack([transitions(row.tolist(), k, start) for row in x])
        nml = [ml_bits(c) + sum(math.log2(complexity(int(m), 2)) for m in c.sum(1) if m) for c in counts]
        out |= {f"chain{i}/x": x, f"chain{i}/k": k, f"chain{i}/start": start, f"chain{i}/counts": counts,
                f"chain{i}/ml": [ml_bits(c) for c in counts], f"chain{i}/kt": [kt_bits(c) for c in counts],
                f"chain{i}/nml": nml}
        for d in (1, 3, 6):
            model, data = zip(*(two_part(c, d) for c in counts), strict=True)
            out |= {f"chain{i}/model{d}": model[0], f"chain{i}/data{d}": data}
        best = [min(sum(two_part(c, d)) for d in range(1, 13)) for c in counts]
        out |= {f"chain{i}/best": best}
    counts = rng.integers(0, 5, (2, 3, 4))                       # two data sets, three contexts, K = 4
    out |= {"multi/counts": counts, "multi/ml": [ml_bits(c) for c in counts],
            "multi/kt": [kt_bits(c) for c in counts],
            "multi/nml": [ml_bits(c) + sum(math.log2(complexity(int(m), 4)) for m in c.sum(1) if m)
                          for c in counts]}
    x = rng.integers(2, size=(2, 61))
    out |= {"cv/x": x, "cv/k2": [cross_validation(row.tolist(), 2, 5, 7) for row in x],
            "cv/k0": [cross_validation(row.tolist(), 0, 3, 10) for row in x]}
    pairs = np.array([(0, 1), (3, 0), (7, 11), (40, 2)])
    area = [integrate.quad(lambda u, a=a, b=b: math.cos(u) ** (2 * a) * math.sin(u) ** (2 * b) * 2 / math.pi,
                           0, math.pi / 2, epsabs=1e-15, epsrel=1e-13)[0] for a, b in pairs]
    out |= {"jeffreys/pairs": pairs, "jeffreys/bits": -np.log2(area)}
    return out


def regressions(rng) -> dict:
    out, R, n, top = {}, 2, 19, 5
    x, y = rng.uniform(-1, 1, (R, n)), rng.normal(size=(R, n))
    rss, loo, evidence = (np.empty((R, top + 1)) for _ in range(3))
    two, nml = np.empty((R, top + 1)), np.empty((R, top + 1))
    spread, a0, b0 = 7.0, 0.8, 0.3
    for r in range(R):
        for k in range(1, top + 2):
            F = np.stack([special.eval_legendre(j, x[r]) for j in range(k)], 1)
            w = linalg.lstsq(F, y[r])[0]
            rss[r, k - 1] = ((y[r] - F @ w) ** 2).sum()
            errors = []
            for i in range(n):
                w_i = linalg.lstsq(np.delete(F, i, 0), np.delete(y[r], i))[0]
                errors.append(y[r, i] - F[i] @ w_i)
            loo[r, k - 1] = np.square(errors).sum()
            shape = b0 / a0 * (np.eye(n) + spread * F @ F.T)
            evidence[r, k - 1] = -stats.multivariate_t(np.zeros(n), shape, 2 * a0).logpdf(y[r]) / LN2
        z2 = -np.diff(np.concatenate([[(y[r] ** 2).sum()], rss[r]]))
        for k in range(1, top + 2):
            fit = (y[r] ** 2).sum() - rss[r, k - 1]
            nats = (n - k) / 2 * math.log(rss[r, k - 1] / n) + k / 2 * math.log(fit / n)
            nml[r, k - 1] = (nats - math.lgamma((n - k) / 2) - math.lgamma(k / 2)) / LN2
        out[f"regression/z2_{r}"] = z2
    z = rng.normal(size=(R, top + 1)) * 3
    given = 5 - np.cumsum(rng.random((R, top + 1)), 1) / 3
    for r in range(R):
        for k in range(1, top + 2):
            step = math.sqrt(12 * given[r, k - 1] / (n - k))
            q = [round(v / step) for v in z[r, :k]]
            misfit = given[r, k - 1] + sum((v - c * step) ** 2 for v, c in zip(z[r, :k], q, strict=True))
            two[r, k - 1] = n / 2 * math.log2(misfit / n) + log_star(k) + sum(
                log_star(2 * c if c > 0 else 1 - 2 * c) for c in q)
    return out | {"regression/x": x, "regression/y": y, "regression/rss": rss, "regression/loo": loo,
                  "regression/evidence": evidence, "regression/nml": nml,
                  "regression/prior": [spread, a0, b0], "regression/z": z, "regression/given": given,
                  "regression/two": two}


def geometric(q) -> float:
    q = np.abs(np.asarray(q))
    bits = log_star(1 + int(q.sum()))
    if q.sum() == 0:
        return bits
    r = optimize.brentq(lambda r: 2 * r / (1 - r * r) - q.mean(), 1e-12, 1 - 1e-12, xtol=1e-15)
    return bits - sum(math.log2((1 - r) / (1 + r) * r**v) for v in q.tolist())


def torch_bits(x, y, P):
    """Code length of each label in bits, as a tensor."""
    a = (torch.tanh(x @ P["W1"] + P["b1"]) @ P["W2"] + P["b2"]).squeeze(1)
    return a, torch.nn.functional.binary_cross_entropy_with_logits(a, y, reduction="none") / LN2


def network_bits(x, y, P, keep) -> list[float]:
    """Shortest total with its parts, by trying the ten steps."""
    w = np.concatenate([P[k].ravel() for k in P])
    kept = w if keep is None else w[np.concatenate([keep[k].ravel() for k in P])]
    positions = log_star(P["b1"].size)
    if keep is not None:
        positions += math.log2(math.comb(w.size, kept.size)) + log_star(kept.size + 1)
    found = []
    for j in range(-2, 8):
        rounded = {k: torch.tensor(np.round(p * 2.0**j) / 2.0**j) for k, p in P.items()}
        data = float(torch_bits(torch.tensor(x), torch.tensor(y, dtype=torch.float64), rounded)[1].sum())
        weights = geometric(np.round(kept * 2.0**j)) + log_star(j + 3)
        found.append([weights + positions + data, weights, positions, data, 2.0**-j])
    return min(found)


def network(rng) -> dict:
    out = {}
    for i, (N, D, H) in enumerate(((11, 3, 4), (5, 2, 7))):
        P = {"W1": rng.normal(size=(D, H)), "b1": rng.normal(size=H),
             "W2": rng.normal(size=(H, 1)), "b2": rng.normal(size=1)}
        x, y = rng.normal(size=(N, D)), rng.integers(2, size=N)
        up_a, up_bits, decay = rng.normal(size=N), rng.normal(size=N), 0.7
        tx = torch.tensor(x, requires_grad=True)
        tP = {k: torch.tensor(p, requires_grad=True) for k, p in P.items()}
        a, bits = torch_bits(tx, torch.tensor(y, dtype=torch.float64), tP)
        da, = torch.autograd.grad(bits @ torch.tensor(up_bits), a, retain_graph=True)
        grads = torch.autograd.grad(a @ torch.tensor(up_a), [tx, *tP.values()], retain_graph=True)
        loss = bits.mean() + decay / 2 / N * sum((p**2).sum() for p in tP.values())
        whole = torch.autograd.grad(loss, list(tP.values()))
        out |= {f"net{i}/x": x, f"net{i}/y": y, f"net{i}/a": a.detach().numpy(),
                f"net{i}/bits": bits.detach().numpy(), f"net{i}/up_a": up_a, f"net{i}/up_bits": up_bits,
                f"net{i}/da": da.numpy(), f"net{i}/dx": grads[0].numpy(), f"net{i}/decay": decay,
                f"net{i}/loss": loss.item()}
        out |= {f"net{i}/P.{k}": p for k, p in P.items()}
        out |= {f"net{i}/G.{k}": g.numpy() for k, g in zip(P, grads[1:], strict=True)}
        out |= {f"net{i}/whole.{k}": g.numpy() for k, g in zip(P, whole, strict=True)}
        keep = {k: rng.random(p.shape) < 0.6 for k, p in P.items()}
        keep["W1"][0, 0] = True
        sparse = {k: p * keep[k] for k, p in P.items()}
        out |= {f"net{i}/keep.{k}": v for k, v in keep.items()}
        out |= {f"net{i}/dense": network_bits(x, y, P, None),
                f"net{i}/sparse": network_bits(x, y, sparse, keep)}
    q = np.array([0, 0, 3, -1, 0, 12, -5, 1])
    return out | {"geometric/q": q, "geometric/bits": geometric(q), "geometric/ones": geometric(np.ones(9))}


def make(rng):
    return {**codes(rng), **chains(rng), **regressions(rng), **network(rng)}
