"""The VAE, its causal decoder and its flow prior as PyTorch's autograd computes them.

Written from the paper, not from the notebook: KL from torch.distributions, pixels by
binary_cross_entropy_with_logits, the causal window as a padded convolution with a kernel that is zero
at and after the centre, the flow number by number with loops over the masks, its log-determinant from
the Jacobian that autograd gives.
"""

import math

import torch
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F

from tools.oracles._torch import leaves, record


def net(x, P, name):
    h = torch.relu(F.linear(x, P[f"{name}.W1"].T, P[f"{name}.b1"]))
    return F.linear(h, P[f"{name}.W2"].T, P[f"{name}.b2"])


def net_shapes(name, D, hidden, K):
    return {f"{name}.W1": (D, hidden), f"{name}.b1": (hidden,), f"{name}.W2": (hidden, K),
            f"{name}.b2": (K,)}


def causal(x, W, side, r):
    """What the taps W (n, H) add at each pixel: x (B, N) -> (B, N, H)."""
    taps, H = W.shape
    kernel = torch.zeros((2 * r + 1) ** 2, H, dtype=W.dtype)
    kernel = torch.cat([W, kernel[taps:]]).T.reshape(H, 1, 2 * r + 1, 2 * r + 1)
    y = F.conv2d(x.reshape(-1, 1, side, side), kernel, padding=r)
    return y.flatten(2).transpose(1, 2)


def pixels(c, x, P, side, r):
    a = c.reshape(len(x), side * side, -1)
    if r:
        a = a + causal(x, P["W_c"], side, r)
    b = torch.relu(torch.relu(a) @ P["W_h"] + P["b_h"])
    return b @ P["w_o"] + P["b_o"]


def pixel_shapes(r, H):
    shapes = {"W_c": (2 * r * (r + 1), H)} if r else {}
    return shapes | {"W_h": (H, H), "b_h": (H,), "w_o": (H,), "b_o": (1,)}


def flow_layer(z, P, name):
    """Hidden unit k sees numbers up to k mod (d - 1); output i sees hidden units of lower degree."""
    d, hidden = z.shape[1], P[f"{name}.W1"].shape[1]
    degree = [k % max(d - 1, 1) for k in range(hidden)]
    units = [torch.relu(sum(z[:, j] * P[f"{name}.W1"][j, k] for j in range(degree[k] + 1))
                        + P[f"{name}.b1"][k]) for k in range(hidden)]

    def output(i, column):
        below = [units[k] * P[f"{name}.W2"][k, column] for k in range(hidden) if degree[k] < i]
        return sum(below) + P[f"{name}.b2"][column] + 0 * z[:, 0]

    m = torch.stack([output(i, i) for i in range(d)], 1)
    s = torch.tanh(torch.stack([output(i, d + i) for i in range(d)], 1))
    return (z - m) / torch.exp(s), -s.sum(1)


def prior(z, P, layers):
    logdet = 0
    for k in range(layers):
        z, more = flow_layer(z.flip(1), P, f"flow{k}")
        logdet = logdet + more
    return Normal(0.0, 1.0).log_prob(z).sum(1) + logdet, z


def flow_shapes(layers, d, hidden):
    shapes = {}
    for k in range(layers):
        shapes |= net_shapes(f"flow{k}", d, hidden, 2 * d)
    return shapes


def model(x, eps, P, side, r, H, layers):
    """rec (B,), kl (B,)."""
    if "enc.W1" not in P:
        c, kl = P["dec.b2"].expand(len(x), -1), torch.zeros(len(x), dtype=x.dtype)
    else:
        mu, logvar = net(x, P, "enc").chunk(2, 1)
        q = Normal(mu, torch.exp(logvar / 2))
        z = mu + torch.exp(logvar / 2) * eps
        kl = (q.log_prob(z).sum(1) - prior(z, P, layers)[0] if layers
              else kl_divergence(q, Normal(0.0, 1.0)).sum(1))
        c = net(z, P, "dec")
    t = pixels(c, x, P, side, r) if H else c
    rec = F.binary_cross_entropy_with_logits(t, x, reduction="none").sum(1)
    return rec, kl


CASES = {"plain": (3, 2, 5, 0, 0, 0), "factorised": (3, 2, 5, 0, 4, 0), "local": (4, 3, 6, 1, 4, 0),
         "full": (4, 2, 5, 3, 3, 0), "flow": (3, 3, 5, 1, 4, 2), "nocode": (4, 0, 0, 1, 4, 0)}


