"""The classifiers of CS231n as PyTorch computes them: torch.nn.functional, autograd, torch.optim.

Written from the course notes: images are (N, C, H, W), convolution, ReLU and pooling in the notes' order,
the losses are F.cross_entropy and F.multi_margin_loss (which divides by the number of classes; the notes
do not). Arrays are stored in the notebook's layout, batch last.
"""

import torch
from torch.nn import functional as F

from tools.oracles._torch import leaves


def last(x):
    """(N, C, H, W) -> (C, H, W, N)."""
    return x.detach().permute(1, 2, 3, 0).contiguous()


def network(x, P):
    """conv - ReLU - pool for every conv layer, then affine layers with ReLU between them."""
    fcs = [k[:-2] for k in P if k.startswith("fc") and k.endswith(".W")]
    for name in (k[:-2] for k in P if k.startswith("conv") and k.endswith(".W")):
        W = P[name + ".W"]
        x = F.max_pool2d(torch.relu(F.conv2d(x, W, P[name + ".b"], padding=W.shape[2] // 2)), 2)
    x = x.flatten(1)
    for name in fcs:
        x = F.linear(x, P[name + ".W"].T, P[name + ".b"])
        if name != fcs[-1]:
            x = torch.relu(x)
    return x


def hinge(S, labels, margin=1.0):
    return S.shape[1] * F.multi_margin_loss(S, labels, margin=margin)


SHAPES = {
    "linear": {"fc1": (2 * 8 * 8, 6)},
    "mlp": {"fc1": (2 * 8 * 8, 9), "fc2": (9, 6)},
    "deep": {"fc1": (2 * 8 * 8, 7), "fc2": (7, 8), "fc3": (8, 6)},
    "cnn": {"conv1": (4, 2, 5, 5), "conv2": (5, 4, 3, 3), "fc1": (5 * 2 * 2, 7), "fc2": (7, 6)},
    "cnn1": {"conv1": (3, 2, 3, 3), "fc1": (3 * 4 * 4, 6)},
}


def parameters(rng, shapes, scale):
    sizes = {}
    for name, shape in shapes.items():
        sizes |= {name + ".W": shape, name + ".b": (shape[0] if len(shape) == 4 else shape[1],)}
    return leaves(rng, sizes, scale)


def nets(rng):
    cases = {}
    for name, shapes in SHAPES.items():
        for kind, loss_of in (("softmax", F.cross_entropy), ("svm", hinge)):
            P = parameters(rng, shapes, 0.4)
            x = leaves(rng, {"x": (5, 2, 8, 8)})["x"]
            labels, decay = torch.tensor(rng.integers(6, size=5)), 0.3
            S = network(x, P)
            S.retain_grad()
            loss = loss_of(S, labels)
            loss.backward()
            case = {"X": last(x), "labels": labels, "S": S.detach(), "dS": S.grad, "loss": loss.detach(),
                    "dX": last(x.grad)}
            case |= {f"P.{k}": p.detach().clone() for k, p in P.items()}
            case |= {f"G.{k}": p.grad.clone() for k, p in P.items()}
            weights = 0.5 * decay * sum((p * p).sum() for k, p in P.items() if k.endswith("W"))
            weights.backward()
            case |= {"decay": decay, "decayed": (loss + weights).detach()}
            case |= {f"D.{k}": p.grad for k, p in P.items()}
            cases[f"{name}_{kind}"] = case
    return cases


def parts(rng):
    cases = {}
    for name, (size, stride, pad) in {"conv_same": (3, 1, 1), "conv_valid": (5, 1, 0),
                                      "conv_stride": (3, 2, 1)}.items():
        P = leaves(rng, {"W": (4, 3, size, size), "b": (4,)})
        x = leaves(rng, {"x": (2, 3, 7, 9)})["x"]
        y = F.conv2d(x, P["W"], P["b"], stride=stride, padding=pad)
        up = torch.tensor(rng.normal(size=tuple(y.shape)))
        y.backward(up)
        cases[name] = {"x": last(x), "y": last(y), "up": last(up), "dx": last(x.grad), "stride": stride,
                       "pad": pad}
        cases[name] |= {f"P.{k}": p.detach() for k, p in P.items()} | {f"G.{k}": p.grad for k, p in P.items()}
    for name, size in (("pool2", 2), ("pool3", 3)):
        x = torch.tensor(rng.integers(-1, 2, size=(3, 4, 6, 12)).astype(float) if size == 2 else
                         rng.normal(size=(3, 4, 6, 12)), requires_grad=True)     # integers: many ties
        y = F.max_pool2d(x, size)
        up = torch.tensor(rng.normal(size=tuple(y.shape)))
        y.backward(up)
        cases[name] = {"x": last(x), "y": last(y), "up": last(up), "dx": last(x.grad), "size": size}
    P, x = leaves(rng, {"W": (6, 4), "b": (4,)}), leaves(rng, {"x": (5, 6)})["x"]
    y = torch.relu(x) @ P["W"] + P["b"]
    up = torch.tensor(rng.normal(size=(5, 4)))
    y.backward(up)
    cases["affine"] = {"x": x.detach(), "y": y.detach(), "up": up, "dx": x.grad}
    cases["affine"] |= {f"P.{k}": p.detach() for k, p in P.items()} | {f"G.{k}": p.grad for k, p in P.items()}
    for margin in (1.0, 0.3):
        S = leaves(rng, {"S": (7, 5)})["S"]
        labels = torch.tensor(rng.integers(5, size=7))
        loss = hinge(S, labels, margin)
        loss.backward()
        cases[f"margin_{margin}"] = {"S": S.detach(), "labels": labels, "loss": loss.detach(), "dS": S.grad,
                                     "margin": margin}
    return cases


def optimisers(rng):
    """Ten steps of each rule on a quadratic with a full matrix, whose gradient is A w."""
    A = torch.tensor(rng.normal(size=(6, 6)))
    A, start = A @ A.T / 6, torch.tensor(rng.normal(size=6))
    made = {"sgd": lambda w: torch.optim.SGD([w], 0.05),
            "momentum": lambda w: torch.optim.SGD([w], 0.05, momentum=0.9),
            "nesterov": lambda w: torch.optim.SGD([w], 0.05, momentum=0.9, nesterov=True),
            "rmsprop": lambda w: torch.optim.RMSprop([w], 0.05, alpha=0.9, eps=1e-8),
            "adam": lambda w: torch.optim.Adam([w], 0.05)}
    cases = {}
    for name, make_rule in made.items():
        w, path = start.clone().requires_grad_(), []
        rule = make_rule(w)
        for _ in range(10):
            rule.zero_grad()
            (0.5 * w @ A @ w).backward()
            rule.step()
            path.append(w.detach().clone())
        cases[f"rule_{name}"] = {"A": A, "start": start, "path": torch.stack(path)}
    return cases


def make(rng):
    cases = nets(rng) | parts(rng) | optimisers(rng)
    return {f"{case}/{k}": v for case, arrays in cases.items() for k, v in arrays.items()}