def make(rng):
    cases, B = {}, 5
    for name, (side, d, hidden, r, H, layers) in CASES.items():
        N = side * side
        shapes = pixel_shapes(r, H) if H else {}
        shapes |= (net_shapes("enc", N, hidden, 2 * d) | net_shapes("dec", d, hidden, N * max(H, 1))
                   | flow_shapes(layers, d, 7)) if d else {"dec.b2": (N * H,)}
        P = leaves(rng, shapes, 0.5)
        x = torch.tensor((rng.random((B, N)) < 0.5).astype(float))
        eps = torch.tensor(rng.normal(size=(B, max(d, 1))))
        rec, kl = model(x, eps, P, side, r, H, layers)
        (rec + kl).mean().backward()
        cases[name] = {"x": x, "eps": eps, "rec": rec.detach(), "kl": kl.detach()}
        cases[name] |= {f"P.{k}": p.detach() for k, p in P.items()}
        cases[name] |= {f"G.{k}": p.grad for k, p in P.items()}
    for r in (0, 1, 2, 3):
        P, c = leaves(rng, pixel_shapes(r, 5), 0.5), leaves(rng, {"c": (B, 16 * 5)})
        x = torch.tensor(rng.normal(size=(B, 16)))
        cases[f"pixels{r}"] = record(c, P, {"t": pixels(c["c"], x, P, 4, r)}, rng) | {"x": x}
    P, inputs = leaves(rng, net_shapes("enc", 6, 8, 3), 0.5), leaves(rng, {"x": (B, 6)})
    cases["net"] = record(inputs, P, {"y": net(inputs["x"], P, "enc")}, rng)
    s, eps = leaves(rng, {"s": (B, 6)}), torch.tensor(rng.normal(size=(B, 3)))
    mu, logvar = s["s"].chunk(2, 1)
    cases["reparam"] = record(s, {}, {"z": mu + torch.exp(logvar / 2) * eps}, rng) | {"eps": eps}
    s = leaves(rng, {"s": (B, 6)})
    mu, logvar = s["s"].chunk(2, 1)
    kl = kl_divergence(Normal(mu, torch.exp(logvar / 2)), Normal(0.0, 1.0)).sum(1)
    cases["gauss_kl"] = record(s, {}, {"kl": kl}, rng)
    t, x = leaves(rng, {"t": (B, 7)}, 3), torch.tensor((rng.random((B, 7)) < 0.5).astype(float))
    rec = F.binary_cross_entropy_with_logits(t["t"], x, reduction="none").sum(1)
    cases["bce"] = record(t, {}, {"rec": rec}, rng) | {"x": x}
    for d, layers in ((2, 1), (3, 3), (4, 2)):
        P, z = leaves(rng, flow_shapes(layers, d, 7), 0.4), leaves(rng, {"z": (B, d)})
        log_p, eps = prior(z["z"], P, layers)
        noise = eps.detach()
        jacobian = torch.stack([torch.autograd.functional.jacobian(
            lambda v: prior(v[None], P, layers)[1][0], row) for row in z["z"].detach()])  # noqa: B023
        cases[f"prior{d}"] = record(z, P, {"log_p": log_p}, rng) | {
            "eps": noise, "logdet": torch.linalg.slogdet(jacobian)[1].detach()}
        P, z = leaves(rng, flow_shapes(1, d, 7), 0.4), leaves(rng, {"z": (B, d)})
        u, logdet = flow_layer(z["z"], P, "flow0")
        cases[f"flow{d}"] = record(z, P, {"eps": u, "logdet": logdet}, rng)
        P, both = leaves(rng, flow_shapes(2, d, 7), 0.4), leaves(rng, {"s": (B, 2 * d), "z": (B, d)})
        noise = torch.tensor(rng.normal(size=(B, d)))
        log_q = (-0.5 * (noise**2 + both["s"][:, d:]) - 0.5 * math.log(2 * math.pi)).sum(1)
        kl = log_q - prior(both["z"], P, 2)[0] + 0 * both["s"].sum(1)
        cases[f"flow_kl{d}"] = record(both, P, {"kl": kl}, rng) | {"noise": noise}
    return {f"{case}/{k}": v for case, arrays in cases.items() for k, v in arrays.items()}
